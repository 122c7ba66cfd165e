"""One picture of a whole data set: each case by the slice in the middle of its mask. Judges nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..data.load import load_image, load_label
from ..data.manifest import Case, Manifest
from ..errors import UserError
from ..io.orient import reordered
from ..io.paths import file_aside
from ..io.volume import Volume
from ..labels import LabelTable
from ..progress import bar
from .overlay import slice_picture, slices_with
from .screen import screen_affine, window_of
from .sheet import GREY, WHITE, font, sheet_of

TILE_PX = 168
NAME_PX = 18
NAME_TEXT_PX = 12
WRONG = (120, 30, 30)
MOST_CASES = 600  # of a larger set, evenly chosen: nobody looks at 10,000 tiles
PER_ROW = 12


def write_contact_sheet(manifest: Manifest, path: Path) -> int:
    """Write a PNG with a tile a case; a case that cannot be read gets a red tile with the reason.

    Returns: how many cases are shown.
    Raises: UserError when the path does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"'{path.name}' does not end in .png", where="--picture", next="Contact sheets are PNG files.")
    step = math.ceil(len(manifest.cases) / MOST_CASES)
    cases = manifest.cases[::step]
    tiles = [_tile(manifest, case) for case in bar(cases, title="contact sheet", unit="cases")]
    title = f"{manifest.name}: {len(cases)} of {len(manifest.cases)} cases, the middle slice of each mask"
    legend = [(s.name, s.colour) for s in manifest.table.structures]
    sheet = sheet_of(tiles, min(PER_ROW, math.ceil(math.sqrt(len(tiles) * 1.6))), title, list(legend))
    with file_aside(path) as aside:
        sheet.save(aside, "PNG", optimize=True)
    return len(cases)


def _tile(manifest: Manifest, case: Case) -> Image.Image:
    tile = Image.new("RGB", (TILE_PX, TILE_PX + NAME_PX))
    pen = ImageDraw.Draw(tile)
    try:
        image = load_image(manifest, case)
        picture = _middle_slice(image, load_label(manifest, case, image), manifest.table)
        tile.paste(picture, ((TILE_PX - picture.width) // 2, (TILE_PX - picture.height) // 2))
    except UserError as error:
        pen.rectangle((0, 0, TILE_PX, TILE_PX), fill=WRONG)
        for number, line in enumerate(_lines(str(error.what))):
            pen.text((4, 4 + 14 * number), line, font=font(NAME_TEXT_PX), fill=WHITE)
    name = case.case
    while font(NAME_TEXT_PX).getlength(name) > TILE_PX - 4:
        name = "…" + name[2:]  # the end of a name tells cases apart
    pen.text((TILE_PX / 2, TILE_PX + NAME_PX / 2), name, font=font(NAME_TEXT_PX), fill=GREY, anchor="mm")
    return tile


def _middle_slice(image: Volume, mask: Volume, table: LabelTable) -> Image.Image:
    """The slice that halves the mask's slices, turned as on a screen, scaled into the tile."""
    screen = screen_affine(image, 2)
    grey = image.array if image.array.ndim == 3 else image.array[..., 0]
    turned, affine = reordered(grey, image.affine, screen)
    labels, _ = reordered(mask.array, image.affine, screen)
    slices = np.flatnonzero(slices_with(labels, table))
    k = int(slices[len(slices) // 2]) if slices.size else turned.shape[2] // 2
    column_mm, row_mm, _ = np.linalg.norm(affine[:3, :3], axis=0)
    aspect = float(row_mm / column_mm)
    height_by_width = turned.shape[1] * aspect / turned.shape[0]
    width_px = max(1, round(TILE_PX * min(1.0, 1 / height_by_width)))
    picture = slice_picture(
        turned[:, :, k].T,
        np.swapaxes(labels[:, :, k], 0, 1),
        table,
        window=window_of(turned, image.modality),
        aspect=aspect,
        width_px=width_px,
    )
    if not slices.size:
        ImageDraw.Draw(picture).text((4, 4), "no mask", font=font(NAME_TEXT_PX), fill=WHITE)
    return picture.crop((0, 0, min(picture.width, TILE_PX), min(picture.height, TILE_PX)))


def _lines(text: str) -> list[str]:
    """A sentence in lines that fit a tile; what does not fit is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font(NAME_TEXT_PX).getlength(longer) <= TILE_PX - 8:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines[: (TILE_PX - 8) // 14]
