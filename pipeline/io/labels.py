"""Read what belongs to an image as labels (NIfTI, picture, RTSTRUCT, SEG) on the image's grid. Knows nothing of learning."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..labels import LabelTable
from .combine import combine
from .nifti import looks_like_nifti, read_nifti
from .orient import grid_difference, reordered
from .paths import existing
from .picture import looks_like_picture, read_picture
from .regrid import on_sheared_grid
from .volume import Source, Volume, short_uid

WHOLE_TOLERANCE = 1e-4  # files written as float with a scale factor miss whole numbers by less


def read_label_volume(
    path: Path | str | Sequence[Path | str],
    *,
    like: Volume,
    table: LabelTable,
    structures: Mapping[str, int] | None = None,
) -> Volume:
    """The labels of an image, voxel by voxel on the image's grid.

    Args:
        path: a NIfTI, PNG or TIFF file, an RTSTRUCT or SEG file, or a folder that holds exactly one of the latter two; or a
            list of mask files, one a structure in the order of the table (every value but 0 belongs to it).
        like: the image; its grid is the result's, exactly.
        table: names and values; `overlapping` gives one channel a structure.
        structures: for RTSTRUCT and SEG, {pattern: value} with the patterns of the shell (`GTV_Mass*`); without it the names of
            the table, upper or lower case.
    Returns: (columns, rows, slices), whole numbers as they are stored; for an overlapping table (columns, rows, slices,
        structures) of 0 and 1.
    Raises: UserError when the grid is another (with the distance in mm; the same grid with axes in another order is turned),
        when values are fractional, when structures overlap that may not, or when the object belongs to another series.
    """
    if not isinstance(path, str | Path):
        return _from_many([existing(p) for p in path], like, table)
    path = existing(path)
    if path.is_file() and (looks_like_nifti(path) or looks_like_picture(path)):
        return _as_table_says(_on_grid(path, like), like, table, path)
    from .dicom.label_object import read_label_object  # pydicom only where it is needed

    return read_label_object(path, like=like, table=table, structures=structures)


def _on_grid(path: Path, like: Volume) -> Volume:
    """One mask file as whole numbers, its axes turned into the order of `like`."""
    if looks_like_nifti(path):
        mask = read_nifti(path)
        array, affine = reordered(whole_labels(mask.array, path), mask.affine, like.affine)
        sheared = on_sheared_grid(array, affine, like)
        array = array if sheared is None else sheared
        difference = "" if sheared is not None else grid_difference(array, affine, like.shape, like.affine)
    else:
        mask = read_picture(path, as_labels=True)
        array = whole_labels(mask.array, path)
        difference = "" if array.shape == like.shape else f"the size is {array.shape} instead of {like.shape}"
        if like.source.kind not in ("picture", "array"):
            difference = difference or f"a picture has no place in mm, and {like.source.path.name} has one"
    if difference:
        what = f"the mask does not lie on the grid of {like.source.path.name}: {difference}"
        raise UserError(what, where=path, next=_remedy(path, mask, like))
    source = Source(path=path, kind=mask.source.kind, spacing_known=like.source.spacing_known, notices=mask.source.notices)
    return Volume(array=np.ascontiguousarray(array), affine=like.affine, source=source)


def _remedy(path: Path, mask: Volume, like: Volume) -> str:
    """The command that puts the mask onto the image's grid, ready to be typed, where there is one."""
    image = like.source
    if mask.source.kind != "nifti" or image.kind not in ("nifti", "dicom"):
        return "Give the mask of this image: same size, same place."
    words = ["unet", "convert", str(path), "OUT.nii.gz", "--like", str(image.path)]
    if image.kind == "dicom":
        words += ["--series", short_uid(image.series_uid)]
        words += ["--volume", image.volume_name] if image.volume_name else []
        words += ["--accept-irregular"] if any(notice.code == "evened" for notice in image.notices) else []
    return f"If it was drawn on the same anatomy, type: {shlex.join(words)}"


def whole_labels(array: np.ndarray, path: Path) -> np.ndarray:
    """Floats that are whole numbers become such. Raises: UserError with the first fractional value and how many there are."""
    if array.dtype.kind in "iu":
        return array
    rounded = np.rint(array)
    wrong = ~(np.abs(array - rounded) <= WHOLE_TOLERANCE)  # NaN is wrong as well
    if wrong.any():
        what = f"{int(wrong.sum())} voxels of the mask hold fractions, e.g. {float(array[wrong][0]):.6g}"
        raise UserError(what, where=path, next="Store whole label values: a mask must not be interpolated or normalised.")
    low, high = rounded.min(initial=0), rounded.max(initial=0)
    if not -(2**31) <= low <= high < 2**31:
        raise UserError(f"the mask holds values from {low:.6g} to {high:.6g}: these are no labels", where=path)
    kind = next(k for k in (np.uint8, np.int16, np.int32) if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    return np.asarray(rounded.astype(kind))


def _as_table_says(mask: Volume, like: Volume, table: LabelTable, path: Path) -> Volume:
    channels = mask.array.shape[3] if mask.array.ndim == 4 else 0
    if not table.overlapping:
        if channels:
            what = f"the mask has {channels} channels, and the structures are not declared as overlapping"
            raise UserError(what, where=path, next="Declare them as overlapping, or give one file with one value a structure.")
        return mask
    if not channels:
        return _expanded(mask, table, path)
    if channels != len(table.structures):
        raise UserError(f"the mask has {channels} channels for {len(table.structures)} structures", where=path)
    if not np.isin(mask.array, (0, 1)).all():
        raise UserError("the channels of a mask of overlapping structures hold more than 0 and 1", where=path)
    return Volume(array=mask.array.astype(np.uint8), affine=like.affine, source=mask.source)


def _expanded(mask: Volume, table: LabelTable, path: Path) -> Volume:
    """A label map becomes one channel a structure."""
    strange = sorted(set(np.unique(mask.array).tolist()) - {table.background, *table.values})
    if strange:
        raise UserError(f"the mask holds the values {strange[:10]}, which the label table does not name", where=path)
    array = np.stack([mask.array == value for value in table.values], axis=-1).astype(np.uint8)
    return Volume(array=array, affine=mask.affine, source=mask.source)


def _from_many(paths: Sequence[Path], like: Volume, table: LabelTable) -> Volume:
    """One file a structure, in the order of the table."""
    if len(paths) != len(table.structures):
        raise UserError(f"{len(paths)} mask files for {len(table.structures)} structures", where=paths[0] if paths else None)
    masks = [_on_grid(path, like).array != 0 for path in paths]
    for path, mask in zip(paths, masks, strict=True):
        if mask.ndim != 3:
            raise UserError("a mask of one structure has channels", where=path)
    array, notices = combine(masks, table, where=paths[0].parent)
    source = Source(path=paths[0], kind="nifti", spacing_known=like.source.spacing_known, notices=notices)
    return Volume(array=array, affine=like.affine, source=source)
