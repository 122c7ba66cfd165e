"""Three planes through the middle of a scan, with letters and a scale: a glance tells how it lies. Judges nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..errors import UserError
from ..io.orient import plane_of, reordered
from ..io.paths import file_aside
from ..io.regrid import orthogonal
from ..io.volume import Volume
from .screen import grey_picture, letter_of, lettering, scale_bar, screen_affine, thinned, window_of
from .sheet import GREY, TEXT_PX, font, sheet_of

LARGEST_PX = 420  # of the longest edge of the scan
THINNEST_PX = 4  # a plane of few slices stays visible
NARROWEST_PX = 180  # of the field around a plane: scale and number stand beside each other
MARGIN_PX = 26  # around each plane, for the letters
SCALE_PX = 30  # below it, for the scale


def three_planes(scan: Volume, *, title: str = "") -> Image.Image:
    """Axial, coronal and sagittal side by side, all in one scale; one plane for a single slice.

    Planes are those of the scan's own grid (a sheared one is brought to right angles first): an oblique scan is not turned, and
    each letter names the side nearest to its edge. Letters and scale are left out where the scan does not know them.
    """
    scan = orthogonal(scan)
    grey = scan.array if scan.array.ndim == 3 else scan.array[..., 0]
    window = window_of(thinned(grey), scan.modality)
    extents_mm = np.array(scan.shape) * scan.spacing_mm
    mm_per_px = float(extents_mm.max()) / LARGEST_PX
    axes = [axis for axis in range(3) if all(scan.shape[other] > 1 for other in range(3) if other != axis)] or [2]
    axes.sort(key=lambda axis: ("axial", "coronal", "sagittal").index(plane_of(scan.affine[:3, axis])))
    planes = [_plane(scan, grey, axis, window, mm_per_px) for axis in axes]
    size = max(NARROWEST_PX, *(picture.width for picture, _ in planes)), max(picture.height for picture, _ in planes)
    cells = [_cell(scan, axis, *plane, size, mm_per_px) for axis, plane in zip(axes, planes, strict=True)]
    return sheet_of(cells, len(cells), title, [(line, None) for line in _legend(scan, window)])


def write_planes(scan: Volume, path: Path) -> None:
    """`three_planes` as a PNG file, titled by what may be said of the scan; it has its name when it is whole.

    Raises: UserError when the path does not end in .png or cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"'{path.name}' does not end in .png", where="--picture", next="Pictures of planes are PNG files.")
    size = "x".join(map(str, scan.shape))
    picture = three_planes(scan, title=f"{scan.source.short_name} {scan.modality} {size}")
    try:
        with file_aside(path) as aside:
            picture.save(aside, "PNG", optimize=True)
    except OSError as error:
        what = f"cannot be written ({error.strerror})"
        raise UserError(what, where=path, next="Choose another place, or make room.") from error


def _plane(
    scan: Volume, grey: np.ndarray, axis: int, window: tuple[float, float], mm_per_px: float
) -> tuple[Image.Image, np.ndarray]:
    """The middle plane across one axis of the array, turned for the screen, and its affine."""
    middle = [slice(None)] * 3
    middle[axis] = slice(scan.shape[axis] // 2, scan.shape[axis] // 2 + 1)
    plane, affine = reordered(grey[tuple(middle)], scan.affine, screen_affine(scan, axis))
    column_mm, row_mm, _ = np.linalg.norm(affine[:3, :3], axis=0)
    width, height = plane.shape[0] * column_mm / mm_per_px, plane.shape[1] * row_mm / mm_per_px
    size = max(THINNEST_PX, round(width)), max(THINNEST_PX, round(height))
    return grey_picture(plane[:, :, 0].T, window).resize(size, Image.Resampling.BICUBIC).convert("RGB"), affine


def _cell(
    scan: Volume, axis: int, picture: Image.Image, affine: np.ndarray, size: tuple[int, int], mm_per_px: float
) -> Image.Image:
    """A plane in the middle of a field of the given size, letters around it, scale and number below."""
    cell = Image.new("RGB", (size[0] + 2 * MARGIN_PX, size[1] + 2 * MARGIN_PX + SCALE_PX))
    corner = (cell.width - picture.width) // 2, MARGIN_PX + (size[1] - picture.height) // 2
    cell.paste(picture, corner)
    oriented, count = scan.source.kind != "picture", scan.shape[axis]
    if oriented:
        _letters(cell, corner, picture.size, affine)
    if scan.source.spacing_known:
        scale_bar(cell, mm_per_px=mm_per_px)
    name = plane_of(scan.affine[:3, axis]) if oriented else "slice"
    text = f"{name} {count // 2 + 1}/{count}" if count > 1 else name
    ImageDraw.Draw(cell).text((cell.width - 6, cell.height - 6), text, anchor="rd", font=font(TEXT_PX), fill=GREY)
    return cell


def _letters(cell: Image.Image, corner: tuple[int, int], size: tuple[int, int], affine: np.ndarray) -> None:
    """At each edge of the plane the side of the patient that lies there."""
    pen, x, y = ImageDraw.Draw(cell), corner[0] + size[0] / 2, corner[1] + size[1] / 2
    right, down, off = affine[:3, 0], affine[:3, 1], MARGIN_PX / 2
    pen.text((corner[0] - off, y), letter_of(-right), anchor="mm", **lettering())
    pen.text((corner[0] + size[0] + off, y), letter_of(right), anchor="mm", **lettering())
    pen.text((x, corner[1] - off), letter_of(-down), anchor="mm", **lettering())
    pen.text((x, corner[1] + size[1] + off), letter_of(down), anchor="mm", **lettering())


def _legend(scan: Volume, window: tuple[float, float]) -> list[str]:
    unit = " HU" if scan.modality == "CT" else ""
    lines = [f"black to white: {window[0]:g} to {window[1]:g}{unit}"]
    turn_deg = oblique_deg(scan.affine)
    if turn_deg >= 1:
        lines.append(f"oblique: turned by up to {turn_deg:.0f} degrees from the patient's axes")
    if not scan.source.spacing_known:
        lines.append("the size of a voxel is not known: no scale")
    return lines


def oblique_deg(affine: np.ndarray) -> float:
    """The largest angle between an axis of the grid and the axis of the patient nearest to it."""
    cosines = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines, 0, 1))).max())
