"""A scan and its labels turned for the screen, as slices along one axis of their grid. Knows nothing of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..io.geometry import slice_axis
from ..io.orient import reordered
from ..io.volume import Volume
from .screen import screen_affine

ANISOTROPIC = 1.2  # slices this much farther apart than pixels: the acquisition plane is known


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A scan turned for the screen. Arrays are (columns, rows, slices[, structures]); they share the scan's memory."""

    image: np.ndarray
    labels: np.ndarray
    truth: np.ndarray | None
    affine: np.ndarray  # of the turned grid, voxel index to mm in RAS+
    slice_numbers: np.ndarray  # from 1, as the slices are counted in the input
    slice_count: int


def turned(image: Volume, labels: Volume, truth: Volume | None = None, *, axis: int | None = None) -> View:
    """The slices along one axis of the array, the right way up; nothing is resampled, nothing copied.

    Args:
        image: of several channels the first is shown.
        labels, truth: on the image's grid.
        axis: of the array, across the slices; by default that of the acquisition.
    """
    axis = acquisition_axis(image) if axis is None else axis
    screen = screen_affine(image, axis)
    count = image.array.shape[axis]
    numbers = np.broadcast_to(np.arange(1, count + 1).reshape([-1 if a == axis else 1 for a in range(3)]), image.shape)
    grey = image.array if image.array.ndim == 3 else image.array[..., 0]
    array, affine = reordered(grey, image.affine, screen)
    return View(
        image=array,
        labels=reordered(labels.array, image.affine, screen)[0],
        truth=None if truth is None else reordered(truth.array, image.affine, screen)[0],
        affine=affine,
        slice_numbers=reordered(numbers, image.affine, screen)[0][0, 0],
        slice_count=count,
    )


def acquisition_axis(image: Volume) -> int:
    """The array's axis along which slices are stacked; on an even grid the one nearest to head-foot."""
    if image.shape[2] == 1 or not image.source.spacing_known:
        return 2
    across = slice_axis(image.spacing_mm, ANISOTROPIC)
    return int(np.argmax(np.abs(image.affine[2, :3] / image.spacing_mm))) if across is None else across
