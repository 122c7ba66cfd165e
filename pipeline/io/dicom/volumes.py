"""Split one stack of frames into its volumes, each with one frame a place. Reads pixels only to compare repeated images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ...errors import Notice, UserError
from .frames import Frame
from .pixels import pixel_digest
from .stack import axes_of

SAME_POSITION_MM = 0.05  # positions of one slice at two times are often rounded
SAME_POSITION_FRACTION = 0.1  # of the pixel spacing, for images of tiny things; the smaller of the two counts
Part = list[Frame]


@dataclass(slots=True, kw_only=True)
class Piece:
    """A part of a series on its way to a candidate."""

    frames: Part
    names: list[str] = field(default_factory=list)
    fault: UserError | None = None
    set_aside: list[tuple[str, str]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


# what surely tells volumes apart, in the order in which it is asked: (name of the attribute, its value in a frame)
_SURE: tuple[tuple[str, Callable[[Frame], object]], ...] = (
    ("stack", lambda f: f.stack),
    ("echo", lambda f: f.echo_number),
    ("TE", lambda f: f.echo_time_ms),
    ("b", lambda f: f.b_value),
    ("direction", lambda f: f.gradient),
    ("TI", lambda f: f.inversion_time_ms),
    ("flip angle", lambda f: f.flip_angle_deg),
    ("kVp", lambda f: f.kvp),
    ("type", lambda f: f.image_type),
    ("time", lambda f: f.temporal_position),
    ("index", lambda f: f.dimensions),
)
# of these, values that take turns along the stack are two volumes between each other, even where no position is shared
_TAKING_TURNS = ("stack", "echo", "TE", "b", "time")
# what only puts repeated images of a place in order; used where every place has equally many
_ORDERING: tuple[tuple[str, Callable[[Frame], object]], ...] = (
    ("time", lambda f: f.trigger_time_ms),
    ("acquisition", lambda f: f.acquisition_number),
    ("time", lambda f: f.acquisition_time or None),
    ("repeat", lambda f: f.instance_number),
)
_RUNNING = ("acquisition", "repeat")  # numbers that count on: in any other order they say nothing


def split(piece: Piece) -> list[Piece]:
    """One stack by geometry to its volumes, each with one frame a place."""
    pieces = _by_value(piece, "component", lambda f: f.component) if _several(piece.frames, lambda f: f.component) else [piece]
    for name, value in _SURE:
        parted: list[Piece] = []
        for part in pieces:
            parted += _by_value(part, name, value) if _tells_apart(name, value, part.frames) else [part]
        pieces = parted
    finished: list[Piece] = []
    for part in pieces:
        finished += _by_order(_without_copies(part))
    return finished


def _tells_apart(name: str, value: Callable[[Frame], object], frames: Part) -> bool:
    """Whether images of one place differ in this attribute, or the images of its values lie between each other."""
    if not _several(frames, value):
        return False
    places = _positions(frames)
    if any(_several(place, value) for place in places):
        # an index that goes up with every image counts images, not volumes
        return name != "index" or len({value(f) for f in frames}) <= max(map(len, places))
    sizes = Counter(map(value, frames))
    if name not in _TAKING_TURNS or min(sizes.values()) < 2:
        return False
    along = [value(place[0]) for place in places]
    runs = 1 + sum(a != b for a, b in pairwise(along))
    return name == "stack" or (runs > len(sizes) and len(set(sizes.values())) == 1)


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


def _several(frames: Part, value: Callable[[Frame], object]) -> bool:
    return len({value(f) for f in frames}) > 1


def _by_value(piece: Piece, name: str, value: Callable[[Frame], object]) -> list[Piece]:
    groups: dict[object, Part] = {}
    for frame in piece.frames:
        groups.setdefault(value(frame), []).append(frame)
    values = sorted(groups, key=lambda v: (v is not None, _sortable(v)))
    return [
        Piece(frames=groups[v], names=[*piece.names, _value_name(name, v, k, values)], notices=list(piece.notices))
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


def _without_copies(piece: Piece) -> Piece:
    """Of images at one place with the same pixels one is kept."""
    if not _doubled(piece.frames):
        return piece
    places = _positions(piece.frames)
    digests = [[pixel_digest(frame) for frame in place] if len(place) > 1 else [""] for place in places]
    count = len(places[0])
    if len(places) > 1 and all(map(count.__eq__, map(len, places))) and any(len(set(d)) == count for d in digests):
        return piece  # as many volumes as images a place: where two look alike, they are empty, not sent twice
    kept: Part = []
    for place, stamps in zip(places, digests, strict=True):
        known: dict[str, Frame] = {}
        for frame, stamp in zip(place, stamps, strict=True):
            twin = known.setdefault(stamp, frame)
            if twin is not frame:
                again = "a copy of" if twin.sop_uid == frame.sop_uid else "the same image under another UID as"
                piece.set_aside.append((frame.name, f"{again} {twin.name}"))
        kept += known.values()
    if piece.set_aside:
        first = piece.set_aside[0]
        sentence = f"{len(piece.set_aside)} images were there twice and are taken once (e.g. {first[0]}: {first[1]})"
        piece.notices.append(Notice(code="slices-duplicated", sentence=sentence, where=first[0]))
    piece.frames = kept
    return piece


def _by_order(piece: Piece) -> list[Piece]:
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
        if any(len({value(f) for f in place} - {None}) != count or len(place) != count for place in places):
            continue
        ranked = [sorted(place, key=lambda f, v=value: _sortable(v(f))) for place in places]  # type: ignore[misc]
        if name not in _RUNNING or _counts_on([[value(f) for f in place] for place in ranked]):  # type: ignore[misc]
            return [
                Piece(
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


def _counts_on(ranked: Sequence[Sequence[int]]) -> bool:
    """Whether numbers go through the stack volume by volume, or through the volumes place by place.

    Args:
        ranked: for each place the numbers of its images, rising.
    """
    volumes = list(zip(*ranked, strict=True))
    if all(max(a) <= min(b) for a, b in pairwise(volumes)):
        return True
    runs = sorted(map(tuple, ranked))
    return all(max(a) <= min(b) for a, b in pairwise(runs))
