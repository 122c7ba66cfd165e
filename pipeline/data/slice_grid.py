"""From a volume to the slices that a 2-D network sees, and back to the volume's own grid. Knows nothing of learning.

The only turn between (columns, rows, slices) and (slices, channels, rows, columns). Permuting and flipping move voxels without
touching them; in-plane resampling keeps the edges of the field of view in place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..io.volume import Volume
from ..labels import LabelTable
from .normalise import Normalisation, normalise

Plane = Literal["axial", "coronal", "sagittal", "stored"]

# Directions in which (columns, rows, slices) run: as a radiologist sees the slice, patient's left on the right-hand side.
AXES = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL"}

SPACING_TOLERANCE = 0.02  # a slice within 2 % of the wanted pixel size is not resampled: 1 px in 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Everything that happens to a volume before the network. Part of the experiment and of the bundle."""

    plane: Plane = "axial"
    spacing_mm: float = 0.0  # side of a pixel in the plane; 0: as stored
    neighbours: int = 0  # slices on each side that go in as further channels (2.5-D)
    normalisation: Normalisation = field(default_factory=Normalisation)

    def problems(self) -> list[str]:
        """What is wrong with these settings, in words; empty when nothing is."""
        found = self.normalisation.problems()
        if self.plane not in (*AXES, "stored"):
            found.append(f"plane must be axial, coronal, sagittal or stored, is '{self.plane}'")
        if not 0 <= self.spacing_mm <= 100:
            found.append(f"spacing_mm must be 0 (as stored) to 100, is {self.spacing_mm:g}")
        if not 0 <= self.neighbours <= 8:
            found.append(f"neighbours must be 0 to 8, is {self.neighbours}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SliceGrid:
    """How one volume was turned into slices; enough to bring a result back."""

    source_shape: tuple[int, int, int]  # (columns, rows, slices) of the volume
    order: tuple[int, int, int]  # source axis that runs along the slice's columns, rows, and across slices
    flipped: tuple[bool, bool, bool]  # whether that axis runs the other way
    pixel_mm: tuple[float, float]  # of the turned slices before resampling: along columns, along rows
    rows: int  # of a slice as the network sees it
    columns: int

    @property
    def slices(self) -> int:
        return self.source_shape[self.order[2]]

    @property
    def source_rows(self) -> int:
        return self.source_shape[self.order[1]]

    @property
    def source_columns(self) -> int:
        return self.source_shape[self.order[0]]

    @property
    def resampled(self) -> bool:
        return (self.rows, self.columns) != (self.source_rows, self.source_columns)

    def affine(self, source_affine: np.ndarray) -> np.ndarray:
        """Of the slices as the network sees them: (column, row, slice) index → mm in RAS+, 4x4."""
        source_from_turned = np.zeros((4, 4))
        source_from_turned[3, 3] = 1.0
        scales = (self.source_columns / self.columns, self.source_rows / self.rows, 1.0)
        for axis, (source, flip, scale) in enumerate(zip(self.order, self.flipped, scales, strict=True)):
            # pixel edges stay in place: the centre of the first pixel lies half a new pixel inside the first edge
            first = (scale - 1) / 2
            last = self.source_shape[source] - 1
            source_from_turned[source, axis] = -scale if flip else scale
            source_from_turned[source, 3] = last - first if flip else first
        return source_affine @ source_from_turned

    def turn(self, array: np.ndarray) -> np.ndarray:
        """(columns, rows, slices, ...) of the source → (slices, rows, columns, ...) of the network; a view."""
        turned = np.moveaxis(array, self.order, (0, 1, 2))
        turned = turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flipped)]
        return np.swapaxes(turned, 0, 2)

    def turn_back(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `turn`."""
        turned = np.swapaxes(array, 0, 2)
        turned = turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flipped)]
        return np.moveaxis(turned, (0, 1, 2), self.order)


def slice_grid(shape: tuple[int, int, int], affine: np.ndarray, settings: Preprocessing) -> SliceGrid:
    """How a volume of this shape and affine is sliced.

    Args:
        shape: (columns, rows, slices).
        affine: 4x4, voxel index to mm in RAS+; oblique axes count as the anatomical axis they are closest to.
    """
    order, flipped = (0, 1, 2), (False, False, False)
    if settings.plane != "stored":
        order, flipped = _axes_along(affine, AXES[settings.plane])
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    pixel_mm = (float(lengths[order[0]]), float(lengths[order[1]]))
    sides = [shape[order[0]], shape[order[1]]]
    if settings.spacing_mm > 0:
        for axis, mm in enumerate(pixel_mm):
            if abs(mm / settings.spacing_mm - 1) > SPACING_TOLERANCE:
                sides[axis] = max(1, round(sides[axis] * mm / settings.spacing_mm))
    return SliceGrid(source_shape=shape, order=order, flipped=flipped, pixel_mm=pixel_mm, rows=sides[1], columns=sides[0])


def _axes_along(affine: np.ndarray, codes: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    from nibabel.orientations import io_orientation

    orientation = io_orientation(affine)  # per source axis: (anatomical axis R, A or S, +1 or -1)
    order, flipped = [], []
    for code in codes:
        anatomical = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[code]
        axis = next(i for i in range(3) if int(orientation[i, 0]) == anatomical)
        order.append(axis)
        flipped.append((orientation[axis, 1] > 0) != (code in "RAS"))
    return (order[0], order[1], order[2]), (flipped[0], flipped[1], flipped[2])


def to_slices(volume: Volume, grid: SliceGrid, settings: Preprocessing) -> np.ndarray:
    """The volume as the network sees it.

    Returns: (slices, channels, rows, columns) float32, C-contiguous; neighbours are not yet joined (see `with_neighbours`).
    Raises: UserError for NaN or infinite voxels.
    """
    channels = volume.array if volume.array.ndim == 4 else volume.array[..., np.newaxis]
    slices = np.empty((grid.slices, channels.shape[-1], grid.rows, grid.columns), dtype=np.float32)
    for c in range(channels.shape[-1]):
        slices[:, c] = resample_slices(grid.turn(normalise(channels[..., c], settings.normalisation)), grid.rows, grid.columns)
    return slices


def resample_slices(stack: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """(slices, source rows, source columns) float32 → (slices, rows, columns), each slice on its own.

    Linear, with the edges of the field of view kept in place; averaged where the result is coarser, so nothing aliases.
    """
    if stack.shape[1:] == (rows, columns):
        return stack
    import torch

    if min(stack.strides) < 0:  # a single slice that was turned counts as contiguous, and torch refuses it all the same
        stack = stack.copy()
    tensor = torch.from_numpy(np.ascontiguousarray(stack))[:, None]
    resized = torch.nn.functional.interpolate(
        tensor, size=(rows, columns), mode="bilinear", align_corners=False, antialias=True
    )
    return np.asarray(resized[:, 0].numpy())


def with_neighbours(slices: np.ndarray, index: int, neighbours: int) -> np.ndarray:
    """One slice with its neighbours as channels; beyond the ends the last slice is repeated.

    Args:
        slices: (slices, channels, rows, columns).
    Returns: ((2 * neighbours + 1) * channels, rows, columns).
    """
    if neighbours == 0:
        return np.asarray(slices[index])
    picks = neighbour_numbers(index, neighbours, len(slices))
    return np.asarray(slices[picks]).reshape(-1, *slices.shape[2:])


def neighbour_numbers(index: int, neighbours: int, slices: int) -> list[int]:
    """Which slices go in for this one, from below to above; beyond the ends the last slice is repeated."""
    return [min(max(number, 0), slices - 1) for number in range(index - neighbours, index + neighbours + 1)]


def label_values(classes: np.ndarray, table: LabelTable) -> np.ndarray:
    """Class indices (0 background, then the table's order) as the table's values; uint8, any shape."""
    return np.asarray(np.array([table.background, *table.values], dtype=np.uint8)[classes])


def labels_to_slices(labels: np.ndarray, grid: SliceGrid, table: LabelTable) -> np.ndarray:
    """A label volume as the loss sees it.

    Args:
        labels: (columns, rows, slices) with the table's values, or (columns, rows, slices, structures) of 0 and 1.
    Returns: uint8 (slices, rows, columns) of class indices (0 background, then the table's order), or for overlapping
        structures (slices, structures, rows, columns) of 0 and 1. Where resampled, each pixel goes to the class that covers
        most of it.
    """
    if table.overlapping:
        stacks = [grid.turn(labels[..., c] > 0).astype(np.float32) for c in range(labels.shape[-1])]
        covered = [resample_slices(stack, grid.rows, grid.columns) >= 0.5 for stack in stacks]
        return np.ascontiguousarray(np.stack(covered, axis=1).astype(np.uint8))
    classes = np.zeros(labels.shape, dtype=np.uint8)
    for index, value in enumerate(table.values, start=1):
        classes[labels == value] = index
    turned = grid.turn(classes)
    if not grid.resampled:
        return np.ascontiguousarray(turned)
    best = np.zeros((grid.slices, grid.rows, grid.columns), dtype=np.uint8)
    most = resample_slices((turned == 0).astype(np.float32), grid.rows, grid.columns)
    for index in range(1, len(table.values) + 1):
        cover = resample_slices((turned == index).astype(np.float32), grid.rows, grid.columns)
        best[cover > most] = index
        most = np.maximum(most, cover)
    return best
