"""Bring a sheared volume (gantry tilt) onto a right-angled grid, moving each slice in its own plane. Knows nothing of files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..errors import Notice
from .geometry import SHEAR_MM, shear_distance_mm
from .orient import grid_difference
from .volume import Volume

AIR_HU = -1024
WHOLE_SHIFT = 1e-6  # of a voxel: smaller shifts are none


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StraightGrid:
    """The right-angled grid that holds all voxels of a volume, each slice moved in its own plane."""

    shape: tuple[int, int, int]
    affine: np.ndarray  # 4x4
    shifts: np.ndarray  # (slices, 2): by how many voxels of the plane each slice is moved on it


def orthogonal(volume: Volume, *, labels: bool = False, outside: float | None = None) -> Volume:
    """The volume on a right-angled grid: slice k is slice k of the source, moved in plane by its own shift.

    Nothing is mixed between slices, and the plane is enlarged so that no voxel of the source is lost. A volume that is
    right-angled already comes back as it is.

    Args:
        volume: (columns, rows, slices[, channels]).
        labels: take the nearest voxel instead of interpolating.
        outside: value where the source has none; by default 0 for labels, -1024 for CT, else the smallest value.
    """
    if shear_distance_mm(volume.affine, volume.shape) <= SHEAR_MM:
        return volume
    grid = straight_grid(volume)
    fill = outside if outside is not None else _outside(volume, labels)
    result = np.full((*grid.shape, *volume.array.shape[3:]), fill, dtype=volume.array.dtype)
    for k, shift in enumerate(grid.shifts):
        result[:, :, k] = _moved(volume.array[:, :, k], shift, grid.shape[:2], labels, fill)
    shear_mm = np.linalg.norm(volume.affine[:3, :2] @ (grid.shifts[-1] - grid.shifts[0]))
    sentence = f"the slices are sheared by {shear_mm:.1f} mm: each was moved in its own plane"
    notice = Notice(code="sheared", sentence=sentence)
    source = replace(volume.source, notices=(*volume.source.notices, notice))
    return Volume(array=result, affine=grid.affine, modality=volume.modality, source=source)


def on_sheared_grid(array: np.ndarray, affine: np.ndarray, like: Volume) -> np.ndarray | None:
    """Labels on the right-angled grid of a sheared volume, taken back to its own slices; the inverse of `orthogonal`.

    Args:
        array, affine: the labels, (columns, rows, slices[, channels]), with axes in the order of `like`.
        like: the sheared volume.
    Returns: labels of the shape of `like`; None where `like` is right-angled, or the labels lie on another grid.
    """
    if shear_distance_mm(like.affine, like.shape) <= SHEAR_MM:
        return None
    grid, (columns, rows, _) = straight_grid(like), like.shape
    if grid_difference(array, affine, grid.shape, grid.affine):
        return None
    whole = np.rint(grid.shifts).astype(int)
    planes = [array[i : i + columns, j : j + rows, k] for k, (i, j) in enumerate(whole.tolist())]
    return np.stack(planes, axis=2)


def straight_grid(volume: Volume) -> StraightGrid:
    """Where `orthogonal` puts the volume; its own grid, without shifts, where that is right-angled."""
    columns, rows, slices = volume.shape
    if shear_distance_mm(volume.affine, volume.shape) <= SHEAR_MM:
        return StraightGrid(shape=volume.shape, affine=volume.affine, shifts=np.zeros((slices, 2)))
    axes = volume.affine[:3, :3]
    normal = np.cross(axes[:, 0], axes[:, 1])
    normal /= np.linalg.norm(normal)
    step_mm = float(axes[:, 2] @ normal) * normal
    # the part of the step that lies in the plane, in voxels of the plane
    per_slice, *_ = np.linalg.lstsq(axes[:, :2], axes[:, 2] - step_mm, rcond=None)
    shifts = np.arange(slices)[:, None] * per_slice
    low = np.floor(shifts.min(axis=0) + WHOLE_SHIFT).astype(int)
    more = (np.ceil(shifts.max(axis=0) - WHOLE_SHIFT).astype(int) - low).tolist()
    affine = volume.affine.copy()
    affine[:3, 2], affine[:3, 3] = step_mm, volume.affine[:3, 3] + axes[:, :2] @ low
    return StraightGrid(shape=(columns + more[0], rows + more[1], slices), affine=affine, shifts=shifts - low)


def _outside(volume: Volume, labels: bool) -> float:
    if labels:
        return 0
    return AIR_HU if volume.modality == "CT" else float(volume.array.min())


def _moved(plane: np.ndarray, shift: np.ndarray, size: tuple[int, int], labels: bool, fill: float) -> np.ndarray:
    """A plane (columns, rows[, channels]) whose voxel (i, j) comes to lie at (i, j) + shift, on a plane of the given size."""
    if labels:
        whole = np.rint(shift).astype(int)
        result = np.full((*size, *plane.shape[2:]), fill, dtype=plane.dtype)
        result[whole[0] : whole[0] + plane.shape[0], whole[1] : whole[1] + plane.shape[1]] = plane
        return result
    values = plane.astype(np.float64)
    for axis in (0, 1):
        values = _moved_along(values, axis, float(shift[axis]), size[axis], fill)
    return np.rint(values).astype(plane.dtype) if plane.dtype.kind in "iu" else values.astype(plane.dtype)


def _moved_along(values: np.ndarray, axis: int, shift: float, length: int, fill: float) -> np.ndarray:
    """Linear interpolation along one axis; half a voxel and more outside the source gives the fill."""
    whole = math.floor(shift + WHOLE_SHIFT)
    part = max(shift - whole, 0.0) if shift - whole > WHOLE_SHIFT else 0.0
    before, after = whole, length - values.shape[axis] - whole
    widths = [(0, 0)] * values.ndim
    widths[axis] = (before, max(after, 0))
    near = np.pad(values, widths, constant_values=fill)
    far = np.roll(near, 1, axis=axis)
    first = (slice(None),) * axis + (0,)
    far[first] = fill
    return np.asarray((1 - part) * near + part * far)
