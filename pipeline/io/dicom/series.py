"""Group frames by series and split each series into its stacks and volumes. Reads pixels only to compare repeated images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import Notice, UserError
from .elements import short_uid
from .frames import Frame
from .pixels import pixel_digest
from .stack import Layout, axes_of, lay_out

SAME_DIRECTION = 1e-3  # of any direction cosine
SAME_SPACING_FRACTION = 1e-3  # of Pixel Spacing; what a smaller difference amounts to in mm is judged at the corners
SAME_POSITION_MM = 0.05  # positions of one slice at two times are often rounded
SAME_POSITION_FRACTION = 0.1  # of the pixel spacing, for images of tiny things; the smaller of the two counts
Part = list[Frame]


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
        """'series 4 (94233732) CT 96x96x10, 0.45x0.45x5.00 mm, volume "time 2"': what a user needs to choose."""
        first = self.frames[0]
        number = "without number" if first.series_number is None else str(first.series_number)
        parts = [
            f"series {number} ({short_uid(first.series_uid)}) {first.modality} {first.columns}x{first.rows}x{len(self.frames)}"
        ]
        if self.layout is not None:
            parts.append("x".join(f"{edge:.2f}" for edge in np.linalg.norm(self.layout.affine[:3, :3], axis=0)) + " mm")
        if self.name:
            parts.append(f'volume "{self.name}"')
        if self.fault is not None:
            parts.append(f"unreadable: {self.fault.where or ''} {self.fault.what}".replace("  ", " "))
        return ", ".join(parts)


@dataclass(slots=True, kw_only=True)
class _Piece:
    """A part of a series on its way to a candidate."""

    frames: Part
    names: list[str] = field(default_factory=list)
    fault: UserError | None = None
    set_aside: list[tuple[str, str]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


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
    order = sorted(by_series, key=lambda uid: (by_series[uid][0].series_number or 0, uid))
    for uid in order:
        volumes, kind = _of_series(by_series[uid])
        found += volumes
        aside += [(frame.name, kind) for frame in by_series[uid]] if kind else []
    return found, aside


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
        for piece in _split(_Piece(frames=group, names=[name] if len(groups) > 1 else [])):
            pieces.append(piece)
    _name_outliers(groups, pieces)
    names = _unique([", ".join(piece.names) for piece in pieces])
    return [_candidate(piece, name if len(pieces) > 1 else "") for piece, name in zip(pieces, names, strict=True)], ""


def _candidate(piece: _Piece, name: str) -> Candidate:
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
    for frame in frames:
        turned = np.array(frame.orientation)
        home = next((g for g in groups if np.abs(np.array(g[0].orientation) - turned).max() <= SAME_DIRECTION), None)
        groups.append([frame]) if home is None else home.append(frame)
    return groups


def _by_geometry(frames: Part) -> list[Part]:
    """Frames of one orientation, size, pixel spacing, number of bits and frame of reference, in order of appearance."""

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


_SHARED = ("rows", "columns", "bits_allocated", "bits_stored", "signed", "frame_of_reference_uid")


def _stack_names(groups: Sequence[Part]) -> list[str]:
    """'axial', 'coronal', 'sagittal' by the nearest plane; numbered where two stacks have the same."""
    planes = []
    for group in groups:
        normal = np.abs(axes_of(group[0])[2])
        planes.append(("sagittal", "coronal", "axial")[int(np.argmax(normal))])
    return [p if planes.count(p) == 1 else f"{p} {planes[: k + 1].count(p)}" for k, p in enumerate(planes)]


def _name_outliers(groups: Sequence[Part], pieces: list[_Piece]) -> None:
    """A single frame beside a stack is more likely a fault than a volume: the stack's fault says what is wrong with it."""
    main = max(groups, key=len)
    if len(groups) < 2 or len(main) < 2:
        return
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
                shown = "" if key.endswith("uid") else f" ({getattr(odd, key)} instead of {getattr(usual, key)})"
                differs.append(f"another {key.replace('_', ' ').replace(' uid', '')}{shown}")
        what = f"one slice does not belong to the stack of the {len(main)} others of its series: {', '.join(differs)}"
        for piece in pieces:
            if piece.frames == [odd] and piece.fault is None:
                piece.fault = UserError(what, where=odd.name, next="Send the series again, or take this file out.")


# --- volumes at the same places ---


def _positions(frames: Part) -> list[Part]:
    """Frames grouped by place, along the normal."""
    _, _, normal = axes_of(frames[0])
    tolerance_mm = min(SAME_POSITION_MM, SAME_POSITION_FRACTION * min(frames[0].pixel_spacing or (1.0,)))
    places: list[Part] = []
    for frame in sorted(frames, key=lambda f: float(normal @ np.array(f.position))):
        home = None
        for place in reversed(places):
            gap = np.array(frame.position) - np.array(place[0].position)
            if float(normal @ gap) > tolerance_mm:
                break
            if np.linalg.norm(gap) <= tolerance_mm:
                home = place
                break
        places.append([frame]) if home is None else home.append(frame)
    return places


