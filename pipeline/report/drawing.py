"""Lines, dots and words on a canvas, written as SVG (follows the page's colours) or as PNG. Knows nothing of what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

from PIL import Image, ImageDraw

from .sheet import font

Anchor = Literal["start", "middle", "end"]
PIL_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}
INK = {"ink": "#1c2127", "soft": "#5b6672", "line": "#d8dde3"}  # the page's own three greys, as they are on paper
PAPER = "#ffffff"
TEXT = 13  # height of letters, in the drawing's units; as on the page
FINENESS = 2  # pixels of the PNG for each unit, before it is made smooth by halving


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    x1: float
    y1: float
    x2: float
    y2: float
    colour: str  # a name in INK, or #rrggbb
    width: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    x: float
    y: float
    radius: float
    colour: str
    tip: str = ""  # read when the pointer rests on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    x: float
    y: float  # of the letters' base line
    text: str
    anchor: Anchor = "start"
    colour: str = "soft"


@dataclass(slots=True, kw_only=True)
class Drawing:
    """What is drawn, first things lowest."""

    width: float
    height: float
    marks: list[Line | Dot | Words] = field(default_factory=list)

    def svg(self, label: str) -> str:
        """The drawing as an SVG element; `label` says in words what is to be seen."""
        head = f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{escape(label)}">'
        return f"{head}{''.join(_svg(mark) for mark in self.marks)}</svg>"

    def picture(self, *, per_unit: int = 2) -> Image.Image:
        """The drawing on white, `per_unit` pixels a unit."""
        scale = per_unit * FINENESS
        large = Image.new("RGB", (round(self.width * scale), round(self.height * scale)), PAPER)
        pen = ImageDraw.Draw(large)
        for mark in self.marks:
            _paint(pen, mark, scale)
        return large.resize((round(self.width * per_unit), round(self.height * per_unit)), Image.Resampling.LANCZOS)


def width_of(text: str) -> float:
    """How wide the text is, in the drawing's units."""
    return float(font(TEXT).getlength(text))


def shortened(text: str, width: float) -> str:
    """The text, its middle left out where it is wider than this: both ends tell names apart."""
    if width_of(text) <= width:
        return text
    keep = len(text) - 1
    while keep > 2 and width_of(_ends(text, keep)) > width:
        keep -= 1
    return _ends(text, keep)


def _ends(text: str, keep: int) -> str:
    return f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"


def _svg(mark: Line | Dot | Words) -> str:
    if isinstance(mark, Line):
        place = f'x1="{mark.x1:.1f}" y1="{mark.y1:.1f}" x2="{mark.x2:.1f}" y2="{mark.y2:.1f}"'
        return f'<line {place} style="stroke:{_css(mark.colour)};stroke-width:{mark.width:g}"/>'
    if isinstance(mark, Dot):
        place = f'cx="{mark.x:.1f}" cy="{mark.y:.1f}" r="{mark.radius:g}"'
        tip = f"<title>{escape(mark.tip)}</title>" if mark.tip else ""
        return f'<circle {place} style="fill:{_css(mark.colour)};fill-opacity:.75">{tip}</circle>'
    words = escape(mark.text)
    return (
        f'<text x="{mark.x:.1f}" y="{mark.y:.1f}" text-anchor="{mark.anchor}" style="fill:{_css(mark.colour)}">{words}</text>'
    )


def _css(colour: str) -> str:
    return f"var(--{colour})" if colour in INK else colour


def _paint(pen: ImageDraw.ImageDraw, mark: Line | Dot | Words, scale: int) -> None:
    colour = INK.get(mark.colour, mark.colour)
    if isinstance(mark, Line):
        ends: Sequence[float] = (mark.x1 * scale, mark.y1 * scale, mark.x2 * scale, mark.y2 * scale)
        pen.line(ends, fill=colour, width=max(1, round(mark.width * scale)))
    elif isinstance(mark, Dot):
        x, y, radius = mark.x * scale, mark.y * scale, mark.radius * scale
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=PAPER, width=max(1, scale // 4))
    else:
        place = (mark.x * scale, mark.y * scale)
        pen.text(place, mark.text, font=font(TEXT * scale), fill=colour, anchor=PIL_ANCHORS[mark.anchor])
