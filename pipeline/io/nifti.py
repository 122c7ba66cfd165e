"""Read and write NIfTI files. Knows nothing of DICOM or learning."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import Notice, UserError
from .geometry import SHEAR_MM, corners_mm, grid_distance_mm, ras_from_lps, right_angled, shear_distance_mm
from .paths import existing, file_aside
from .room import refuse_without_room
from .volume import Source, Volume

if TYPE_CHECKING:
    import nibabel

DEFLATE_RATIO = 1032  # no deflate stream unpacks to more than this many times its size
SAME_CORNER_MM = 1e-3  # what a written file may differ by: float32 coordinates half a metre from the origin are off by 3e-5
TWO_GEOMETRIES_MM = 0.05  # sform and qform that differ by less come from rounding
HEADER_BYTES = 540  # NIfTI-2; NIfTI-1 has 348
UNIT_MM = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
# notice → what it says in the file itself: whoever opens it later has no console and perhaps no sidecar
RESAMPLED = {"sheared": "tilted slices moved in plane", "evened": "uneven slices put on even grid"}
SLAB_BYTES = 2**27  # of a written file that SimpleITK reads at once: it holds them twice
COMPRESSION = 4  # gzip level: level 6 takes twice the time for 2 % less


def looks_like_nifti(path: Path) -> bool:
    """Whether the file's first bytes are those of a single-file NIfTI-1 or -2, packed or not."""
    try:
        with _opened(path) as stream:
            return _version(stream.read(HEADER_BYTES)) in ("n+1", "n+2")
    except (OSError, EOFError, zlib.error):
        return False


