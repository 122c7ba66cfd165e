"""What a damaged file says now, by pydicom and the standard alone: the reader must say the same, or refuse.

Nothing here is taken from our reader. For an image: the place of each frame by its own header, its values by `pixel_array` of
pydicom (of any of its decoders) with bits, padding and rescale as PS3.3 and PS3.5 have them. For a label object: the pixels of
its frames at their millimetres, or the even-odd rule at pixel centres that no edge passes close by.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, get_decoder

from pipeline.io.volume import Volume

logging.getLogger("pydicom").disabled = True
AIR_HU = -1024
NEAR_EDGE = 1e-3  # of a pixel: centres so close to an edge are not judged


class Silent(Exception):
    """The file does not say what would be needed to judge."""


def _parsed(path: Path) -> Dataset:
    try:
        return pydicom.dcmread(path, force=True)
    except MemoryError as error:  # behind the pixels something claims gigabytes
        raise Unjudged("pydicom runs out of memory") from error


class Unjudged(Exception):
    """pydicom cannot read what the reader need not look at: no finding."""


def wrong_volume(volume: Volume) -> str:
    """'' where every slice has the place and the values that its file says, else what differs. Raises: Silent."""
    columns, rows, slices = volume.shape
    tolerance_mm = 1e-3 if slices == 1 else 0.11
    files = volume.source.slice_files
    if len(files) != slices:
        return f"{slices} slices of {len(files)} frames"
    cache: dict[Path, Dataset] = {}
    for k, (file, number) in enumerate(zip(files, volume.source.frame_numbers, strict=True)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = cache.setdefault(file, _parsed(file))
            first, column_step, row_step = _place(dataset, number - 1)
            try:
                choices = _values(dataset, number - 1)
            except NotImplementedError as error:  # an unknown VR where the reader need not look
                raise Unjudged(str(error)) from error
        for i, j in ((0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)):
            there = (volume.affine @ (i, j, k, 1))[:3] * (-1, -1, 1)
            said = first + i * column_step + j * row_step
            if not np.linalg.norm(there - said) <= tolerance_mm:
                return f"slice {k}: corner {i}, {j} lies at {there}, the header says {said}"
        found = volume.array[:, :, k].T.astype(np.float64)
        if not any(found.shape == wanted.shape and np.allclose(found, wanted, rtol=1e-6, atol=1e-3) for wanted in choices):
            return f"slice {k}: values {found.ravel()[:5]} instead of {[c.ravel()[:5] for c in choices]}"
    return ""


def _group(dataset: Dataset, index: int, sequence: str) -> Dataset | None:
    for groups, k in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        if groups in dataset and len(dataset[groups].value) > k:
            group = dataset[groups].value[k]
            if sequence in group and group[sequence].value:
                return group[sequence].value[0]
    return None


def _place(dataset: Dataset, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        if dataset.get("PerFrameFunctionalGroupsSequence"):
            position, turn, measures = (
                _group(dataset, index, s)
                for s in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
            )
        else:
            position = turn = measures = dataset
        first = np.array([float(v) for v in position.ImagePositionPatient])
        cosines = np.array([float(v) for v in turn.ImageOrientationPatient])
        between_rows, between_columns = (float(v) for v in measures.PixelSpacing)
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise Silent(f"place: {error}") from error
    return first, cosines[:3] * between_columns, cosines[3:] * between_rows


def _values(dataset: Dataset, index: int) -> list[np.ndarray]:
    """(rows, columns) by each of pydicom's decoders that decodes the frame."""
    scale: Dataset | None = dataset
    if dataset.get("PerFrameFunctionalGroupsSequence"):
        scale = _group(dataset, index, "PixelValueTransformationSequence")
    slope = float(scale.get("RescaleSlope", 1) if scale and scale.get("RescaleSlope") is not None else 1)
    intercept = float(scale.get("RescaleIntercept", 0) if scale and scale.get("RescaleIntercept") is not None else 0)
    found = []
    for stored in _stored(dataset, index):
        values = stored * slope + intercept
        if "ModalityLUTSequence" in dataset:
            values = apply_modality_lut(stored, dataset)
        if dataset.get("PixelPaddingValue") not in (None, "") and dataset.get("Modality") == "CT":
            ends = [float(dataset.PixelPaddingValue), float(dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue))]
            if dataset.PixelRepresentation == 1:
                ends = [end - 2**16 if 2**15 <= end < 2**16 else end for end in ends]
            values = np.where((stored >= min(ends)) & (stored <= max(ends)), np.minimum(values, AIR_HU), values)
        found.append(values)
    return found


def _stored(dataset: Dataset, index: int) -> list[np.ndarray]:
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is None:
        implicit, little = dataset.original_encoding
        syntax = "1.2.840.10008.1.2" + ("" if implicit else ".1" if little else ".2")
    dataset.SamplesPerPixel = dataset.get("SamplesPerPixel", 1)  # MONOCHROME says it as well
    photometric = str(dataset.PhotometricInterpretation).strip().upper()
    del dataset.PhotometricInterpretation  # its VR may be a wrong one
    dataset.PhotometricInterpretation = photometric
    decoder = get_decoder(syntax)
    plugins = decoder.available_plugins if decoder.is_encapsulated else ("",)
    found, reasons = [], []
    for plugin in plugins:
        try:
            pixels, _ = decoder.as_array(dataset, index=index, raw=True, decoding_plugin=plugin)
            bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
            if pixels.dtype.kind in "iu":
                pixels = pixels.astype(np.int64) & (2**bits - 1)
                pixels = np.where(signed & (pixels >= 2 ** (bits - 1)), pixels - 2**bits, pixels)
            found.append(pixels)
        except Exception as error:
            reasons.append(f"{plugin} {error}"[:200])
    if not found:
        raise Silent(f"pixels: {reasons}")
    return found


