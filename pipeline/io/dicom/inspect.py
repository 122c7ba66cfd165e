"""Say what a DICOM folder holds, how its slices lie, and which volume the reader takes. Judges nothing itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

import numpy as np

from ...errors import Notice, UserError
from ..geometry import Geometry, fit_stack
from ..inspection import Inspection, SetAside, VolumeRow
from ..orient import plane_of
from ..volume import Volume, short_uid
from .choose import Looked, choose, looked_through, matching, named
from .evened import evened
from .frames import Frame
from .read import even_layout, read_candidate
from .series import Candidate
from .stack import Uneven, axes_of, ordered_frames, planes_of

NO_DICOM = ("not DICOM", "empty file", "unreadable")  # beginnings of what the scan says of other files


def inspect_dicom(
    path: Path, *, series: str = "", volume: str = "", accept_irregular: bool = False, pixels: bool = True
) -> Inspection:
    """A look at a DICOM folder, file or zip; every header is read once.

    Args:
        series, volume, accept_irregular: as in `read_dicom`; the same choice is made, by the same functions.
        pixels: also read what would be taken, so that damaged pixels show; False is quicker.
    Raises: UserError where there is no DICOM at all, or no series or volume of these names.
    """
    with looked_through(path) as looked:
        if looked.candidates or all(why.startswith(NO_DICOM) for _, why in looked.set_aside):
            matching(looked, series, volume)  # raises where there is nothing, or nothing of this name
        chosen, found, notices, refusal = _attempt(looked, series, volume, accept_irregular, pixels)
        frames = looked.found.frames
        return Inspection(
            path=path,
            kind="dicom",
            patients=len({frame.patient for frame in frames}),
            studies=len({frame.study_uid for frame in frames}),
            series=len({frame.series_uid for frame in frames}),
            rows=tuple(
                _row(candidate, words, looked, chosen, refusal)
                for candidate, words in zip(looked.candidates, _words(looked), strict=True)
            ),
            set_aside=_by_kind((*looked.set_aside, *(pair for c in looked.candidates for pair in c.set_aside))),
            volume=found,
            notices=notices,
            refusal=refusal,
            pixels_tried=pixels and chosen is not None,
        )


def _attempt(
    looked: Looked, series: str, volume: str, accept_irregular: bool, pixels: bool
) -> tuple[Candidate | None, Volume | None, tuple[Notice, ...], UserError | None]:
    """The candidate that the reader chooses, if it does; its volume and notices, or the reader's refusal."""
    chosen = None
    try:
        chosen = choose(looked, series, volume)
        if pixels:
            found = read_candidate(looked, chosen, accept_irregular=accept_irregular)
            return chosen, found, found.source.notices, None
        return chosen, None, (*chosen.notices, *even_layout(chosen, accept_irregular).notices), None
    except UserError as error:
        return chosen, None, (), error


def _row(
    candidate: Candidate, words: tuple[str, ...] | None, looked: Looked, chosen: Candidate | None, refusal: UserError | None
) -> VolumeRow:
    first = candidate.frames[0]
    layout, geometry = candidate.layout, _geometry(candidate)
    fault = "" if candidate.fault is None else _sentence(candidate.fault)
    if candidate is chosen and refusal is not None and not fault:  # the headers are well, the pixels are not
        fault = f"{refusal.where}: {refusal.what}".removeprefix(f"{looked.shown}: ")
    x, y, z = (0.0, 0.0, 0.0) if layout is None else np.linalg.norm(layout.affine[:3, :3], axis=0).tolist()
    return VolumeRow(
        series_number=candidate.series_number,
        series=short_uid(candidate.series_uid),
        description=first.description,
        modality=first.modality,
        volume=candidate.name,
        size=(first.columns, first.rows, len(candidate.frames)),
        channels=1,
        spacing_mm=(x, y, z) if layout is not None and layout.spacing_known else None,
        plane=plane_of(axes_of(first)[2]) if first.orientation is not None else "",
        geometry=geometry.kind if geometry is not None else "",
        residual_mm=geometry.residual_mm if geometry is not None else None,
        fault=fault,
        notices=candidate.notices,
        words=_with_even(words, candidate) if not fault or _may_be_evened(candidate) else None,
        taken=candidate is chosen and refusal is None,
    )


def _geometry(candidate: Candidate) -> Geometry | None:
    """How the slices lie, also of those that are refused for it; None where places are missing, or two slices share one."""
    if candidate.layout is not None:
        return candidate.layout.geometry
    frames: list[Frame] = list(candidate.frames)
    if any(f.missing for f in frames) or len({(f.columns, f.rows) for f in frames}) > 1 or len(frames) < 2:
        return None
    ordered = ordered_frames(frames)
    origins, column_steps, row_steps = planes_of(ordered)
    if np.linalg.norm(np.diff(origins, axis=0), axis=1).min() == 0:
        return None
    return fit_stack(origins, column_steps, row_steps, (ordered[0].columns, ordered[0].rows))[0]


def _words(looked: Looked) -> Iterator[tuple[str, ...] | None]:
    """For each candidate the fewest words with which the reader takes it and no other; None where none do."""
    series: dict[str, list[Candidate]] = {}
    for candidate in looked.candidates:
        series.setdefault(candidate.series_uid, []).append(candidate)
    selectors = {uid: _selector(members, looked) for uid, members in series.items()}
    places: Counter[str] = Counter()
    for candidate in looked.candidates:
        uid = candidate.series_uid
        places[uid] += 1
        members, chosen = series[uid], selectors[uid]
        if len(looked.candidates) == 1:
            yield ()
        elif not chosen or len(members) == 1:
            yield ("--series", chosen) if chosen else None
        else:
            ways = [v for v in (candidate.name, str(places[uid])) if v and named(members, v, looked.shown) == [candidate]]
            yield ("--series", chosen, "--volume", ways[0]) if ways else None


def _selector(members: list[Candidate], looked: Looked) -> str:
    """The series' number, else the end of its UID: what names this series alone; '' where another one has both."""
    number = "" if members[0].series_number is None else str(members[0].series_number)
    for word in (number, short_uid(members[0].series_uid)):
        if word and matching(looked, word, "") == members:
            return word
    return ""


def _with_even(words: tuple[str, ...] | None, candidate: Candidate) -> tuple[str, ...] | None:
    return words if words is None or candidate.fault is None else (*words, "--accept-irregular")


def _may_be_evened(candidate: Candidate) -> bool:
    if not isinstance(candidate.fault, Uneven):
        return False
    try:
        evened(candidate.frames)
    except UserError:
        return False
    return True


def _sentence(fault: UserError) -> str:
    return f"{fault.where}: {fault.what}" if fault.where is not None else fault.what


def _by_kind(set_aside: Iterable[tuple[str, str]]) -> tuple[SetAside, ...]:
    kinds: dict[str, list[str]] = {}
    for name, why in set_aside:
        kinds.setdefault(why, []).append(PurePath(name).name)
    return tuple(SetAside(why=why, names=tuple(names)) for why, names in sorted(kinds.items(), key=lambda kind: kind[0]))
