"""One self-contained HTML page from paragraphs, lists, tables, pictures, curves and commands. Knows no scans or scores."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from ..io.paths import write_text
from .chart import Chart, Points, draw_curves
from .drawing import Drawing
from .slice_svg import Panel

PICTURE_KINDS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}  # by the first bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    text: str
    number: bool
    colour: str = ""  # #rrggbb of a patch before the text
    marked: bool = False
    address: str = ""  # of the page that it leads to


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """The text of a table's cell with a patch of colour before it, aligned as a number, or marked so that it stands out."""

    text: str
    colour: tuple[int, int, int] | None = None
    number: bool = False
    standing_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The text of a table's cell that leads to another page."""

    text: str
    to: PurePosixPath  # beside this page


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A box that shows and hides everything of one class."""

    hides: str  # the class
    text: str
    colour: str = ""  # #rrggbb


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing on the page; `kind` is the name of its piece of the template."""

    kind: str
    heading: str = ""
    text: str = ""
    columns: tuple[Cell, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    lines: tuple[str, ...] = ()
    picture: str = ""  # a data: address
    alt: str = ""
    chart: Chart | None = None
    panels: tuple[Panel, ...] = ()
    switches: tuple[Switch, ...] = ()


class Page:
    """Parts are put below each other in the order of the calls; `write` makes the file. All text is escaped.

    The page loads nothing from anywhere, runs no script, follows the reader's light or dark setting, and prints.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title, self.subtitle = title, subtitle
        self._parts: list[Part] = []

    def text(self, paragraph: str, heading: str = "") -> None:
        """A paragraph, under a heading when one is given; blank lines divide paragraphs."""
        self._parts.append(Part(kind="text", heading=heading, lines=tuple(p for p in paragraph.split("\n\n") if p.strip())))

    def items(self, lines: Sequence[str]) -> None:
        """A list, an entry a line."""
        self._parts.append(Part(kind="items", lines=tuple(lines)))

    def notice(self, sentence: str) -> None:
        """A sentence that must not be overlooked."""
        self._parts.append(Part(kind="notice", text=sentence))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> None:
        """A table; numbers stand to the right, floats have three decimals, None reads "n/a"."""
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"a row of {len(row)} cells under {len(columns)} columns: {row}")
        cells = tuple(tuple(_cell(value) for value in row) for row in rows)
        right = [bool(cells) and all(row[k].number for row in cells) for k in range(len(columns))]
        heads = tuple(Cell(text=name, number=number) for name, number in zip(columns, right, strict=True))
        self._parts.append(Part(kind="table", text=caption, columns=heads, rows=cells))

    def picture(self, png: bytes | Path, caption: str, alt: str) -> None:
        """A PNG or JPEG, put into the page itself. `alt` says in words what is to be seen."""
        data = png.read_bytes() if isinstance(png, Path) else png
        kind = next((kind for start, kind in PICTURE_KINDS.items() if data.startswith(start)), None)
        if kind is None:
            raise ValueError(f"neither PNG nor JPEG: {data[:8]!r}")
        address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        self._parts.append(Part(kind="picture", text=caption, alt=alt, picture=address))

    def switches(self, caption: str, entries: Sequence[tuple[str, str, tuple[int, int, int] | None]]) -> None:
        """Boxes that show and hide parts of the panels below them, without a script.

        Args:
            entries: (class that is switched, text, colour).
        """
        switches = tuple(Switch(hides=name, text=text, colour=_hex(colour)) for name, text, colour in entries)
        for switch in switches:
            if not switch.hides.replace("-", "").isalnum():
                raise ValueError(f"{switch.hides!r} is not the name of a class")
        self._parts.append(Part(kind="switches", text=caption, switches=switches))

    def gallery(self, caption: str, panels: Sequence[Panel]) -> None:
        """Drawn slices beside each other, under a caption."""
        self._parts.append(Part(kind="gallery", text=caption, panels=tuple(panels)))

    def curves(self, title: str, curves: Mapping[str, Points], x_label: str, y_label: str) -> None:
        """Lines over one pair of axes: name → [(x, y), ...]. NaN leaves a gap."""
        chart = draw_curves(title, curves, x_label=x_label, y_label=y_label)
        self._parts.append(Part(kind="curves", text=title, chart=chart))

    def drawing(self, title: str, drawing: Drawing, label: str) -> None:
        """A drawing under its title. `label` says in words what is to be seen."""
        self._parts.append(Part(kind="curves", text=title, chart=Chart(svg=drawing.svg(label), legend=())))

    def commands(self, lines: Sequence[str]) -> None:
        """What was or can be typed."""
        self._parts.append(Part(kind="commands", lines=tuple(lines)))

    def html(self) -> str:
        """The page's text."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        loader = PackageLoader(__package__, "templates")
        environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        return environment.get_template("page.html").render(title=self.title, subtitle=self.subtitle, parts=self._parts)

    def write(self, path: Path) -> Path:
        """The page as a file; an older one is replaced in one step. Returns: the path."""
        write_text(path, self.html())
        return path


def _cell(value: object) -> Cell:
    if value is None:
        return Cell(text="n/a", number=True)
    if isinstance(value, Marked):
        return Cell(text=value.text, number=value.number, colour=_hex(value.colour), marked=value.standing_out)
    if isinstance(value, Link):
        return Cell(text=value.text, number=False, address="./" + quote(str(value.to)))
    if isinstance(value, bool):
        return Cell(text="yes" if value else "no", number=False)
    if isinstance(value, float):
        return Cell(text=f"{value:.3f}", number=True)
    if isinstance(value, int):
        return Cell(text=str(value), number=True)
    return Cell(text=str(value), number=False)


def _hex(colour: tuple[int, int, int] | None) -> str:
    return "" if colour is None else "#{:02x}{:02x}{:02x}".format(*colour)