# --- labels ---


def wrong_labels(path: Path, mask: Volume, names: dict[str, int]) -> str:
    """'' where the mask holds what the object says. Raises: Silent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _parsed(path)
        try:
            sure, inside = (_contours if "StructureSetROISequence" in dataset else _segments)(dataset, mask, names)
        except NotImplementedError as error:  # an unknown VR where the reader need not look
            raise Unjudged(str(error)) from error
        except (AttributeError, KeyError, ValueError, TypeError, IndexError) as error:
            raise Silent(f"{type(error).__name__} {error}") from error
    wrong = sure & (inside != mask.array)
    return "" if not wrong.any() else f"{int(wrong.sum())} voxels differ, the first at {np.argwhere(wrong)[0]}"


def _contours(dataset: Dataset, mask: Volume, names: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which voxels can be judged, and their values; the image's grid is axial and begins at 0, 0, 40."""
    columns, rows, slices = mask.shape
    sure, values = np.ones(mask.shape, dtype=bool), np.zeros(mask.shape, dtype=np.int64)
    wanted = {
        int(r.ROINumber): names[str(r.ROIName).strip().lower()] for r in dataset.StructureSetROISequence if _named(r, names)
    }
    i, j = np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij")
    for number in sorted(wanted, key=lambda n: wanted[n], reverse=True):
        odd = np.zeros(mask.shape, dtype=bool)
        for drawn in dataset.ROIContourSequence:
            if int(drawn.get("ReferencedROINumber", -1)) != number:
                continue
            for contour in drawn.get("ContourSequence") or ():
                if str(contour.get("ContourGeometricType", "")).strip().upper() not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
                    continue
                points = np.array([float(v) for v in contour.ContourData]).reshape(-1, 3) / (0.75, 0.5, 3) - (0, 0, 40 / 3)
                k = round(float(points[:, 2].mean()))
                if not 0 <= k < slices or abs(points[:, 2].mean() - k) > 0.15:
                    continue
                crossed, near = _even_odd(i, j, points[:, :2])
                odd[:, :, k] ^= crossed
                sure[:, :, k] &= ~near
        values[odd] = wanted[number]
    return sure, values


def _named(item: Dataset, names: dict[str, int]) -> bool:
    return str(item.get("ROIName", "")).strip().lower() in names


def _even_odd(i: np.ndarray, j: np.ndarray, polygon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inside, near = np.zeros(i.shape, dtype=bool), np.zeros(i.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        with np.errstate(all="ignore"):
            between = (y0 > j) != (y1 > j)
            inside ^= between & (i < x0 + (j - y0) * (x1 - x0) / (y1 - y0))
            length = np.hypot(x1 - x0, y1 - y0) or 1.0
            share = np.clip(((i - x0) * (x1 - x0) + (j - y0) * (y1 - y0)) / length**2, 0, 1)
            near |= np.hypot(i - x0 - share * (x1 - x0), j - y0 - share * (y1 - y0)) < NEAR_EDGE
    return inside, near


def _segments(dataset: Dataset, mask: Volume, names: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    values = np.zeros(mask.shape, dtype=np.int64)
    labels = [(s, str(s.get("SegmentLabel", "")).strip().lower()) for s in dataset.SegmentSequence]
    wanted = {int(segment.SegmentNumber): names[label] for segment, label in labels if label in names}
    for keyword, value in (("SamplesPerPixel", 1), ("PhotometricInterpretation", "MONOCHROME2")):
        if keyword in dataset:
            del dataset[keyword]  # its VR may be a wrong one
        setattr(dataset, keyword, value)  # a segmentation has no other
    if "TransferSyntaxUID" not in dataset.file_meta:
        raise Unjudged("pydicom wants a transfer syntax")
    pixels = dataset.pixel_array.reshape(-1, int(dataset.Rows), int(dataset.Columns))
    if len(pixels) != len(dataset.PerFrameFunctionalGroupsSequence):
        raise Silent("frames and groups do not match")
    kind = str(dataset.SegmentationType).strip().upper()
    least = 0.5 * float(dataset.get("MaximumFractionalValue", 255)) if kind == "FRACTIONAL" else 1
    for index, frame in enumerate(pixels):
        identity = _group(dataset, index, "SegmentIdentificationSequence")
        of_frame = -1 if identity is None else int(identity.ReferencedSegmentNumber)
        for number, value in wanted.items():
            inside = frame == number if kind == "LABELMAP" else (frame >= least) & (number == of_frame)
            for row, column in np.argwhere(inside):
                first, column_step, row_step = _place(dataset, index)
                mm = (first + column * column_step + row * row_step) * (-1, -1, 1)
                voxel = np.linalg.inv(mask.affine) @ (*mm, 1)
                place = tuple(np.rint(voxel[:3]).astype(int))
                values[place] = min(value, values[place]) if values[place] else value
    return np.ones(mask.shape, dtype=bool), values
