"""Say what a folder holds, how its slices lie, and which volume the reader would take. Judges nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import Notice, UserError
from ..geometry import fit_stack
from ..volume import Volume, short_uid
from .choose import Looked, choose, looked_through, matching
from .frames import Frame
from .read import even_layout, read_candidate
from .series import Candidate
from .stack import Uneven, axes_of, ordered_frames, planes_of

NOT_DICOM = ("not DICOM", "empty file")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRow:
    """One volume of one series, whether it can be read or not."""

    series_number: int | None
    series: str  # the last 8 digits of its UID
    description: str
    modality: str
    volume: str  # what tells it from the other volumes of its series, '' where it is the only one
    size: tuple[int, int, int]  # columns, rows, slices
    spacing_mm: tuple[float, float, float] | None  # between columns, rows, slices; None where slices have no one distance
    plane: str  # the nearest of axial, coronal, sagittal; '' where it is not known
    geometry: str  # regular, sheared, gapped, irregular; '' where positions are missing
    residual_mm: float | None  # largest distance of a slice's corner from the regular grid that fits best
    fault: str  # '' or why it cannot be read, with the file
    notices: tuple[Notice, ...]
    words: tuple[str, ...] | None  # what names exactly this volume: ("--series", "4"); None: nothing can make it readable
    taken: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Files (or frames) of one kind that are no slices of a volume."""

    why: str
    names: tuple[str, ...]  # without their folders, which archives name after patients


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inspection:
    """What is there, and what `read_volume` would do with it."""

    path: Path
    patients: int
    studies: int
    series: int
    rows: tuple[VolumeRow, ...]
    set_aside: tuple[SetAside, ...]
    volume: Volume | None  # what is taken; None where that is refused, or pixels were not tried
    notices: tuple[Notice, ...]  # of what is taken
    refusal: UserError | None  # the reader's own; None where a volume is taken
    pixels_tried: bool

    @property
    def taken(self) -> VolumeRow | None:
        return next((row for row in self.rows if row.taken), None)

    @property
    def usable(self) -> bool:
        """Whether something is taken, or could be by naming it."""
        return self.taken is not None or any(not row.fault for row in self.rows)


def inspect_dicom(
    path: Path, *, series: str = "", volume: str = "", accept_irregular: bool = False, pixels: bool = True
) -> Inspection:
    """A look at a DICOM folder, file or zip.

    Args:
        series, volume, accept_irregular: as in `read_dicom`; the same choice is made.
        pixels: also read what would be taken, so that damaged pixels show; False is quicker.
    Raises: UserError where there is no DICOM at all, or no series or volume of these names.
    """
    with looked_through(path) as looked:
        if not looked.candidates and all(why.startswith((*NOT_DICOM, "unreadable")) for _, why in looked.set_aside):
            matching(looked, series, volume)  # raises: there is nothing
        if looked.candidates:
            matching(looked, series, volume)
        chosen, found, notices, refusal = _taken(looked, series, volume, accept_irregular, pixels)
        frames = looked.found.frames
        return Inspection(
            path=path,
            patients=len({frame.patient for frame in frames}),
            studies=len({frame.study_uid for frame in frames}),
            series=len({frame.series_uid for frame in frames}),
            rows=tuple(_row(candidate, looked, candidate is chosen) for candidate in looked.candidates),
            set_aside=_by_kind((*looked.set_aside, *(pair for c in looked.candidates for pair in c.set_aside))),
            volume=found,
            notices=notices,
            refusal=refusal,
            pixels_tried=pixels and chosen is not None,
        )


def _taken(
    looked: Looked, series: str, volume: str, accept_irregular: bool, pixels: bool
) -> tuple[Candidate | None, Volume | None, tuple[Notice, ...], UserError | None]:
    """The candidate that is read, its volume where pixels are tried, its notices; or the reader's refusal."""
    try:
        chosen = choose(looked, series, volume)
        if pixels:
            found = read_candidate(looked, chosen, accept_irregular=accept_irregular)
            return chosen, found, found.source.notices, None
        even = even_layout(chosen, accept_irregular)
    except UserError as error:
        return None, None, (), error
    return chosen, None, (*chosen.notices, *even.notices), None
