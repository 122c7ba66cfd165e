"""Bring a grid into the axis order of another that holds the same voxels, without resampling. Knows nothing of files."""

from __future__ import annotations

import numpy as np

from .geometry import grid_distance_mm

SAME_GRID_MM = 0.01  # headers round positions; never more than a tenth of a voxel, for images of tiny things
SAME_GRID_FRACTION = 0.01  # of the smallest voxel edge, added


def same_grid_tolerance_mm(affine: np.ndarray) -> float:
    """Up to which corner distance two grids count as the same: 0.01 mm and 1 % of the smallest voxel edge."""
    edge_mm = float(np.linalg.norm(affine[:3, :3], axis=0).min())
    return min(SAME_GRID_MM, 0.1 * edge_mm) + SAME_GRID_FRACTION * edge_mm


def plane_of(normal_ras: np.ndarray) -> str:
    """'axial', 'coronal' or 'sagittal': the plane nearest to the one with this normal."""
    return ("sagittal", "coronal", "axial")[int(np.abs(normal_ras).argmax())]


def reordered(array: np.ndarray, affine: np.ndarray, like_affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels with axes permuted and flipped so that they run as `like_affine`'s do.

    Args:
        array: (i, j, k), or (i, j, k, channels), which stay last.
        affine: 4x4 of `array`, voxel index to mm.
        like_affine: 4x4; each of its axes takes the axis of `affine` nearest to it.
    Returns: array and affine; every voxel keeps its place in mm exactly.
    """
    like_from_voxel = np.linalg.inv(like_affine[:3, :3]) @ affine[:3, :3]
    cosines = like_from_voxel / np.abs(like_from_voxel).max(axis=0)
    order = _best_order(np.abs(cosines))
    flipped = [bool(like_from_voxel[target, source] < 0) for target, source in enumerate(order)]
    voxel_from_new = np.zeros((4, 4))
    voxel_from_new[3, 3] = 1.0
    for target, source in enumerate(order):
        voxel_from_new[source, target] = -1.0 if flipped[target] else 1.0
        voxel_from_new[source, 3] = array.shape[source] - 1 if flipped[target] else 0.0
    array = array.transpose(*order, *range(3, array.ndim))
    array = np.flip(array, tuple(axis for axis in range(3) if flipped[axis]))
    return array, affine @ voxel_from_new


def grid_difference(array: np.ndarray, affine: np.ndarray, like_shape: tuple[int, int, int], like_affine: np.ndarray) -> str:
    """'' where the grids are the same within the tolerance, else what differs, in voxels or mm."""
    if array.shape[:3] != like_shape:
        return f"the shape is {array.shape[:3]} instead of {like_shape}"
    apart_mm, allowed_mm = grid_distance_mm(affine, like_affine, like_shape), same_grid_tolerance_mm(like_affine)
    if apart_mm > allowed_mm:
        return f"corners lie up to {apart_mm:.2f} mm apart ({allowed_mm:.3f} mm are allowed)"
    return ""


def _best_order(weights: np.ndarray) -> list[int]:
    """For each target axis the source axis, each used once, with the largest sum of weights (target, source)."""
    orders = [(a, b, c) for a in range(3) for b in range(3) for c in range(3) if len({a, b, c}) == 3]
    return list(max(orders, key=lambda order: sum(weights[target, source] for target, source in enumerate(order))))