def read_nifti(path: Path | str, *, modality: str = "", most_bytes: int | None = None) -> Volume:
    """One NIfTI file as a volume on its own grid.

    Args:
        path: a single-file NIfTI-1 or -2, packed with gzip or not; recognised by content.
        modality: DICOM's code where the caller knows it: a NIfTI file does not say.
        most_bytes: that reading may take, which is twice what the values take; None: as many as there are.
    Returns: whole numbers as they are stored (with scaling applied where it keeps them whole), otherwise float32; NaN is kept;
        two axes get a third of length 1, four axes are (columns, rows, slices, channels).
    Raises: UserError when the file is damaged, shorter than its header says, holds colours or complex numbers or more than
        four axes, has no usable spacing, or is too large.
    Source: NIfTI-1, sform before qform; where neither is set pixdim alone gives the spacing and a notice says so.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.imageglobals import LoggingOutputSuppressor
    from nibabel.spatialimages import HeaderDataError

    path = existing(path)
    try:
        with _opened(path) as stream:
            head = stream.read(HEADER_BYTES)
            kinds = {"n+1": nibabel.Nifti1Image, "n+2": nibabel.Nifti2Image}
            version = _version(head)
            if version not in kinds:
                raise UserError(_not_nifti(version), where=path, next="Give a .nii or .nii.gz file.")
            _refuse_without_spacing(kinds[version].header_class(head[: 348 if version == "n+1" else 540], check=False), path)
            stream.seek(0)
            with LoggingOutputSuppressor():  # what nibabel mends silently or with a log line is judged here
                image = kinds[version].from_stream(stream)
            _refuse_unreadable(image, path)
            refuse_without_room(image.shape, 2 * image.get_data_dtype().itemsize, most_bytes, where=path)
            array = _values(image)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"the packed file is damaged or cut off ({error})", where=path, next="Copy the file again.") from error
    except (HeaderDataError, ImageFileError, OSError, ValueError) as error:
        raise UserError(f"the file cannot be read as NIfTI ({error})", where=path, next="Copy or export it again.") from error
    affine, notices = _affine(image, path.name)
    source = Source(path=path, kind="nifti", notices=notices)
    return Volume(array=array, affine=affine, modality=modality, source=source)


def write_nifti(volume: Volume, path: Path | str) -> None:
    """Write a volume as NIfTI-1 on its own grid, read it back with two libraries, then give it its name.

    Whole numbers stay whole (uint8, int16, uint16, else int32), all others become float32; sform and qform are set with code 1.
    A volume that was resampled says so in the header's description.
    Equal volumes give equal bytes.

    Args:
        path: ends in .nii.gz or .nii; the folder is made; an existing file is replaced only when the new one is right.
    Raises: UserError when the grid is sheared (`regrid.orthogonal` makes it a right-angled one), the name has another ending,
        or whole numbers are too large for 32 bits.
    """
    path = Path(path)
    refuse_other_ending(path)
    shear_mm = shear_distance_mm(volume.affine, volume.shape)
    if shear_mm > SHEAR_MM:
        raise UserError(
            f"the grid is sheared by {shear_mm:.2f} mm, which NIfTI readers do not agree on",
            where=path,
            next="Resample it to a right-angled grid first (pipeline.io.regrid.orthogonal).",
        )
    array = _storable(volume.array, path)
    try:
        with file_aside(path, ".nii.gz" if path.name.endswith(".gz") else ".nii") as aside:
            _write(array, volume.affine, aside, described=_resampled(volume))
            _verify(aside, array, volume.affine, SAME_CORNER_MM + shear_mm)
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=path, next="Choose another place, or make room."
        ) from error


def refuse_other_ending(path: Path) -> None:
    """Raises: UserError for a name that `write_nifti` does not take."""
    if not path.name.endswith((".nii.gz", ".nii")):
        raise UserError(f"'{path.name}' does not end in .nii.gz or .nii", where=path, next="Use one of these endings.")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The unpacked bytes of a file, whatever its name says."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if packed:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            yield raw


def _version(head: bytes) -> str:
    """'n+1', 'n+2', 'ni1' or 'ni2' by the magic bytes, '' for anything else."""
    for magic in (head[344:348], head[4:8]):
        if magic[:3] in (b"n+1", b"ni1", b"n+2", b"ni2") and magic[3:4] == b"\0":
            return magic[:3].decode()
    return ""


def _not_nifti(version: str) -> str:
    return "the header and the values are in two files (.hdr and .img)" if version else "this is not a NIfTI file"


def _refuse_without_spacing(header: nibabel.Nifti1Header, path: Path) -> None:
    """nibabel puts 1 mm where the header says 0; no sform and no qform leaves pixdim as the only truth."""
    spacing = np.array(header["pixdim"][1:4], dtype=np.float64)[: max(int(header["dim"][0]), 2)]
    coded = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    if not coded and not ((spacing != 0) & np.isfinite(spacing)).all():
        what = f"the header has neither sform nor qform and no usable spacing ({spacing.tolist()})"
        raise UserError(what, where=path, next="Export the file again.")


def _refuse_unreadable(image: nibabel.Nifti1Image, path: Path) -> None:
    """Judges the header before any memory is taken for the values."""
    shape, dtype = image.shape, image.get_data_dtype()
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise UserError(f"the shape {image.shape} is not an image of 2 to 4 axes", where=path, next="Store one volume a file.")
    if dtype.fields is not None or dtype.kind not in "iuf":
        raise UserError(f"the values are of type {dtype}, not plain numbers", where=path, next="Store grey values or labels.")
    claimed = int(np.prod([int(n) for n in image.shape], dtype=object)) * dtype.itemsize
    size = path.stat().st_size
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    available = size * DEFLATE_RATIO if packed else size - int(image.dataobj.offset)
    if claimed > available:
        raise UserError(
            f"the header claims {claimed} bytes of values, the file can hold at most {max(available, 0)}",
            where=path,
            next="The file is cut off or its header is wrong: copy it again.",
        )


def _values(image: nibabel.Nifti1Image) -> np.ndarray:
    """(columns, rows, slices[, channels]) in native byte order; whole numbers where they are whole by the header."""
    array = np.array(image.dataobj.get_unscaled())
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind in "iu" and slope == 1 and float(intercept).is_integer():
        if intercept:
            array = array.astype(np.int64) + int(intercept)
        if array.dtype.itemsize == 8:
            array = array.astype(np.int32 if np.abs(array).max(initial=0) < 2**31 else np.float32)
    else:
        array = (array.astype(np.float64) * slope + intercept).astype(np.float32) if (slope, intercept) != (1, 0) else array
        array = array.astype(np.float32, copy=False)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return array[..., None] if array.ndim == 2 else array


def _affine(image: nibabel.Nifti1Image, name: str) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """4x4, voxel index to mm in RAS+, with what is worth a word about it."""
    header, notices = image.header, []
    coded = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not any(coded):
        sentence = "neither sform nor qform is set: left and right are unknown"
        notices.append(Notice(code="no-orientation", sentence=sentence, where=name))
    affine = np.array(image.affine, dtype=np.float64)
    if all(coded):
        shape = (*image.shape, 1, 1)[:3]
        apart_mm = grid_distance_mm(affine, header.get_qform(), shape)
        if apart_mm > TWO_GEOMETRIES_MM:
            sentence = f"sform and qform lie up to {apart_mm:.2f} mm apart: sform is taken, other programs may take qform"
            notices.append(Notice(code="two-geometries", sentence=sentence, where=name))
    unit = header.get_xyzt_units()[0]
    if UNIT_MM.get(unit, 1.0) != 1.0:
        affine[:3] *= UNIT_MM[unit]
        notices.append(Notice(code="unit-converted", sentence=f"the header counts in {unit}: turned into mm", where=name))
    return affine, tuple(notices)


def _storable(array: np.ndarray, path: Path) -> np.ndarray:
    """The same numbers in a type that every NIfTI reader knows."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind not in "iu":
        return array.astype(np.float32, copy=False)
    if array.dtype in (np.uint8, np.int16, np.uint16):
        return array
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    for kind in (np.int16, np.uint16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind)
    raise UserError(f"whole numbers from {low} to {high} do not fit into 32 bits", where=path, next="Store them as float32.")


