"""Judge how the slices of a stack lie (mm, RAS+). Knows nothing of files, pixels or learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

REGULAR_MM = 0.05  # positions are often rounded to 0.01 mm, or carry the noise of a table's encoder
REGULAR_FRACTION = 0.01  # of the slice distance; the larger of the two counts
REGULAR_MOST_MM = 0.1
REGULAR_MOST_FRACTION = 0.25  # of the slice distance: a lost slice moves its neighbours by a third of it at least
SHEAR_MM = 0.05  # a corner may miss the right-angled grid by this: direction cosines are often rounded to 4 to 6 digits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Geometry:
    """Where the slices of one stack lie, in RAS+."""

    corners_mm: np.ndarray  # (slices, 4, 3): centres of each slice's corner voxels
    kind: Literal["regular", "sheared", "gapped", "irregular"]
    residual_mm: float  # largest distance of a corner from the fitted grid

    def __post_init__(self) -> None:
        if self.corners_mm.ndim != 3 or self.corners_mm.shape[1:] != (4, 3):
            raise ValueError(f"corners_mm must be (slices, 4, 3), not {self.corners_mm.shape}")


def ras_from_lps(points_mm: np.ndarray) -> np.ndarray:
    """DICOM's and ITK's coordinates (towards left, back, head) to NIfTI's (right, front, head), and back; (..., 3).

    The only place where this turn is made.
    """
    return np.asarray(points_mm, dtype=np.float64) * (-1.0, -1.0, 1.0)


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


def voxel_ml(affine: np.ndarray) -> float:
    """Volume of one voxel; a voxel of a sheared grid is a parallelepiped, so the determinant counts."""
    return float(abs(np.linalg.det(affine[:3, :3]))) / 1000.0


def slice_axis(spacing_mm: Sequence[float], ratio: float) -> int | None:
    """The array's axis across the slices, where the spacing shows it: the one that differs from the other two.

    Args:
        spacing_mm: of the three axes.
        ratio: how many times coarser than the next one (or finer than both) the axis must be.
    Returns: None on an even grid.
    """
    fine, middle, coarse = np.argsort(spacing_mm, kind="stable")
    if spacing_mm[coarse] > ratio * spacing_mm[middle]:
        return int(coarse)
    return int(fine) if spacing_mm[middle] > ratio * spacing_mm[fine] else None


def grid_distance_mm(affine_a: np.ndarray, affine_b: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Largest distance between equal corners of two grids of one shape, in mm."""
    return float(np.linalg.norm(corners_mm(affine_a, shape) - corners_mm(affine_b, shape), axis=1).max())


def right_angled(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The nearest grid with perpendicular axes, the same voxel edges and the same centre; 4x4."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / edges)
    straight = affine.copy()
    straight[:3, :3] = (left @ right) * edges
    centre = (np.array(shape) - 1) / 2
    straight[:3, 3] += affine[:3, :3] @ centre - straight[:3, :3] @ centre
    return straight


def shear_distance_mm(affine: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Largest distance of a corner from the nearest right-angled grid, in mm; 0 for a right-angled one."""
    return grid_distance_mm(affine, right_angled(affine, shape), shape)


def regular_tolerance_mm(distance_mm: float) -> float:
    """How far a slice may lie from its place in a regular stack: 0.05 mm or 1 % of the distance, at most 0.1 mm.

    Nowhere more than a quarter of the distance, or lost slices of tiny things would go unseen.
    """
    return min(max(REGULAR_MM, REGULAR_FRACTION * distance_mm), REGULAR_MOST_MM, REGULAR_MOST_FRACTION * distance_mm)


def fit_stack(
    origins_mm: np.ndarray, column_steps_mm: np.ndarray, row_steps_mm: np.ndarray, size: tuple[int, int]
) -> tuple[Geometry, np.ndarray]:
    """The grid that fits a stack of at least two slices best, and how well.

    Args:
        origins_mm: (slices, 3), centre of each slice's first voxel, in the stack's order.
        column_steps_mm, row_steps_mm: (slices, 3), from one column (row) to the next, in each slice's own header.
        size: (columns, rows).
    Returns: the judged geometry, and the 4x4 affine (only of use where the kind is regular or sheared).
    Source: least squares of the slices' centres on first + k * step; the residual is taken at the corners.
    """
    far_column, far_row = column_steps_mm * (size[0] - 1), row_steps_mm * (size[1] - 1)
    own = np.stack([origins_mm, origins_mm + far_column, origins_mm + far_row, origins_mm + far_column + far_row], axis=1)
    centres = own.mean(axis=1)  # (slices, 3)
    number = np.arange(len(own), dtype=np.float64) - (len(own) - 1) / 2
    step = number @ centres / (number @ number)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = column_steps_mm.mean(axis=0), row_steps_mm.mean(axis=0), step
    middle = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2, (len(own) - 1) / 2])
    affine[:3, 3] = centres.mean(axis=0) - affine[:3, :3] @ middle
    picks = np.array([[[i, j, k] for j in (0, size[1] - 1) for i in (0, size[0] - 1)] for k in range(len(own))])
    residual_mm = float(np.linalg.norm(picks @ affine[:3, :3].T + affine[:3, 3] - own, axis=-1).max())
    return Geometry(corners_mm=own, kind=_kind(own, affine, size, residual_mm), residual_mm=residual_mm), affine


def steps_mm(geometry: Geometry) -> np.ndarray:
    """(slices - 1, 3): from each slice's centre to the next one's, in mm."""
    return np.diff(geometry.corners_mm.mean(axis=1), axis=0)


def step_multiples(geometry: Geometry) -> np.ndarray | None:
    """How many slice distances each step spans, e.g. [1, 1, 2, 1]; None where there is no usual step with multiples."""
    steps = steps_mm(geometry)
    lengths = np.linalg.norm(steps, axis=1)
    if lengths.min() <= 0:
        return None
    single = steps[lengths < 1.5 * lengths.min()].mean(axis=0)
    multiples = np.rint(lengths / np.linalg.norm(single))
    # both ends of a step may be off by the tolerance
    allowed_mm = 2 * regular_tolerance_mm(float(np.linalg.norm(single)))
    off_mm = np.linalg.norm(steps - multiples[:, None] * single, axis=1)
    mostly_single = int((multiples == 1).sum()) * 2 >= len(multiples)  # else the smallest step is the odd one
    return multiples.astype(int) if mostly_single and (off_mm <= allowed_mm).all() else None


def _kind(
    own: np.ndarray, affine: np.ndarray, size: tuple[int, int], residual_mm: float
) -> Literal["regular", "sheared", "gapped", "irregular"]:
    if residual_mm <= regular_tolerance_mm(float(np.linalg.norm(affine[:3, 2]))):
        sheared = shear_distance_mm(affine, (*size, len(own))) > SHEAR_MM
        return "sheared" if sheared else "regular"
    multiples = step_multiples(Geometry(corners_mm=own, kind="irregular", residual_mm=residual_mm))
    return "gapped" if multiples is not None and (multiples > 1).any() else "irregular"
