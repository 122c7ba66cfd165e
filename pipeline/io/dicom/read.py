"""Read exactly one volume from a DICOM folder, file or zip, or say what there is to choose from."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...errors import Notice, UserError, nearest
from ..volume import Source, Volume, short_uid
from .archive import unpacked
from .evened import Evened, evened
from .pixels import read_stack
from .scan import Scan, scan
from .series import Candidate, candidates_of
from .stack import Uneven

LISTED = 20  # candidates that a message shows


def read_dicom(path: Path | str, *, series: str = "", volume: str = "", accept_irregular: bool = False) -> Volume:
    """The one volume of a DICOM folder (sub-folders included), file or zip.

    Args:
        series: number of the series, its whole UID or the last 8 digits of it; '' where the folder has one volume.
        volume: name of one of a series' volumes as the refusal lists it ("time 2", "phase", "b 1000, direction 2"), or its
            place in that list, from 1.
        accept_irregular: a stack with holes or uneven distances is put on an even grid (see `evened.py`), which a notice says.
    Returns: (columns, rows, slices) along +normal; modality values (HU for CT); the affine may be sheared (gantry tilt).
    Raises: UserError when there is no volume, when there are several (all are listed), or when the one has no regular grid,
        lacks an attribute, or cannot be decoded.
    Source: PS3.3 C.7.6.2.1.1 (classic), C.7.6.16.2 (multi-frame); PS3.5 8.1.1 (stored bits).
    """
    path = Path(path)
    if path.is_file() and zipfile.is_zipfile(path):
        with unpacked(path) as folder:
            return _read(folder, path, series, volume, accept_irregular)
    return _read(path, path, series, volume, accept_irregular)


def _read(root: Path, shown: Path, series: str, volume: str, accept_irregular: bool) -> Volume:
    found = scan(root)
    candidates, aside = candidates_of(found.frames)
    chosen = _choose(candidates, found, aside, shown, series, volume)
    try:
        even = _even_layout(chosen, accept_irregular)
        layout = even.layout
        array, notices = read_stack(layout.frames)
    except UserError as error:
        raise _located(error, shown) from error
    if even.taken:
        array = array[:, :, list(even.taken)]
    source = Source(
        path=shown,
        kind="dicom",
        series_uid=chosen.series_uid,
        series_number=chosen.series_number,
        volume_name=chosen.name if sum(c.series_uid == chosen.series_uid for c in candidates) > 1 else "",
        slice_files=tuple(shown / f.file.relative_to(root) if root != shown else f.file for f in layout.frames),
        sop_uids=tuple(f.sop_uid for f in layout.frames),
        frame_numbers=tuple(f.index + 1 for f in layout.frames),
        geometry=layout.geometry,
        shown_in=even.shown_in,
        spacing_known=layout.spacing_known,
        notices=(*chosen.notices, *even.notices, *notices, *_set_aside_notice(found, aside)),
        files_set_aside=(*found.set_aside, *aside, *chosen.set_aside),
    )
    return Volume(array=array, affine=layout.affine, modality=layout.frames[0].modality, source=source)


def _even_layout(chosen: Candidate, accept_irregular: bool) -> Evened:
    """The candidate's grid; an even one for uneven slices where that is wanted. Raises: UserError with its fault."""
    if chosen.layout is not None:
        return Evened(layout=chosen.layout, shown_in=tuple(range(len(chosen.frames))))
    if chosen.fault is None:
        raise ValueError("a candidate has a layout or a fault")
    if accept_irregular and isinstance(chosen.fault, Uneven):
        return evened(chosen.frames)
    raise chosen.fault


def _located(error: UserError, shown: Path) -> UserError:
    """The same error with the folder before the file."""
    where = f"{shown}: {error.where}" if error.where is not None else shown
    return UserError(error.what, where=where, next=error.next)


def _choose(
    candidates: Sequence[Candidate], found: Scan, aside: Sequence[tuple[str, str]], shown: Path, series: str, volume: str
) -> Candidate:
    """The candidate that the user means. Raises: UserError with all candidates where that is not clear."""
    if not candidates:
        raise UserError(
            f"there is no image volume: {_what_there_is(found, aside)}", where=shown, next="Point at a CT or MR series."
        )
    left = [c for c in candidates if _is_series(c, series)] if series else list(candidates)
    if not left:
        names = sorted({str(c.series_number) for c in candidates} | {short_uid(c.series_uid) for c in candidates})
        raise UserError(f"there is no series '{series}'{nearest(series, names)}", where=shown, next=_table(candidates))
    if volume:
        left = _named(left, volume, shown)
    if len(left) == 1:
        return left[0]
    stray = [c.fault for c in left if c.fault is not None and len(c.frames) == 1]
    if stray and len({c.series_uid for c in left}) == 1:
        raise _located(stray[0], shown)  # a stack with one slice that does not fit: say that, not "two volumes"
    count = len({c.series_uid for c in left})
    of = f" in {count} series" if count > 1 else ""
    what = f"there are {len(left)} volumes{of}, and one is needed"
    raise UserError(what, where=shown, next=f"Name one with --series and --volume: {_table(left)}")


def _is_series(candidate: Candidate, series: str) -> bool:
    return series in (candidate.series_uid, short_uid(candidate.series_uid), str(candidate.series_number))


def _named(candidates: Sequence[Candidate], volume: str, shown: Path) -> list[Candidate]:
    exact = [c for c in candidates if c.name.lower() == volume.strip().lower()]
    if exact:
        return exact
    if volume.strip().isdigit() and 1 <= int(volume) <= len(candidates):
        return [candidates[int(volume) - 1]]
    names = [c.name for c in candidates if c.name]
    if not names:
        raise UserError(
            f"there is no volume '{volume}': the series holds a single one", where=shown, next="Leave --volume out."
        )
    raise UserError(f"there is no volume '{volume}'{nearest(volume, names)}", where=shown, next=_table(candidates))


def _table(candidates: Sequence[Candidate]) -> str:
    rows = [f"| {k}: {c.describe()}" for k, c in enumerate(candidates[:LISTED], start=1)]
    more = f" | ... {len(candidates) - LISTED} more" if len(candidates) > LISTED else ""
    return " ".join(rows) + more


def _what_there_is(found: Scan, aside: Sequence[tuple[str, str]]) -> str:
    counts = Counter(why for _, why in (*found.set_aside, *aside))
    return ", ".join(f"{count} x {why}" for why, count in sorted(counts.items())) or "no file at all"


def _set_aside_notice(found: Scan, aside: Sequence[tuple[str, str]]) -> tuple[Notice, ...]:
    if not found.set_aside and not aside:
        return ()
    return (Notice(code="files-set-aside", sentence=f"set aside: {_what_there_is(found, aside)}"),)
