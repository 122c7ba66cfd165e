"""Distances between the surfaces of two masks in mm: HD95 and NSD. Knows nothing of label tables or files.

The surface of a mask is its voxels with a face towards the outside; the image's edge is outside. Distances are between
voxel centres, placed by the affine, so a sheared grid (gantry tilt) is measured right as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

NSD_TOLERANCE_MM = 2.0  # what two people who contour the same organ differ by; stated beside every NSD
ROUNDING_MM = 1e-5  # five voxels of 0.8 mm are 4 mm, also where the sum comes out as 4.000000000000001


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceScores:
    """How far two surfaces lie apart.

    hd95_mm: the larger of both directions' 95th percentiles; None where either mask is empty (no distance exists).
    nsd: share of both surfaces within the tolerance of the other, 0 to 1; 0 where one mask is empty, None where both are.
    """

    hd95_mm: float | None
    nsd: float | None


def surface_scores(
    truth: np.ndarray, predicted: np.ndarray, affine: np.ndarray, *, tolerance_mm: float = NSD_TOLERANCE_MM
) -> SurfaceScores:
    """Compare two masks of one structure.

    Args:
        truth: (columns, rows, slices), bool; an axis of length 1 is a plane: its surface is an outline.
        predicted: the same shape.
        affine: 4x4, voxel index to mm.
        tolerance_mm: deviation that NSD forgives.
    Source: HD95 as in MONAI's compute_hausdorff_distance; NSD: Nikolov et al. 2018, arXiv 1809.04430, with equal weight
        for every surface voxel.
    """
    if truth.shape != predicted.shape or truth.ndim != 3:
        raise ValueError(f"two masks of one shape (columns, rows, slices) are needed, not {truth.shape} and {predicted.shape}")
    if not truth.any() or not predicted.any():
        neither = not truth.any() and not predicted.any()
        return SurfaceScores(hd95_mm=None, nsd=None if neither else 0.0)
    surface_a = _surface_mm(truth, affine)
    surface_b = _surface_mm(predicted, affine)
    a_to_b = cKDTree(surface_b).query(surface_a)[0]
    b_to_a = cKDTree(surface_a).query(surface_b)[0]
    hd95_mm = max(np.percentile(a_to_b, 95), np.percentile(b_to_a, 95))
    within = np.concatenate([a_to_b, b_to_a]) <= tolerance_mm + ROUNDING_MM
    return SurfaceScores(hd95_mm=float(hd95_mm), nsd=float(within.mean()))


def _surface_mm(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centres of the surface voxels in mm, (n, 3)."""
    box = _bounding_box(mask)
    inside = np.ascontiguousarray(mask[box], dtype=bool)  # what lies outside the box is outside the mask: nothing is lost
    cross = np.zeros((3, 3, 3), dtype=bool)
    cross[1, 1, 1] = True
    for axis, length in enumerate(mask.shape):
        if length > 1:  # a plane has no faces towards above and below
            cross[tuple(slice(None) if a == axis else 1 for a in range(3))] = True
    voxels = np.argwhere(inside & ~binary_erosion(inside, structure=cross)) + [part.start for part in box]
    centres: np.ndarray = voxels @ affine[:3, :3].T + affine[:3, 3]
    return centres


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    ranges = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        ranges.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return ranges[0], ranges[1], ranges[2]
