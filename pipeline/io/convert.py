"""Write any scan, or a mask on the grid of another scan, as a NIfTI file that was not there before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import Notice, UserError
from .labels import whole_labels
from .nifti import looks_like_nifti, read_nifti, refuse_other_ending, write_nifti
from .paths import existing
from .read import read_volume
from .regrid import orthogonal
from .resample import Resampled, resample_labels
from .volume import Source, Volume


def convert_scan(
    path: Path | str,
    out: Path | str,
    *,
    series: str = "",
    volume: str = "",
    pixel_size_mm: float | None = None,
    accept_irregular: bool = False,
    overwrite: bool = False,
) -> Volume:
    """The one volume at a path as NIfTI, on the grid that a mask of it has.

    Args:
        path, series, volume, pixel_size_mm, accept_irregular: as in `read_volume`.
        out: ends in .nii or .nii.gz.
        overwrite: an existing file may be replaced (never the input itself).
    Returns: what was written; a sheared volume comes right-angled.
    Raises: UserError as `read_volume` does; where `out` exists; for a picture without a pixel size.
    """
    path, out = Path(path), Path(out)
    _refuse_taken(out, overwrite, path)
    scan = read_volume(path, series=series, volume=volume, pixel_size_mm=pixel_size_mm, accept_irregular=accept_irregular)
    _refuse_idle_words(scan.source, series=series, volume=volume, accept_irregular=accept_irregular, pixel_size=pixel_size_mm)
    if scan.source.kind == "picture":
        scan = _placed(scan)
    written = orthogonal(scan)
    write_nifti(written, out)
    return written


def convert_labels(
    path: Path | str,
    out: Path | str,
    *,
    like: Path | str,
    series: str = "",
    volume: str = "",
    accept_irregular: bool = False,
    overwrite: bool = False,
) -> Resampled:
    """A NIfTI mask on the grid of another image of the same anatomy, by the nearest voxel in mm (see `resample_labels`).

    Args:
        path: the mask.
        out, overwrite: as in `convert_scan`.
        like: the image, NIfTI or DICOM; `series`, `volume` and `accept_irregular` say which volume of it.
    Returns: the labels as written: on the image's own grid, or where that is sheared on the right-angled one that
        `convert_scan` gives the image (`read_label_volume` takes them back to the slices, voxel by voxel).
    Raises: UserError where either has no place in mm, or they do not belong together.
    """
    path, like, out = existing(path), existing(like), Path(out)
    _refuse_taken(out, overwrite, path, like)
    if not path.is_file() or not looks_like_nifti(path):
        what = "--like puts NIfTI masks onto another grid, and this is none"
        raise UserError(what, where=path, next="RTSTRUCT and SEG need no grid of their own: 'unet manifest' reads them.")
    mask = read_nifti(path)
    mask = replace(mask, array=whole_labels(mask.array, path))
    reference = read_volume(like, series=series, volume=volume, accept_irregular=accept_irregular)
    _refuse_idle_words(reference.source, series=series, volume=volume, accept_irregular=accept_irregular)
    for placed in (mask, reference):
        _refuse_unplaced(placed.source)
    resampled = resample_labels(mask, affine=reference.affine, shape=reference.shape, name=reference.source.short_name)
    written = orthogonal(resampled.labels, labels=True)
    write_nifti(written, out)
    return replace(resampled, labels=written)


def _refuse_taken(out: Path, overwrite: bool, *inputs: Path) -> None:
    refuse_other_ending(out)
    if not out.exists():
        return
    for path in inputs:
        if path.exists() and path.samefile(out):
            raise UserError("would replace what is read", where=out, next="Choose another name for the result.")
    if out.is_dir():
        raise UserError("is a folder", where=out, next="Give the name of a file.")
    if not overwrite:
        raise UserError("exists already", where=out, next="Choose another name, or add --overwrite to replace it.")


def _refuse_idle_words(source: Source, **words: object) -> None:
    """Raises: UserError for a word that does nothing with this kind of file: who typed it expects that it does."""
    for name, value in words.items():
        fits = "picture" if name == "pixel_size" else "dicom"
        if value not in ("", False, None) and source.kind != fits:
            kinds = {"dicom": "DICOM", "nifti": "NIfTI", "picture": "a picture"}
            what = f"--{name.replace('_', '-')} is for {kinds[fits]}, and this is {kinds[source.kind]}"
            raise UserError(what, where=source.path, next="Leave it out.")


def _refuse_unplaced(source: Source) -> None:
    """Raises: UserError for what has no place in the patient: nothing could be said to lie where it should."""
    unplaced = any(notice.code == "no-orientation" for notice in source.notices)
    if source.kind == "picture" or unplaced:
        what = "a picture has no place in mm" if source.kind == "picture" else "neither sform nor qform is set"
        raise UserError(
            f"{what}: where it lies in the patient is unknown", where=source.path, next="Export it with its geometry."
        )


def _placed(picture: Volume) -> Volume:
    """The picture with a word about what NIfTI will claim. Raises: UserError where not even the pixels' size is known."""
    if not picture.source.spacing_known:
        what = "the picture does not say how large its pixels are, and NIfTI does"
        raise UserError(what, where=picture.source.path, next="Add --pixel-size MM.")
    sentence = "a picture does not say how it lies in the patient: columns are taken to run to the left, rows to the back"
    notice = Notice(code="orientation-assumed", sentence=sentence)
    return replace(picture, source=replace(picture.source, notices=(*picture.source.notices, notice)))
