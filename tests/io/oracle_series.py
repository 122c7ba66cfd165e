"""Write made-up series with pydicom alone and know where each pixel lies in the patient: the oracle of the property tests.

A plane is one image: its pixels with the place that its own header will say, rounded as it is written. Nothing is taken from
our reader; a pixel in column i and row j of a plane lies at first + i * column_step + j * row_step (LPS, mm;
PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from scipy.spatial import cKDTree

from pipeline.io.volume import Volume

CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "PT": "1.2.840.10008.5.1.4.1.1.128"}
ENHANCED = {"CT": CLASSES["CT"] + ".1", "MR": CLASSES["MR"] + ".1", "PT": "1.2.840.10008.5.1.4.1.1.130"}
LEGACY = {"CT": CLASSES["CT"] + ".2", "MR": CLASSES["MR"] + ".4", "PT": CLASSES["PT"] + ".1"}
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
PACKED = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
ROOT = "1.2.826.0.1.3680043.8.498."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """One image of a series; what stands here is what the header says."""

    stored: np.ndarray  # (rows, columns), whole numbers
    first: tuple[float, ...]  # Image Position (LPS, mm)
    cosines: tuple[float, ...]  # Image Orientation
    spacing: tuple[float, float]  # Pixel Spacing: (between rows, between columns)
    slope: float = 1.0
    intercept: float = 0.0
    padding: int | None = None
    told: dict[str, object] = field(default_factory=dict)  # what tells its volume from the others: EchoTime, ...

    @property
    def values(self) -> np.ndarray:
        return self.stored * self.slope + self.intercept

    def points_mm(self) -> np.ndarray:
        """(rows, columns, 3), LPS."""
        rows, columns = self.stored.shape
        along_row, along_column = np.array(self.cosines[:3]), np.array(self.cosines[3:])
        i, j = np.arange(columns)[None, :, None], np.arange(rows)[:, None, None]
        return np.array(self.first) + i * along_row * self.spacing[1] + j * along_column * self.spacing[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """How the numbers are stored."""

    allocated: int = 16
    stored: int = 12
    signed: bool = False
    rubbish: bool = False  # in the unused bits
    syntax: str = ExplicitVRLittleEndian

    @property
    def limits(self) -> tuple[int, int]:
        return (-(2 ** (self.stored - 1)), 2 ** (self.stored - 1)) if self.signed else (0, 2**self.stored)

    def coded(self, stored: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mask = 2**self.stored - 1
        bits = stored.astype(np.int64) & mask
        if self.signed and not self.rubbish:
            bits = stored.astype(np.int64) & (2**self.allocated - 1)
        if self.rubbish:
            bits |= rng.integers(0, 2**self.allocated, stored.shape) & ~mask
        return bits.astype(f"<u{self.allocated // 8}")


def stack(stored: np.ndarray, *, first, axes, spacing, step, digits: int = 6, **more) -> list[Plane]:
    """Planes of (slices, rows, columns); plane k lies at first + k * step; axes: (3, 2+) with the directions as columns."""
    cosines = tuple(round(float(v), 9) for v in (*axes[:, 0], *axes[:, 1]))
    places = [np.array(first) + k * np.array(step) for k in range(len(stored))]
    rounded = [tuple(round(float(v), digits) for v in place) for place in places]
    return [
        Plane(stored=pixels, first=place, cosines=cosines, spacing=spacing, **more)
        for pixels, place in zip(stored, rounded, strict=True)
    ]


def _object(sop_class: str, uid: str, series: str, modality: str, pixels: Pixels, shape: tuple[int, int]) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pixels.syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = series, ROOT + "5", ROOT + "77"
    dataset.PatientID, dataset.PatientName, dataset.Modality, dataset.SeriesNumber = "Secret^Id", "Secret^Name", modality, 4
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"]
    dataset.Rows, dataset.Columns = shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.allocated, pixels.stored, pixels.stored - 1
    dataset.PixelRepresentation = int(pixels.signed)
    return dataset


def _ds(value: float) -> str:
    """At most 16 characters, as a decimal string must be."""
    return next(text for text in (f"{value:.{k}g}" for k in range(14, 3, -1)) if len(text) <= 16)


def _fill(dataset: Dataset, coded: np.ndarray, pixels: Pixels) -> None:
    if pixels.syntax in PACKED:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.PixelData = coded.tobytes()
        plugin = "pydicom" if pixels.syntax == RLELossless else ""  # gdcm's encoder aborts the process on tiny images
        dataset.compress(pixels.syntax, encoding_plugin=plugin, generate_instance_uid=False)
        return
    data = coded.astype(coded.dtype.newbyteorder(">")).tobytes() if pixels.syntax == ExplicitVRBigEndian else coded.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if pixels.allocated == 8 and pixels.syntax != ImplicitVRLittleEndian else "OW"


def classic(
    plane: Plane, *, number: int | None, uid: str, series: str, modality: str, pixels: Pixels, seed: int = 0, **more: object
) -> Dataset:
    """One file a plane."""
    dataset = _object(CLASSES[modality], uid, series, modality, pixels, plane.stored.shape)
    dataset.ImagePositionPatient = [_ds(v) for v in plane.first]
    dataset.ImageOrientationPatient = [_ds(v) for v in plane.cosines]
    dataset.PixelSpacing = [_ds(v) for v in plane.spacing]
    if number is not None:
        dataset.InstanceNumber = number
    if (plane.slope, plane.intercept) != (1.0, 0.0):
        dataset.RescaleSlope, dataset.RescaleIntercept = _ds(plane.slope), _ds(plane.intercept)
    if plane.padding is not None:
        dataset.PixelPaddingValue = plane.padding
        dataset["PixelPaddingValue"].VR = "SS" if pixels.signed else "US"
    for keyword, value in {**plane.told, **more}.items():
        setattr(dataset, keyword, value)
    _fill(dataset, pixels.coded(plane.stored, np.random.default_rng(seed)), pixels)
    return dataset


# where a told attribute stands in a multi-frame object: sequence, keyword
GROUPS = {
    "StackID": ("FrameContentSequence", "StackID"),
    "TemporalPositionIndex": ("FrameContentSequence", "TemporalPositionIndex"),
    "DimensionIndexValues": ("FrameContentSequence", "DimensionIndexValues"),
    "EffectiveEchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "FrameType": ("MRImageFrameTypeSequence", "FrameType"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "KVP": ("CTXRayDetailsSequence", "KVP"),
    "NominalPercentageOfCardiacPhase": ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    "EchoTime": ("UnassignedPerFrameConvertedAttributesSequence", "EchoTime"),
    "InstanceNumber": ("UnassignedPerFrameConvertedAttributesSequence", "InstanceNumber"),
    "NominalCardiacTriggerDelayTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
}


def _put(group: Dataset, sequence: str, keyword: str, value: object) -> None:
    if sequence not in group:
        setattr(group, sequence, [Dataset()])
    setattr(getattr(group, sequence)[0], keyword, value)


def enhanced(
    planes: list[Plane],
    *,
    uid: str,
    series: str,
    modality: str,
    pixels: Pixels,
    shared: frozenset[str] = frozenset(),
    legacy: bool = False,
    pointers: tuple[int, ...] = (),
    seed: int = 0,
) -> Dataset:
    """One multi-frame file; `shared` names what stands in the shared groups: "orientation", "measures", "scale"."""
    kinds = LEGACY if legacy else ENHANCED
    dataset = _object(kinds[modality], uid, series, modality, pixels, planes[0].stored.shape)
    dataset.NumberOfFrames, dataset.InstanceNumber = len(planes), 1
    everyone = Dataset()
    groups = [Dataset() for _ in planes]
    for group, plane in zip(groups, planes, strict=True):
        _put(group, "PlanePositionSequence", "ImagePositionPatient", [_ds(v) for v in plane.first])
        turned, measured, scaled = (everyone if name in shared else group for name in ("orientation", "measures", "scale"))
        _put(turned, "PlaneOrientationSequence", "ImageOrientationPatient", [_ds(v) for v in plane.cosines])
        _put(measured, "PixelMeasuresSequence", "PixelSpacing", [_ds(v) for v in plane.spacing])
        if (plane.slope, plane.intercept) != (1.0, 0.0):
            _put(scaled, "PixelValueTransformationSequence", "RescaleSlope", _ds(plane.slope))
            _put(scaled, "PixelValueTransformationSequence", "RescaleIntercept", _ds(plane.intercept))
        for keyword, value in plane.told.items():
            _put(group, *GROUPS[keyword], value)
    dataset.PerFrameFunctionalGroupsSequence = groups
    if len(everyone):
        dataset.SharedFunctionalGroupsSequence = [everyone]
    if pointers:
        dataset.DimensionIndexSequence = [Dataset() for _ in pointers]
        for item, pointer in zip(dataset.DimensionIndexSequence, pointers, strict=True):
            item.DimensionIndexPointer = pointer
    coded = pixels.coded(np.stack([plane.stored for plane in planes]), np.random.default_rng(seed))
    _fill(dataset, coded, pixels)
    return dataset


def beside(kind: str, series: str) -> Dataset:
    """What lies in real folders beside a series: a localizer, a capture, a colour picture."""
    pixels = Pixels(allocated=8, stored=8)
    dataset = _object(CLASSES["CT"], f"{series}.1", series, "CT", pixels, (4, 6))
    dataset.PixelData = bytes(24)
    if kind == "localizer":
        dataset.ImageType, dataset.ImagePositionPatient = ["ORIGINAL", "PRIMARY", "LOCALIZER"], [0, 0, 0]
        dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 0, -1], [1, 1]
    else:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        dataset.Modality = "OT"
        if kind == "colour":
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
            dataset.PixelData = bytes(72)
    return dataset


def save(dataset: Dataset, path: Path, *, bare: bool = False) -> None:
    """`bare` leaves out the preamble and group 0002: only for Implicit VR."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if bare:
        del dataset.file_meta
        dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    else:
        dataset.save_as(path, enforce_file_format=True)


