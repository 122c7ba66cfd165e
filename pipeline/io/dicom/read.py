"""Read exactly one volume from a DICOM folder, file or zip, or say what there is to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from ...errors import Notice, UserError, listed
from ..volume import Source, Volume
from .choose import Looked, choose, located, looked_through, what_there_is
from .evened import Evened, evened
from .pixels import read_stack
from .series import Candidate
from .stack import LISTED, Uneven


def read_dicom(
    path: Path | str,
    *,
    series: str = "",
    volume: str = "",
    accept_irregular: bool = False,
    only: Sequence[Path] = (),
    most_bytes: int | None = None,
) -> Volume:
    """The one volume of a DICOM folder (sub-folders included), file or zip.

    Args:
        series: number of the series, its whole UID or the last 8 digits of it; '' where the folder has one volume.
        volume: name of one of a series' volumes as the refusal lists it ("time 2", "phase", "b 1000, direction 2"), or its
            place in that list, from 1.
        accept_irregular: a stack with holes or uneven distances is put on an even grid (see `evened.py`), which a notice says.
        only: these files of the folder, where many series lie side by side and it is known which are wanted; () for all.
        most_bytes: that the voxels may take; None: as many as there are.
    Returns: (columns, rows, slices) along +normal; modality values (HU for CT); the affine may be sheared (gantry tilt).
    Raises: UserError when there is no volume, when there are several (all are listed), or when the one has no regular grid,
        lacks an attribute, or cannot be decoded.
    Source: PS3.3 C.7.6.2.1.1 (classic), C.7.6.16.2 (multi-frame); PS3.5 8.1.1 (stored bits).
    """
    with looked_through(Path(path), only) as looked:
        chosen = choose(looked, series, volume)
        return read_candidate(looked, chosen, accept_irregular=accept_irregular, most_bytes=most_bytes)


def read_candidate(
    looked: Looked, chosen: Candidate, *, accept_irregular: bool = False, most_bytes: int | None = None
) -> Volume:
    """The volume of one candidate of `looked`.

    Raises: UserError with its fault, where it takes more than so many bytes, or where its pixels cannot be decoded.
    """
    try:
        even = even_layout(chosen, accept_irregular)
        layout = even.layout
        array, notices = read_stack(layout.frames, most_bytes=most_bytes)
    except UserError as error:
        raise located(_with_broken_files(error, looked), looked.shown) from error
    if even.taken:
        array = array[:, :, list(even.taken)]
    source = Source(
        path=looked.shown,
        kind="dicom",
        series_uid=chosen.series_uid,
        series_number=chosen.series_number,
        volume_name=chosen.name if sum(c.series_uid == chosen.series_uid for c in looked.candidates) > 1 else "",
        slice_files=tuple(_shown(f.file, looked) for f in layout.frames),
        sop_uids=tuple(f.sop_uid for f in layout.frames),
        frame_numbers=tuple(f.index + 1 for f in layout.frames),
        geometry=layout.geometry,
        shown_in=even.shown_in,
        spacing_known=layout.spacing_known,
        notices=(*chosen.notices, *even.notices, *notices, *_set_aside_notices(looked)),
        files_set_aside=(*looked.set_aside, *chosen.set_aside),
    )
    return Volume(array=array, affine=layout.affine, modality=layout.frames[0].modality, source=source)


def even_layout(chosen: Candidate, accept_irregular: bool) -> Evened:
    """The candidate's grid; an even one for uneven slices where that is wanted. Raises: UserError with its fault."""
    if chosen.layout is not None:
        return Evened(layout=chosen.layout, shown_in=tuple(range(len(chosen.frames))))
    if chosen.fault is None:
        raise ValueError("a candidate has a layout or a fault")
    if accept_irregular and isinstance(chosen.fault, Uneven):
        return evened(chosen.frames)
    raise chosen.fault


def _shown(file: Path, looked: Looked) -> Path:
    return looked.shown / file.relative_to(looked.root) if looked.root != looked.shown else file


def _broken(looked: Looked) -> list[str]:
    """Files that may have been slices: damaged, never finished, or without permission."""
    kinds = ("damaged DICOM file", "unreadable", "empty file")
    # without their folders: archives name those after patients, and notices go into sidecars
    return [f"{PurePath(name).name} ({why})" for name, why in looked.set_aside if why.startswith(kinds)]


def _with_broken_files(error: UserError, looked: Looked) -> UserError:
    """The same refusal with the files that could not be read: one of them may be what is missing."""
    broken = _broken(looked)
    if not broken:
        return error
    return UserError(f"{error.what}; not read: {listed(broken, LISTED)}", where=error.where, next=error.next)


def _set_aside_notices(looked: Looked) -> tuple[Notice, ...]:
    notices, broken = [], _broken(looked)
    if broken:
        sentence = f"not read, and perhaps slices of this series: {listed(broken, LISTED)}"
        notices.append(Notice(code="files-broken", sentence=sentence))
    if looked.set_aside:
        notices.append(Notice(code="files-set-aside", sentence=f"set aside: {what_there_is(looked)}"))
    return tuple(notices)
