"""Judge how the slices of a stack lie (mm, RAS+). Knows nothing of files, pixels or learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Geometry:
    """Where the slices of one stack lie, in RAS+."""

    corners_mm: np.ndarray  # (slices, 4, 3): centres of each slice's corner voxels
    kind: Literal["regular", "sheared", "gapped", "irregular"]
    residual_mm: float  # largest distance of a corner from the fitted grid

    def __post_init__(self) -> None:
        if self.corners_mm.ndim != 3 or self.corners_mm.shape[1:] != (4, 3):
            raise ValueError(f"corners_mm must be (slices, 4, 3), not {self.corners_mm.shape}")


def corners_mm(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Centres of the eight corner voxels of a grid.

    Args:
        affine: 4x4, voxel index to mm.
        shape: (columns, rows, slices).
    Returns: (8, 3) in mm, in the order of itertools.product over (first, last) of each axis.
    """
    last = np.array(shape, dtype=np.float64) - 1
    picks = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    return np.asarray(picks * last @ affine[:3, :3].T + affine[:3, 3])


def grid_distance_mm(affine_a: np.ndarray, affine_b: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Largest distance between equal corners of two grids of one shape, in mm."""
    return float(np.linalg.norm(corners_mm(affine_a, shape) - corners_mm(affine_b, shape), axis=1).max())