def _doubled(frames: Part) -> bool:
    return any(len(place) > 1 for place in _positions(frames))


# what surely tells volumes apart, in the order in which it is asked: (name of the attribute, its value in a frame)
_SURE: tuple[tuple[str, Callable[[Frame], object]], ...] = (
    ("stack", lambda f: f.stack),
    ("echo", lambda f: f.echo_number),
    ("TE", lambda f: f.echo_time_ms),
    ("b", lambda f: f.b_value),
    ("direction", lambda f: f.gradient),
    ("type", lambda f: f.image_type),
    ("time", lambda f: f.temporal_position),
)
# what only puts repeated images of a place in order; used where every place has equally many
_ORDERING: tuple[tuple[str, Callable[[Frame], object]], ...] = (
    ("time", lambda f: f.trigger_time_ms),
    ("acquisition", lambda f: f.acquisition_number),
    ("time", lambda f: f.acquisition_time or None),
    ("repeat", lambda f: f.instance_number),
)


def _split(piece: _Piece) -> list[_Piece]:
    """One stack by geometry to its volumes, each with one frame a place."""
    pieces = _by_value(piece, "component", lambda f: f.component) if _several(piece.frames, lambda f: f.component) else [piece]
    for name, value in _SURE:
        split: list[_Piece] = []
        for part in pieces:
            useful = _doubled(part.frames) and any(_several(place, value) for place in _positions(part.frames))
            split += _by_value(part, name, value) if useful else [part]
        pieces = split
    finished: list[_Piece] = []
    for part in pieces:
        finished += _by_order(_without_copies(part))
    return finished


def _several(frames: Part, value: Callable[[Frame], object]) -> bool:
    return len({value(f) for f in frames}) > 1


def _by_value(piece: _Piece, name: str, value: Callable[[Frame], object]) -> list[_Piece]:
    groups: dict[object, Part] = {}
    for frame in piece.frames:
        groups.setdefault(value(frame), []).append(frame)
    values = sorted(groups, key=lambda v: (v is not None, _sortable(v)))
    return [
        _Piece(frames=groups[v], names=[*piece.names, _value_name(name, v, k, values)], notices=list(piece.notices))
        for k, v in enumerate(values)
    ]


def _sortable(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ("" if value is None else value,)


def _value_name(name: str, value: object, position: int, values: Sequence[object]) -> str:
    if name == "component":
        return str(value or "other")
    if name == "direction":
        return f"direction {position + 1}" if value is not None else "no direction"
    if name == "type":
        others = [set(v) for v in values if v != value and isinstance(v, tuple)]
        own = [part for part in (value if isinstance(value, tuple) else ()) if not all(part in other for other in others)]
        return " ".join(own).replace("_", " ").lower() or f"type {position + 1}"
    return f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value if value else 'not stated'}"


def _without_copies(piece: _Piece) -> _Piece:
    """Of images at one place with the same pixels one is kept."""
    if not _doubled(piece.frames):
        return piece
    kept: Part = []
    for place in _positions(piece.frames):
        known: dict[str, Frame] = {}
        for frame in place if len(place) > 1 else ():
            twin = known.setdefault(pixel_digest(frame), frame)
            if twin is not frame:
                again = "a copy of" if twin.sop_uid == frame.sop_uid else "the same image under another UID as"
                piece.set_aside.append((frame.name, f"{again} {twin.name}"))
        kept += known.values() if known else place
    if piece.set_aside:
        first = piece.set_aside[0]
        sentence = f"{len(piece.set_aside)} images were there twice and are taken once (e.g. {first[0]}: {first[1]})"
        piece.notices.append(Notice(code="slices-duplicated", sentence=sentence, where=first[0]))
    piece.frames = kept
    return piece


def _by_order(piece: _Piece) -> list[_Piece]:
    """Repeated images of every place, told apart only by their order; a fault where not even that is clear."""
    places = _positions(piece.frames)
    count = max(map(len, places))
    if count == 1:
        return [piece]
    crowded = next(place for place in places if len(place) > 1)
    if len(places) == 1:
        what = (
            f"{count} images at the same position ({crowded[0].name}, {crowded[1].name}, ...): one slice over time, no volume"
        )
        piece.fault = UserError(what, next="Choose a series with several slices.")
        return [piece]
    for name, value in _ORDERING:
        ranked = [sorted(place, key=lambda f, v=value: _sortable(v(f))) for place in places]  # type: ignore[misc]
        clear = all(len({value(f) for f in place} - {None}) == count == len(place) for place in places)
        if clear:
            return [
                _Piece(
                    frames=[place[k] for place in ranked],
                    names=[*piece.names, f"{name} {k + 1}"],
                    notices=list(piece.notices),
                    set_aside=list(piece.set_aside),
                )
                for k in range(count)
            ]
    what = (
        f"{crowded[0].name} and {crowded[1].name} claim the same position with different pixels, and nothing tells them apart"
    )
    piece.fault = UserError(what, next="Take the wrong file out, or send the series again.")
    return [piece]


def _unique(names: Sequence[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name} ({names[: k + 1].count(name)})" for k, name in enumerate(names)]
