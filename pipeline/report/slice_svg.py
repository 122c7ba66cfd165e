"""One slice as SVG: a picture, lines in groups over it, letters at its edges, a scale, a number. Knows nothing of scans."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from .screen import round_length

WIDEST, HIGHEST = 320, 400  # in the drawing's units: about as large as it is seen
LARGEST_PX = 512  # of the picture in it
LOSSLESS_PX = 128**2  # so few pixels are seen large, where a JPEG would show its blocks
QUALITY = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Closed lines of one thing."""

    name: str  # of its class, for switches
    colour: tuple[int, int, int]
    path: str  # SVG path data in the picture's pixels, corners whole
    main: bool = False  # what the slice is shown for: a wider line


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What is to be drawn."""

    picture: Image.Image  # grey
    size: tuple[int, int]  # columns and rows that it stands for
    edges: tuple[tuple[float, float], tuple[float, float]]  # of a pixel: (right, down) along a row and along a column
    unit: str  # of the edges: "mm", or "px" where millimetres are not known
    lines: Sequence[Lines] = ()  # the last one on top
    letters: tuple[str, str, str, str] | None = None  # at the left, right, upper and lower edge
    number: str = ""
    words: str  # what is to be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A drawn slice and what stands below it."""

    svg: str
    caption: str


def draw_slice(drawn: Slice) -> str:
    """The slice as one <svg>, in true proportions; each `Lines` is a group of its class, so that CSS can switch it."""
    (right, lower), (leaning, down) = drawn.edges
    columns, rows = drawn.size
    corners = np.array([(c * right + r * leaning, c * lower + r * down) for c in (0, columns) for r in (0, rows)])
    low, extent = corners.min(axis=0), np.ptp(corners, axis=0)
    scale = float(min(WIDEST / extent[0], HIGHEST / extent[1]))
    width, height = (max(1.0, float(length) * scale) for length in extent)
    matrix = " ".join(f"{x:.6g}" for x in (*(scale * e for e in (right, lower, leaning, down)), *(-low * scale + 0.0)))
    image = f'<image href="{_address(drawn.picture)}" width="{columns}" height="{rows}" preserveAspectRatio="none"/>'
    groups = "".join(map(_group, drawn.lines))
    return (
        f'<svg class="slice" viewBox="0 0 {width:.6g} {height:.6g}" role="img" aria-label="{escape(drawn.words)}">'
        f'<g transform="matrix({matrix})">{image}<g class="contours">{groups}</g></g>'
        f"{_bar(scale, width, height, drawn.unit)}{_letters(drawn, width, height)}</svg>"
    )


def path_of(loops: Sequence[np.ndarray]) -> str:
    """SVG path data of closed lines that turn by right angles.

    Args:
        loops: (points, 2) each, columns and rows; whole numbers are corners of pixels.
    """
    parts = []
    for loop in loops:
        points = np.rint(loop).astype(int)
        moves = np.diff(points, axis=0)
        words = [f"h{x}" if x else f"v{y}" for x, y in moves.tolist()]
        parts.append(f"M{points[0, 0]} {points[0, 1]}{''.join(words)}z")
    return "".join(parts)


def _address(picture: Image.Image) -> str:
    if max(picture.size) > LARGEST_PX:
        picture = picture.copy()
        picture.thumbnail((LARGEST_PX, LARGEST_PX))
    out = io.BytesIO()
    lossless = picture.width * picture.height <= LOSSLESS_PX
    picture.save(out, "PNG") if lossless else picture.save(out, "JPEG", quality=QUALITY)
    return f"data:image/{'png' if lossless else 'jpeg'};base64,{base64.b64encode(out.getvalue()).decode()}"


def _group(lines: Lines) -> str:
    colour = "#{:02x}{:02x}{:02x}".format(*lines.colour)
    main = " main" if lines.main else ""
    return f'<g class="{escape(lines.name)}{main}" stroke="{colour}"><path d="{lines.path}"/></g>'


def _letters(drawn: Slice, width: float, height: float) -> str:
    number = f'<text x="{width - 5:.1f}" y="15" text-anchor="end">{escape(drawn.number)}</text>' if drawn.number else ""
    if drawn.letters is None:
        return number
    left, right, upper, lower = map(escape, drawn.letters)
    return (
        f'<text class="side left" x="5" y="{height / 2 + 5:.1f}">{left}</text>'
        f'<text class="side right" x="{width - 5:.1f}" y="{height / 2 + 5:.1f}" text-anchor="end">{right}</text>'
        f'<text class="side upper" x="{width / 2:.1f}" y="15" text-anchor="middle">{upper}</text>'
        f'<text class="side lower" x="{width / 2:.1f}" y="{height - 5:.1f}" text-anchor="middle">{lower}</text>{number}'
    )


def _bar(scale: float, width: float, height: float, unit: str) -> str:
    """At the lower left, at most a third of the width; left out of a slice that is too narrow for its words."""
    if width < 100:
        return ""
    length = round_length(width / scale / 3)
    line = f"M8 {height - 8:.1f}h{length * scale:.3f}"
    return (
        f'<g class="bar"><path class="halo" d="{line}"/><path d="{line}"/>'
        f'<text x="8" y="{height - 13:.1f}">{length:g} {escape(unit)}</text></g>'
    )