def _resampled(volume: Volume) -> str:
    """For the header's 80 bytes of description: '' where the voxels are those that were acquired."""
    codes = {notice.code for notice in volume.source.notices}
    found = [words for code, words in RESAMPLED.items() if code in codes]
    return f"resampled: {', '.join(found)}" if found else ""


def _write(array: np.ndarray, affine: np.ndarray, path: Path, *, described: str) -> None:
    import nibabel

    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = described
    # qform can hold right angles only; sform is exact
    image.set_qform(right_angled(affine, (array.shape[0], array.shape[1], array.shape[2])), code=1)
    image.set_sform(affine, code=1)
    with path.open("wb") as raw:
        if path.name.endswith(".gz"):
            # no name and no time inside: equal volumes give equal bytes
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=COMPRESSION, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(raw)
        raw.flush()
        os.fsync(raw.fileno())


def _verify(path: Path, array: np.ndarray, affine: np.ndarray, tolerance_mm: float) -> None:
    """Reads the file with nibabel and with SimpleITK. Raises: RuntimeError when either sees other values or another place."""
    import nibabel
    import SimpleITK as sitk

    shape = array.shape[0], array.shape[1], array.shape[2]
    image = nibabel.load(path, keep_file_open=True)  # slices in their order: the packed file is unpacked once
    _refuse_moved("nibabel", grid_distance_mm(image.affine, affine, shape), tolerance_mm)
    _compare("nibabel", image.dataobj, array)
    seen = sitk.ImageFileReader()
    seen.SetFileName(str(path))
    seen.ReadImageInformation()
    axes = seen.GetDimension()
    direction = np.array(seen.GetDirection()).reshape(axes, axes)[:3, :3] * np.array(seen.GetSpacing()[:3])
    lps_affine = np.eye(4)
    lps_affine[:3, :3], lps_affine[:3, 3] = direction, seen.GetOrigin()[:3]
    seen_corners = ras_from_lps(corners_mm(lps_affine, shape))
    apart_mm = float(np.linalg.norm(seen_corners - corners_mm(affine, shape), axis=1).max())
    _refuse_moved("SimpleITK", apart_mm, tolerance_mm)
    if seen.GetSize() != array.shape:
        raise RuntimeError(f"SimpleITK sees {seen.GetSize()} voxels in the written file, not {array.shape}")
    for first, last in _slabs(array):
        seen.SetExtractIndex([0] * (axes - 1) + [first])
        seen.SetExtractSize([*array.shape[:-1], last - first])
        slab = seen.Execute()  # kept while its view is read
        _compare("SimpleITK", sitk.GetArrayViewFromImage(slab).T, array[..., first:last], finite=True)


def _slabs(array: np.ndarray) -> Iterator[tuple[int, int]]:
    """Parts of the last axis, for a reader that holds all that it reads, and twice."""
    step = max(1, SLAB_BYTES // (array.nbytes // array.shape[-1] or 1))
    for first in range(0, array.shape[-1], step):
        yield first, min(first + step, array.shape[-1])


def _refuse_moved(reader: str, apart_mm: float, tolerance_mm: float) -> None:
    if apart_mm > tolerance_mm:
        raise RuntimeError(f"{reader} sees the written file {apart_mm:.4f} mm away from where it should be")


def _compare(reader: str, found: Any, array: np.ndarray, *, finite: bool = False) -> None:
    """Slice by slice: a large volume is not held twice.

    Args:
        found: of the shape of `array`, read where it is indexed.
        finite: the reader takes NaN and infinity for 0, as ITK does.
    """
    floats = array.dtype.kind == "f"
    if found.shape == array.shape:
        for places in np.ndindex(array.shape[:1:-1]):  # in the order of the file
            place = (slice(None), slice(None), *reversed(places))
            wanted = array[place]
            wanted = np.where(np.isfinite(wanted), wanted, 0) if floats and finite else wanted
            if not np.array_equal(found[place], wanted, equal_nan=floats):
                break
        else:
            return
    raise RuntimeError(f"{reader} sees other values in the written file than were given")
