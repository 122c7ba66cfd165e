"""Pictures of one size under a title, with a legend: one sheet. Knows nothing of scans."""

from __future__ import annotations

import importlib.util
import io
import math
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

GAP_PX = 6
TEXT_PX = 15
TITLE_PX = 18
LINE_PX = 24
SWATCH_PX = 22
NARROWEST_PX = 320
WHITE = (255, 255, 255)
GREY = (170, 175, 182)

Mark = tuple[str, tuple[int, int, int] | None]  # a legend's text and colour
Entry = tuple[float, str, tuple[int, int, int] | None]  # with its place from the left


def sheet_of(cells: list[Image.Image], per_row: int, title: str, legend: list[Mark]) -> Image.Image:
    """Cells in rows under a title, the legend below them."""
    cell_width, cell_height = cells[0].size
    width = max(per_row * (cell_width + GAP_PX) + GAP_PX, NARROWEST_PX)
    title_lines = _wrapped(title, font(TITLE_PX), width - 2 * GAP_PX) if title else []
    head = len(title_lines) * LINE_PX + GAP_PX
    legend_rows = _legend_rows(legend, width)
    cells_height = math.ceil(len(cells) / per_row) * (cell_height + GAP_PX)
    sheet = Image.new("RGB", (width, head + cells_height + len(legend_rows) * LINE_PX + GAP_PX))
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(title_lines):
        pen.text((GAP_PX, GAP_PX + number * LINE_PX), line, font=font(TITLE_PX), fill=WHITE)
    for number, cell in enumerate(cells):
        row, column = divmod(number, per_row)
        sheet.paste(cell, (GAP_PX + column * (cell_width + GAP_PX), head + row * (cell_height + GAP_PX)))
    for number, entries in enumerate(legend_rows):
        y = head + cells_height + number * LINE_PX + LINE_PX / 2
        for x, text, colour in entries:
            if colour is not None:
                pen.rectangle((x, y - 5, x + 16, y + 5), outline=colour, width=2)
            pen.text((x + (SWATCH_PX if colour else 0), y), text, font=font(TEXT_PX), fill=GREY, anchor="lm")
    return sheet


def _legend_rows(legend: list[Mark], width: int) -> list[list[Entry]]:
    """(x, text, colour) in rows that fit the width; a text too long for one row is divided."""
    rows: list[list[Entry]] = [[]]
    x: float = GAP_PX
    for text, colour in legend:
        swatch = SWATCH_PX if colour else 0
        for number, piece in enumerate(_wrapped(text, font(TEXT_PX), width - 2 * GAP_PX - swatch)):
            needed = swatch + font(TEXT_PX).getlength(piece) + 18
            if rows[-1] and (x + needed > width or number):
                rows.append([])
                x = GAP_PX
            rows[-1].append((x, piece, colour if number == 0 else None))
            x += needed
    return rows if rows[0] else []


def _wrapped(text: str, face: object, width_px: float) -> list[str]:
    """The text in lines of at most this width, divided at blanks."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width_px:  # type: ignore[attr-defined]
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as a PNG file's contents."""
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


@cache
def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans as matplotlib brings it (Latin, Greek, Cyrillic), else Pillow's own."""
    found = importlib.util.find_spec("matplotlib")
    for folder in found.submodule_search_locations or () if found else ():
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size_px)
    return ImageFont.load_default(size_px)
