"""Group frames by series and each series into its stacks by geometry: the volumes that there are to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import Notice, UserError
from ..orient import plane_of
from ..volume import short_uid
from .frames import Frame
from .stack import Layout, axes_of, lay_out
from .volumes import Part, Piece, split

SAME_DIRECTION = 1e-3  # of any direction cosine
SCOUT_IMAGES = 7  # a plane; more are a volume of their own
ACROSS = 0.9  # triple product of three unit normals: 1 where they are perpendicular
SAME_SPACING_FRACTION = 1e-3  # of Pixel Spacing; what a smaller difference amounts to in mm is judged at the corners


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """One volume that a series holds: laid out, or with the fault that keeps it from being read."""

    name: str  # what tells it from the other volumes of its series; '' where it is the only one
    frames: tuple[Frame, ...]
    layout: Layout | None = None
    fault: UserError | None = None
    notices: tuple[Notice, ...] = ()
    set_aside: tuple[tuple[str, str], ...] = ()  # (file name, why)

    @property
    def series_uid(self) -> str:
        return self.frames[0].series_uid

    @property
    def series_number(self) -> int | None:
        return self.frames[0].series_number

    def describe(self) -> str:
        """'series 4 (94233732) CT 96x96x10, 0.45x0.45x5.00 mm, "AX T1", volume "time 2"': what a user needs to choose."""
        first = self.frames[0]
        number = "without number" if first.series_number is None else str(first.series_number)
        parts = [
            f"series {number} ({short_uid(first.series_uid)}) {first.modality} {first.columns}x{first.rows}x{len(self.frames)}"
        ]
        if self.layout is not None:
            parts.append("x".join(f"{edge:.2f}" for edge in np.linalg.norm(self.layout.affine[:3, :3], axis=0)) + " mm")
        if first.description:
            parts.append(f'"{first.description}"')
        if self.name:
            parts.append(f'volume "{self.name}"')
        if self.fault is not None:
            parts.append(f"unreadable: {self.fault.where or ''} {self.fault.what}".replace("  ", " "))
        return ", ".join(parts)


def candidates_of(frames: Sequence[Frame]) -> tuple[list[Candidate], list[tuple[str, str]]]:
    """The volumes of all series, in the order of series number and UID, and the frames that are no slices: (name, what)."""
    found: list[Candidate] = []
    aside: list[tuple[str, str]] = []
    by_series: dict[str, Part] = {}
    for frame in frames:
        if frame.no_volume_kind:
            aside.append((frame.name, frame.no_volume_kind))
        else:
            by_series.setdefault(frame.series_uid, []).append(frame)
    for uid in sorted(by_series, key=lambda uid: (by_series[uid][0].series_number or 0, uid)):
        whole, broken = _without_broken_copies(by_series[uid])
        volumes, kind = _of_series(whole)
        found += volumes
        aside += [(frame.name, "damaged DICOM file (it is there whole as well)") for frame in broken]
        aside += [(frame.name, kind) for frame in whole] if kind else []
    scouts = _scouts(found)
    kept = [c for c in found if c.series_uid not in scouts]
    if not kept:
        return found, aside
    aside += [(frame.name, "localizer") for c in found if c.series_uid in scouts for frame in c.frames]
    return kept, aside


def _without_broken_copies(frames: Part) -> tuple[Part, Part]:
    """The frames, and those without a place whose image is there a second time, whole."""
    whole = {frame.sop_uid: frame.file for frame in frames if not frame.missing}
    broken = [f for f in frames if f.missing and whole.get(f.sop_uid, f.file) != f.file]
    return [frame for frame in frames if frame not in broken], broken


def _scouts(found: Sequence[Candidate]) -> set[str]:
    """Series of three planes across each other with few images each: what a scan is planned on."""
    grouped: dict[str, list[Candidate]] = {}
    for candidate in found:
        grouped.setdefault(candidate.series_uid, []).append(candidate)
    return {uid for uid, stacks in grouped.items() if _is_scout(stacks)}


def _is_scout(stacks: Sequence[Candidate]) -> bool:
    if len(stacks) < 3 or max(len(c.frames) for c in stacks) > SCOUT_IMAGES or any(c.frames[0].missing for c in stacks):
        return False
    normals = np.unique(np.round([axes_of(c.frames[0])[2] for c in stacks], 4), axis=0)  # of 1000 volumes mostly one is left
    return any(_widest(normal, normals) > ACROSS for normal in normals)


def _widest(first: np.ndarray, normals: np.ndarray) -> float:
    """The triple product of a normal, the one most across it, and the one most across both."""
    crossed = np.cross(first, normals)
    return float(np.abs(normals @ crossed[np.linalg.norm(crossed, axis=1).argmax()]).max())


def _of_series(frames: Part) -> tuple[list[Candidate], str]:
    """The volumes of one series, or none and what its images are instead."""
    unplaced = next((f for f in frames if f.missing), None)
    if unplaced is not None:
        try:
            lay_out([unplaced])
        except UserError as fault:
            return [Candidate(name="", frames=tuple(frames), fault=fault)], ""
    groups = _by_geometry(frames)
    if len(groups) > 1 and all(len(g) == 1 for g in groups) and len(_by_orientation(frames)) > 1:
        return [], f"localizer ({len(groups)} single images of {len(_by_orientation(frames))} orientations)"
    pieces = []
    for group, name in zip(groups, _stack_names(groups), strict=True):
        for piece in split(Piece(frames=group, names=[name] if len(groups) > 1 else [])):
            pieces.append(piece)
    _name_outliers(groups, pieces)
    names = _unique([", ".join(piece.names) for piece in pieces])
    return [_candidate(piece, name if len(pieces) > 1 else "") for piece, name in zip(pieces, names, strict=True)], ""


def _candidate(piece: Piece, name: str) -> Candidate:
    layout, fault = None, piece.fault
    if fault is None:
        try:
            layout = lay_out(piece.frames)
        except UserError as error:
            fault = error
    return Candidate(
        name=name,
        frames=tuple(piece.frames) if layout is None else layout.frames,
        layout=layout,
        fault=fault,
        notices=(*piece.notices, *(layout.notices if layout else ())),
        set_aside=tuple(piece.set_aside),
    )


# --- stacks by geometry ---


def _by_orientation(frames: Part) -> list[Part]:
    groups: list[Part] = []
    firsts = np.empty((len(frames), 6))  # of each group: thousands of orientations must not take minutes
    for frame in frames:
        firsts[len(groups)] = frame.orientation
        near = np.abs(firsts[: len(groups) + 1] - firsts[len(groups)]).max(axis=1) <= SAME_DIRECTION
        home = int(near.argmax())
        groups.append([frame]) if home == len(groups) else groups[home].append(frame)
    return groups


def _by_geometry(frames: Part) -> list[Part]:
    """Frames of one orientation, size, pixel spacing, kind of numbers and patient, in order of appearance."""

    def same(a: Frame, b: Frame) -> bool:
        spacing = np.allclose(a.pixel_spacing or (), b.pixel_spacing or (), rtol=SAME_SPACING_FRACTION, atol=0)
        return bool(spacing) and all(getattr(a, key) == getattr(b, key) for key in _SHARED)

    groups: list[Part] = []
    for turned in _by_orientation(frames):
        parts: list[Part] = []
        for frame in turned:
            home = next((p for p in parts if same(p[0], frame)), None)
            parts.append([frame]) if home is None else home.append(frame)
        groups += parts
    return groups


_SHARED = ("rows", "columns", "bits_allocated", "bits_stored", "signed", "frame_of_reference_uid", "modality", "patient")
_UNSAID = ("frame_of_reference_uid", "patient")  # whose values are nobody's business


def _stack_names(groups: Sequence[Part]) -> list[str]:
    """'axial', 'coronal', 'sagittal' by the nearest plane; numbered where two stacks have the same."""
    planes = [plane_of(axes_of(group[0])[2]) for group in groups]  # LPS or RAS+: the nearest plane is the same
    return [p if planes.count(p) == 1 else f"{p} {planes[: k + 1].count(p)}" for k, p in enumerate(planes)]


def _name_outliers(groups: Sequence[Part], pieces: list[Piece]) -> None:
    """A single frame beside a stack is more likely a fault than a volume: the stack's fault says what is wrong with it."""
    main = max(groups, key=len)
    if len(groups) < 2 or len(main) < 2:
        return
    alone = {id(piece.frames[0]): piece for piece in pieces if len(piece.frames) == 1}
    for group in groups:
        if len(group) > 1:
            continue
        odd, usual = group[0], main[0]
        turn = np.degrees(np.arccos(np.clip(axes_of(odd)[2] @ axes_of(usual)[2], -1, 1)))
        turn = max(turn, np.degrees(np.arccos(np.clip(axes_of(odd)[0] @ axes_of(usual)[0], -1, 1))))
        differs = []
        if turn > np.degrees(SAME_DIRECTION):
            differs.append(f"its orientation is turned by {turn:.2f} degrees")
        if not np.allclose(odd.pixel_spacing or (), usual.pixel_spacing or (), rtol=SAME_SPACING_FRACTION, atol=0):
            differs.append(
                f"its pixel spacing is {list(odd.pixel_spacing or ())} instead of {list(usual.pixel_spacing or ())} mm"
            )
        for key in _SHARED:
            if getattr(odd, key) != getattr(usual, key):
                shown = "" if key in _UNSAID else f" ({getattr(odd, key)} instead of {getattr(usual, key)})"
                differs.append(f"another {key.replace('_', ' ').replace(' uid', '')}{shown}")
        what = f"one slice does not belong to the stack of the {len(main)} others of its series: {', '.join(differs)}"
        piece = alone.get(id(odd))
        if piece is not None and piece.fault is None:
            piece.fault = UserError(what, where=odd.name, next="Send the series again, or take this file out.")


def _unique(names: Sequence[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name} ({names[: k + 1].count(name)})" for k, name in enumerate(names)]
