"""Outlines of structures on the slices of a scan, as a reader of scans expects to see them. Knows nothing of files or pages."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from ..io.volume import Volume
from ..labels import LabelTable
from .screen import grey_picture, letter_of, lettering, scale_bar, window_of
from .sheet import GAP_PX, WHITE, Mark, sheet_of
from .turned import View, turned

CONTOUR_PX = 2.0
TRUTH_PX = 1.2
DASH_PX = (5.0, 4.0)
SMOOTH = 3  # outlines are drawn this many times larger and made smaller again

SHEET_PX = 1080  # about this wide
LARGEST_SLICE_PX = 720


def slice_picture(
    image: np.ndarray,
    labels: np.ndarray,
    table: LabelTable,
    *,
    window: tuple[float, float],
    aspect: float = 1.0,
    width_px: int = 384,
    truth: np.ndarray | None = None,
) -> Image.Image:
    """One slice in grey with the outline of each structure in its colour.

    Args:
        image: (rows, columns).
        labels: (rows, columns), label values; for overlapping structures (rows, columns, structures), not 0 where present.
        window: values that become black and white.
        aspect: height of a pixel divided by its width.
        width_px: width of the picture; its height follows from the shape and the aspect.
        truth: as `labels`; outlined in white dashes.
    """
    rows, columns = image.shape
    size = (width_px, max(1, round(width_px * rows * aspect / columns)))
    picture = grey_picture(image, window).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    scale = (size[0] * SMOOTH / columns, size[1] * SMOOTH / rows)
    for number, mask in _masks(labels, table):
        _outline(picture, mask, scale, table.structures[number].colour, CONTOUR_PX, dashed=False)
    if truth is not None:
        for _, mask in _masks(truth, table):
            _outline(picture, mask, scale, WHITE, TRUTH_PX, dashed=True)
    return picture


def mosaic(
    image: Volume,
    labels: Volume,
    table: LabelTable,
    *,
    truth: Volume | None = None,
    slices: int = 9,
    title: str = "",
) -> Image.Image:
    """Slices spread evenly over the structures' extent (over the whole scan when there are none), with outlines.

    Axial slices have the patient's right on the left side, anterior up; sagittal ones anterior on the left; head up.
    Letters name the sides, a bar gives the size; both are left out where the picture does not know them.

    Args:
        labels, truth: on the image's grid; label values, or one channel a structure for an overlapping table.
    Raises: ValueError when the shapes differ.
    """
    for other in (labels, *(() if truth is None else (truth,))):
        if other.shape != image.shape:
            raise ValueError(f"labels of shape {other.shape} on an image of shape {image.shape}")
    view = turned(image, labels, truth)
    chosen = _chosen(view, table, slices)
    per_row = _per_row(len(chosen), view)
    column_mm, row_mm, _ = np.linalg.norm(view.affine[:3, :3], axis=0)
    aspect = float(row_mm / column_mm)
    width_px = _slice_width(per_row, view, aspect)
    window = window_of(view.image, image.modality)
    cells = []
    for k in chosen:
        cell = slice_picture(
            view.image[:, :, k].T,
            np.swapaxes(view.labels[:, :, k], 0, 1),
            table,
            window=window,
            aspect=aspect,
            width_px=width_px,
            truth=None if view.truth is None else np.swapaxes(view.truth[:, :, k], 0, 1),
        )
        _annotate(cell, view, k, letters=image.source.kind != "picture")
        cells.append(cell)
    if image.source.spacing_known:
        scale_bar(cells[0], mm_per_px=float(column_mm) * view.image.shape[0] / width_px)
    return sheet_of(cells, per_row, title, _legend(table, view))


def _chosen(view: View, table: LabelTable, wanted: int) -> list[int]:
    present = slices_with(view.labels, table)
    if view.truth is not None:
        present = present | slices_with(view.truth, table)
    found = np.flatnonzero(present)
    first, last = (int(found[0]), int(found[-1])) if found.size else (0, len(present) - 1)
    return sorted({round(place) for place in np.linspace(first, last, min(wanted, last - first + 1))})


def slices_with(labels: np.ndarray, table: LabelTable) -> np.ndarray:
    """(slices,): where any structure occurs. Slice by slice: no second volume of this size."""
    planes = np.moveaxis(labels, 2, 0)
    if labels.ndim == 4:
        return np.array([bool((plane != 0).any()) for plane in planes])
    return np.array([any(bool((plane == value).any()) for value in table.values) for plane in planes])


def _per_row(count: int, view: View) -> int:
    """So many beside each other that the sheet is about as wide as high, with few empty places."""
    column_mm, row_mm, _ = np.linalg.norm(view.affine[:3, :3], axis=0)
    height_by_width = view.image.shape[1] * row_mm / (view.image.shape[0] * column_mm)

    def fault(per_row: int) -> float:
        lines = math.ceil(count / per_row)
        return abs(math.log(lines * height_by_width / per_row)) + 2 * math.log(lines * per_row / count)

    return min(range(1, count + 1), key=fault)


def _slice_width(per_row: int, view: View, aspect: float) -> int:
    width = min(LARGEST_SLICE_PX, (SHEET_PX - GAP_PX) // per_row - GAP_PX)
    height = width * view.image.shape[1] * aspect / view.image.shape[0]
    return max(1, round(width * min(1.0, float(LARGEST_SLICE_PX / height))))


def _annotate(cell: Image.Image, view: View, k: int, *, letters: bool) -> None:
    """The slice's number in the corner, and at the left and upper edge the letter of the side that lies there."""
    pen = ImageDraw.Draw(cell)
    style = lettering()
    if view.slice_count > 1:
        pen.text((cell.width - 4, 3), f"{view.slice_numbers[k]}/{view.slice_count}", anchor="ra", **style)
    if letters:
        left, top = letter_of(-view.affine[:3, 0]), letter_of(-view.affine[:3, 1])
        pen.text((4, cell.height / 2), left, anchor="lm", **style)
        pen.text((cell.width / 2, 3), top, anchor="ma", **style)