def misplaced(volume: Volume, planes: list[Plane], *, tolerance_mm: float, air: float | None = None) -> str:
    """'' where a volume holds every pixel of these planes, each at its place with its value, and nothing else."""
    if volume.array.size != sum(plane.stored.size for plane in planes):
        return f"{volume.shape} for {len(planes)} planes of {planes[0].stored.shape}"
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), -1).reshape(-1, 3)
    mm = (index @ volume.affine[:3, :3].T + volume.affine[:3, 3]) * (-1.0, -1.0, 1.0)
    points = np.concatenate([plane.points_mm().reshape(-1, 3) for plane in planes])
    away, nearest = cKDTree(mm).query(points)
    if away.max() > tolerance_mm:
        return f"no voxel within {tolerance_mm} mm of {points[away.argmax()]}, the next is {away.max():.4f} mm away"
    if len(set(nearest.tolist())) != len(points):
        return "two pixels in one voxel"
    wanted = np.concatenate([plane.values.reshape(-1) for plane in planes])
    if air is not None:
        padded = np.concatenate([(plane.stored == plane.padding).reshape(-1) for plane in planes])
        wanted = np.where(padded, np.minimum(wanted, air), wanted)
    whole = all(plane.slope == 1 and float(plane.intercept).is_integer() for plane in planes)
    exact = 0.0 if whole else 1e-6 * max(float(np.abs(wanted).max()), *(abs(plane.intercept) for plane in planes))
    off = np.abs(volume.array.reshape(-1)[nearest].astype(np.float64) - wanted)
    worst = int(off.argmax())
    return "" if off[worst] <= exact else f"off by {off[worst]} from {wanted[worst]} at {points[worst]}"
