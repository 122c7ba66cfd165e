"""Read an RTSTRUCT or SEG file as labels on the grid of the image series that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import Notice, UserError
from ...labels import LabelTable
from ..combine import combine
from ..volume import Source, Volume, short_uid
from . import rtstruct, seg
from .elements import Damaged, read_header, read_whole, text
from .scan import LabelObject, scan
from .structures import regions_of_structures


def read_label_object(path: Path, *, like: Volume, table: LabelTable, structures: Mapping[str, int] | None = None) -> Volume:
    """The structures of an RTSTRUCT or SEG on the grid of `like`.

    Args:
        path: the file, or a folder with exactly one such object that belongs to the series of `like`.
        structures: {pattern: value}, see `regions_of_structures`.
    Returns: as the table asks, see `combine`.
    Raises: UserError when there is no such object or several, it belongs to another series, or does not fit the slices.
    """
    label, notices = _the_one(path, like)
    try:
        dataset = read_whole(label.path)
    except Damaged as error:
        raise UserError(f"the file is damaged ({error})", where=label.path, next="Export it again.") from error
    found = rtstruct.regions(dataset) if label.kind == "rtstruct" else seg.regions(dataset)
    owners, absent = regions_of_structures(found, table, structures, where=label.path)
    if label.kind == "rtstruct":
        filled = [rtstruct.fill_regions(dataset, owned, like, where=label.path) for owned in owners]
        masks, remarks = [mask for mask, _ in filled], tuple(notice for _, remark in filled for notice in remark)
    else:
        masks, remarks = seg.fill_regions(dataset, owners, like, where=label.path)
    array, overlap = combine(masks, table, where=label.path)
    source = Source(
        path=label.path, kind="dicom", series_uid=like.source.series_uid, notices=(*notices, *absent, *remarks, *overlap)
    )
    return Volume(array=array, affine=like.affine, source=source)


def _the_one(path: Path, like: Volume) -> tuple[LabelObject, tuple[Notice, ...]]:
    """The label object that belongs to the series of `like`, and a notice where that cannot be checked."""
    objects = scan(path).label_objects
    if not objects:
        what = "this is no mask that can be read: neither NIfTI nor picture, RTSTRUCT or SEG" if path.is_file() else _NONE
        raise UserError(what, where=path, next="Point at the mask of this image.")
    series = like.source.series_uid
    mine = [o for o in objects if not series or not o.referenced_series_uid or o.referenced_series_uid == series]
    if not mine:
        other = short_uid(objects[0].referenced_series_uid)
        what = f"the {objects[0].kind.upper()} belongs to the series ...{other}, the image is the series ...{short_uid(series)}"
        raise UserError(what, where=path, next="Take the structures of this series.")
    if len(mine) > 1:
        names = ", ".join(o.path.name for o in mine[:5])
        raise UserError(f"{len(mine)} label objects belong to the image: {names}", where=path, next="Name one file.")
    if series and mine[0].referenced_series_uid:
        return mine[0], ()
    stated, own = mine[0].frame_of_reference_uid, _frame_of_reference(like)
    if stated and own and stated != own:
        what = f"the {mine[0].kind.upper()} names no series, and its frame of reference is not the image's: its mm are others"
        raise UserError(what, where=path, next="Take the structures of this series.")
    sentence = "whether these structures belong to this image could not be checked: no series is named"
    return mine[0], (Notice(code="series-unchecked", sentence=sentence, where=mine[0].path.name),)


def _frame_of_reference(like: Volume) -> str:
    """Of the image's first file; '' where there is none to look at."""
    files = like.source.slice_files
    if not files or not files[0].is_file():
        return ""
    try:
        with files[0].open("rb") as stream:
            return text(read_header(stream, force=True), "FrameOfReferenceUID")
    except (Damaged, OSError):
        return ""


_NONE = "the folder holds no RTSTRUCT and no SEG"