def _legend(table: LabelTable, view: View) -> list[Mark]:
    """(text, colour) of what is outlined anywhere in the scan; a text without colour for what is not."""
    seen = [_occurs(view.labels, table, number) for number in range(len(table.structures))]
    entries: list[Mark] = []
    entries += [(s.name, s.colour) for s, present in zip(table.structures, seen, strict=True) if present]
    absent = [s.name for s, present in zip(table.structures, seen, strict=True) if not present]
    if view.truth is not None:
        entries.append(("reference (dashed)", WHITE))
    if absent:
        entries.append((f"not found: {', '.join(absent)}", None))
    return entries


def _occurs(labels: np.ndarray, table: LabelTable, number: int) -> bool:
    """Slice by slice, as in `slices_with`."""
    return any(bool(_mask(plane, table, number).any()) for plane in np.moveaxis(labels, 2, 0))


def _masks(labels: np.ndarray, table: LabelTable) -> Iterator[tuple[int, np.ndarray]]:
    for number in range(len(table.structures)):
        mask = _mask(labels, table, number)
        if mask.any():
            yield number, mask


def _mask(labels: np.ndarray, table: LabelTable, number: int) -> np.ndarray:
    """Of one structure in one slice."""
    return np.asarray(labels[..., number] != 0 if labels.ndim == 3 else labels == table.structures[number].value)


def _outline(
    picture: Image.Image,
    mask: np.ndarray,
    scale: tuple[float, float],
    colour: tuple[int, int, int],
    width_px: float,
    *,
    dashed: bool,
) -> None:
    """Draw the mask's edge: dashes on the edge, a full line just inside, so that neighbours' lines lie side by side."""
    from skimage.measure import find_contours

    cover = Image.new("L", (picture.width * SMOOTH, picture.height * SMOOTH), 0)
    pen = ImageDraw.Draw(cover)
    inset_px = 0.0 if dashed else width_px / 2
    level = min(0.5 + inset_px * SMOOTH / min(scale), 0.95)  # 0.5 lies half way between a pixel's centre and its neighbour's
    for contour in find_contours(np.pad(mask, 1).astype(np.float32), level):
        x = (contour[:, 1] - 1 + 0.5) * scale[0]  # minus the padding; a pixel's centre lies half a pixel from its edge
        y = (contour[:, 0] - 1 + 0.5) * scale[1]
        points = np.stack([x, y], axis=1)
        for piece in _dashes(points) if dashed else [points]:
            pen.line([tuple(point) for point in piece.tolist()], fill=255, width=round(width_px * SMOOTH), joint="curve")
    cover = cover.resize(picture.size, Image.Resampling.BOX)
    picture.paste(Image.new("RGB", picture.size, colour), mask=cover)


def _dashes(points: np.ndarray) -> Iterator[np.ndarray]:
    """Pieces of a polyline, (points, 2) each, with gaps between them."""
    on, off = (length * SMOOTH for length in DASH_PX)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    for start in np.arange(0.0, along[-1], on + off):
        stops = np.array([start, *along[(along > start) & (along < start + on)], min(start + on, along[-1])])
        yield np.stack([np.interp(stops, along, points[:, axis]) for axis in (0, 1)], axis=1)
