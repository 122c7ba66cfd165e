"""Where the body lies in a CT: outside that box there is air, and nothing to segment. Copied into every bundle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..data.slice_grid import SliceGrid
from ..io.volume import Volume

AIR_HU = -300.0  # skin and fat lie above, air and the foam of a table below
BLOCK_MM = 3.0  # in the slice; a block counts by its mean: fast, and noise is gone
SMALLEST_SHARE = 0.02  # of the largest piece: arms and legs are bodies, cables and the rails of a table are not
MARGIN_MM = 15.0  # skin that fills less than half of its blocks, and what the opening takes away: a nose, an ear


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Part of the slices that a network sees, before any resampling: from the first to before the last."""

    slices: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def in_plane(self) -> tuple[slice, slice]:
        """The rows and columns, to index with."""
        return slice(*self.rows), slice(*self.columns)

    def __str__(self) -> str:
        parts = (self.slices, self.rows, self.columns)
        return ", ".join(f"{name} {a + 1} to {b}" for name, (a, b) in zip(("slices", "rows", "columns"), parts, strict=True))


def body_box(volume: Volume, grid: SliceGrid) -> Box | None:
    """The box around the body with a margin, in the source's pixels; None where no body is found, or it fills the scan.

    The body is everything above -300 HU in one piece, and further large pieces. It is looked for in the acquired slices,
    whichever the network sees: in these, tables are thin, and opening removes them.
    """
    array = volume.array if volume.array.ndim == 3 else volume.array[..., 0]
    across = int(np.argmax(volume.spacing_mm))
    block = [max(1, round(BLOCK_MM / mm)) for mm in volume.spacing_mm]
    block[across] = 1
    sides = [side for axis, side in enumerate(block) if axis != across]
    blocks = np.stack([_opened(_block_means(one, *sides) > AIR_HU) for one in np.moveaxis(array, across, 0)])
    numbers, count = ndimage.label(blocks)
    if count == 0:
        return None
    sizes = np.bincount(numbers.reshape(-1))
    sizes[0] = 0
    body = (sizes >= SMALLEST_SHARE * sizes.max())[numbers]
    body = np.moveaxis(body, 0, across)
    spans = [
        _span(body, axis, array.shape[axis], block[axis], math.ceil(MARGIN_MM / mm))
        for axis, mm in enumerate(volume.spacing_mm)
    ]
    if spans == [(0, length) for length in array.shape]:
        return None
    columns, rows, slices = (
        (array.shape[axis] - spans[axis][1], array.shape[axis] - spans[axis][0]) if flipped else spans[axis]
        for axis, flipped in zip(grid.order, grid.flipped, strict=True)
    )
    return Box(slices=slices, rows=rows, columns=columns)


def _span(body: np.ndarray, axis: int, length: int, step: int, margin: int) -> tuple[int, int]:
    found = np.flatnonzero(body.any(axis=tuple(other for other in range(3) if other != axis)))
    return max(0, int(found[0]) * step - margin), min(length, (int(found[-1]) + 1) * step + margin)


def _block_means(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Of blocks of so many rows and columns; at the last edges, the last pixels count again."""
    down, across = (-(-side // step) for side, step in zip(image.shape, (rows, columns), strict=True))
    padded = np.pad(image, ((0, down * rows - image.shape[0]), (0, across * columns - image.shape[1])), mode="edge")
    return np.asarray(padded.reshape(down, rows, across, columns).mean(axis=(1, 3), dtype=np.float32))


def _opened(mask: np.ndarray) -> np.ndarray:
    """Without what is thinner than three blocks; a body that is cut by the edge of the scan stays."""
    framed = np.pad(mask, 1, mode="edge")
    return np.asarray(ndimage.binary_opening(framed, structure=np.ones((3, 3), dtype=bool))[1:-1, 1:-1])
