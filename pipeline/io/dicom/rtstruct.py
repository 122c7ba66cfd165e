"""Fill the contours of an RTSTRUCT on the slices of its series. Knows nothing of which structure is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import Notice, UserError
from ..geometry import ras_from_lps
from ..volume import Volume
from .elements import get, integer, items, text
from .structures import Region

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ON_SLICE_FRACTION = 0.1  # of the slice distance: contours are written with few digits
OUTSIDE_SLICES = 0.5  # beyond the first and last slice by more than this: not on this stack at all
ROUNDING_VOXELS = 1e-6  # a vertex on a pixel's centre must not depend on the last bit
FILLED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def regions(dataset: Dataset) -> list[Region]:
    """The named regions, in the object's order."""
    return [
        Region(number=integer(item, "ROINumber", -1), name=text(item, "ROIName"))
        for item in items(dataset, "StructureSetROISequence")
    ]


def fill_regions(
    dataset: Dataset, wanted: Sequence[Region], like: Volume, *, where: Path
) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """The union of some regions on the grid of `like`.

    A voxel belongs to a region when its centre lies inside an odd number of the region's contours on its slice, so that a
    contour inside another is a hole.

    Args:
        like: the image; sheared grids are fine.
    Returns: bool (columns, rows, slices), and notices about contours beyond the stack and about points and open lines.
    Raises: UserError when a contour lies between slices or is not parallel to them.
    Source: PS3.3 C.8.8.6 (contours in the patient's coordinates).
    """
    mask = np.zeros(like.shape, dtype=bool)
    voxel_from_ras = np.linalg.inv(like.affine)
    beyond, unfilled = 0, 0
    for region in wanted:
        toggles: dict[int, list[np.ndarray]] = {}
        for contour in _contours(dataset, region.number):
            if text(contour, "ContourGeometricType").upper() not in FILLED:
                unfilled += 1
                continue
            points = _points(contour, region, where) @ voxel_from_ras[:3, :3].T + voxel_from_ras[:3, 3]
            k = _slice_of(points, region, like, where)
            if k is None:
                beyond += 1
            else:
                toggles.setdefault(k, []).append(points[:, :2])
        for k, polygons in toggles.items():
            mask[:, :, k] |= filled(polygons, like.shape[:2])
    return mask, _notices(beyond, unfilled, [r.name for r in wanted], where)


def filled(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre lies inside an odd number of polygons.

    Args:
        polygons: (points, 2) each: column and row index, fractions allowed, closed by themselves.
        size: (columns, rows).
    Returns: bool (columns, rows). A centre on an edge counts on the polygon's low side only, so that neighbours never share it.
    """
    columns, rows = size
    crossings = np.zeros((columns + 1, rows), dtype=np.int32)
    for polygon in polygons:
        start = np.round(polygon / ROUNDING_VOXELS) * ROUNDING_VOXELS
        end = np.roll(start, -1, axis=0)
        for (x0, y0), (x1, y1) in zip(start, end, strict=True):
            low, high = max(int(np.ceil(min(y0, y1))), 0), min(int(np.ceil(max(y0, y1))), rows)
            if low >= high:
                continue
            row = np.arange(low, high)
            x = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
            column = np.clip(np.ceil(x - ROUNDING_VOXELS), 0, columns).astype(int)
            np.add.at(crossings, (column, row), 1)
    return np.asarray(np.cumsum(crossings, axis=0)[:columns] % 2 == 1)


def _contours(dataset: Dataset, number: int) -> list[Dataset]:
    return [
        contour
        for item in items(dataset, "ROIContourSequence")
        if integer(item, "ReferencedROINumber", -2) == number
        for contour in items(item, "ContourSequence")
    ]


def _points(contour: Dataset, region: Region, where: Path) -> np.ndarray:
    """(points, 3), RAS mm."""
    try:
        values = np.array(get(contour, "ContourData") or (), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"a contour of '{region.name}' holds text instead of numbers", where=where) from error
    if len(values) < 9 or len(values) % 3 or not np.isfinite(values).all():
        raise UserError(
            f"a contour of '{region.name}' has {len(values)} coordinates, not three each of 3 points or more", where=where
        )
    return ras_from_lps(values.reshape(-1, 3))


def _slice_of(points: np.ndarray, region: Region, like: Volume, where: Path) -> int | None:
    """The slice that a contour lies on; None when it lies beyond the stack."""
    height, thickness = points[:, 2], like.spacing_mm[2]
    middle = float(height.mean())
    spread_mm = float(height.max() - height.min()) * thickness
    next_step = "Export the structures on the slices of this series."
    if spread_mm > 2 * ON_SLICE_FRACTION * thickness:
        what = f"a contour of '{region.name}' is not parallel to the slices (it spans {spread_mm:.2f} mm across them)"
        raise UserError(what, where=where, next=next_step)
    if middle < -OUTSIDE_SLICES or middle > like.shape[2] - 1 + OUTSIDE_SLICES:
        return None
    k = round(middle)
    off_mm = float(np.abs(height - k).max()) * thickness
    if off_mm > ON_SLICE_FRACTION * thickness or not 0 <= k < like.shape[2]:
        what = f"a contour of '{region.name}' lies {off_mm:.2f} mm from the nearest slice (they are {thickness:.2f} mm apart)"
        raise UserError(what, where=where, next=next_step)
    return k


def _notices(beyond: int, unfilled: int, names: Sequence[str], where: Path) -> tuple[Notice, ...]:
    found = []
    listed = ", ".join(names)
    if beyond:
        sentence = f"{beyond} contours of {listed} lie above or below the series and are left out"
        found.append(Notice(code="contours-beyond", sentence=sentence, where=where.name))
    if unfilled:
        sentence = f"{unfilled} points or open lines of {listed} enclose nothing and are left out"
        found.append(Notice(code="contours-open", sentence=sentence, where=where.name))
    return tuple(found)
