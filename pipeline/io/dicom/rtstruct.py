"""Fill the contours of an RTSTRUCT on the slices of its series. Knows nothing of which structure is wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import Notice, UserError
from ..geometry import ras_from_lps
from ..volume import Volume
from .elements import get, integer, items, text, unreadable
from .frames import FARTHEST_MM
from .structures import Region

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ON_SLICE_FRACTION = 0.1  # of the slice distance: contours are written with few digits
OUTSIDE_SLICES = 0.5  # beyond the first and last slice by more than this: not on this stack at all
ROUNDING_VOXELS = 1e-6  # a vertex on a pixel's centre must not depend on the last bit
SAME_VOXELS = 1e-4  # two contours whose points differ by less are one
EDGES_AT_ONCE = 4096  # times the rows that each may cross: bounded memory for any number of points
AGAIN = "Export the structures again."
ON_THE_SLICES = "Export the structures on the slices of this series."
FILLED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(slots=True)
class LeftOut:
    """Contours that add nothing to the mask."""

    beyond: int = 0  # above or below the stack
    between: int = 0  # between two slices that have their own
    farthest_mm: float = 0.0  # of those, from the nearest slice
    open: int = 0  # points and lines
    twice: int = 0
    empty: list[str] = field(default_factory=list)  # regions without any contour on the stack


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
    contour inside another is a hole. The same contour twice counts once. A contour between two slices that both carry
    contours of its region adds nothing and is left out.

    Args:
        like: the image; sheared grids are fine.
    Returns: bool (columns, rows, slices), and notices about all that was left out.
    Raises: UserError when a contour lies between slices that do not both have one, is not parallel to them, or is damaged.
    Source: PS3.3 C.8.8.6 (contours in the patient's coordinates).
    """
    if wanted and not items(dataset, "ROIContourSequence"):
        raise UserError("there are no contours in it (ROIContourSequence is missing or damaged)", where=where, next=AGAIN)
    mask = np.zeros(like.shape, dtype=bool)
    left_out = LeftOut()
    for region in wanted:
        drawn = _drawn(dataset, region, like, left_out, where)
        if not any(drawn.values()):
            left_out.empty.append(region.name)
        for k, polygons in drawn.items():
            mask[:, :, k] |= filled(polygons, like.shape[:2])
    return mask, _notices(left_out, [r.name for r in wanted], where)


def _drawn(dataset: Dataset, region: Region, like: Volume, left_out: LeftOut, where: Path) -> dict[int, list[np.ndarray]]:
    """The region's polygons by slice: (points, 2) each, column and row index."""
    voxel_from_ras = np.linalg.inv(like.affine)
    drawn: dict[int, list[np.ndarray]] = {}
    known: set[tuple[int, bytes]] = set()
    between: list[float] = []
    for contour in _contours(dataset, region, where):
        if text(contour, "ContourGeometricType").upper() not in FILLED:
            left_out.open += 1
            continue
        points = _points(contour, region, where) @ voxel_from_ras[:3, :3].T + voxel_from_ras[:3, 3]
        height = _height(points, region, like, where)
        k = round(height)
        if height < -OUTSIDE_SLICES or height > like.shape[2] - 1 + OUTSIDE_SLICES:
            left_out.beyond += 1
        elif abs(height - k) > ON_SLICE_FRACTION or not 0 <= k < like.shape[2]:
            between.append(height)
        elif (k, stamp := _stamp(points[:, :2])) in known:
            left_out.twice += 1
        else:
            known.add((k, stamp))
            drawn.setdefault(k, []).append(points[:, :2])
    for height in between:
        off_mm = abs(height - round(height)) * like.spacing_mm[2]
        if not {math.floor(height), math.ceil(height)} <= drawn.keys():
            apart = f"they are {like.spacing_mm[2]:.2f} mm apart"
            what = f"a contour of '{region.name}' lies {off_mm:.2f} mm from the nearest slice ({apart})"
            raise UserError(what, where=where, next=ON_THE_SLICES)
        left_out.between += 1
        left_out.farthest_mm = max(left_out.farthest_mm, off_mm)
    return drawn


def _stamp(polygon: np.ndarray) -> bytes:
    """Equal for two polygons of the same points, wherever they begin and whichever way they run."""
    rounded = np.round(polygon / SAME_VOXELS) + 0.0  # no negative zeros
    return rounded[np.lexsort(rounded.T)].tobytes()


def filled(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre lies inside an odd number of polygons.

    Args:
        polygons: (points, 2) each: column and row index, fractions allowed, closed by themselves.
        size: (columns, rows).
    Returns: bool (columns, rows). A centre on an edge counts on the polygon's low side only, so that neighbours never share it.
    """
    columns, rows = size
    crossings = np.zeros((columns + 1) * rows, dtype=np.int64)
    for polygon in polygons:
        start = np.round(polygon / ROUNDING_VOXELS) * ROUNDING_VOXELS
        end = np.roll(start, -1, axis=0)
        for k in range(0, len(start), EDGES_AT_ONCE):
            column, row = _crossed(start[k : k + EDGES_AT_ONCE], end[k : k + EDGES_AT_ONCE], size)
            crossings += np.bincount(column * rows + row, minlength=len(crossings))
    return np.asarray(np.cumsum(crossings.reshape(columns + 1, rows), axis=0)[:columns] % 2 == 1)


def _crossed(start: np.ndarray, end: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """For every edge and every row of pixel centres that it crosses: the first column right of it, and the row."""
    columns, rows = size
    least, most = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    low, high = np.ceil(np.clip(least, 0, rows)).astype(int), np.ceil(np.clip(most, 0, rows)).astype(int)
    counts = high - low
    edge = np.repeat(np.arange(len(start)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts - low, counts)
    (x0, y0), (x1, y1) = start[edge].T, end[edge].T
    x = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
    return np.ceil(np.clip(x - ROUNDING_VOXELS, 0, columns)).astype(int), row


def _contours(dataset: Dataset, region: Region, where: Path) -> list[Dataset]:
    found: list[Dataset] = []
    for item in items(dataset, "ROIContourSequence"):
        if integer(item, "ReferencedROINumber", -2) not in (region.number, -2):
            continue
        if integer(item, "ReferencedROINumber", -2) == -2 or unreadable(item, "ContourSequence", sequence=True):
            raise UserError(f"the contours of '{region.name}' are damaged", where=where, next=AGAIN)
        found += items(item, "ContourSequence")
    return found


def _points(contour: Dataset, region: Region, where: Path) -> np.ndarray:
    """(points, 3), RAS mm."""
    try:
        values = np.array(get(contour, "ContourData") or (), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"a contour of '{region.name}' holds text instead of numbers", where=where, next=AGAIN) from error
    if values.ndim != 1 or len(values) < 9 or len(values) % 3 or not np.isfinite(values).all():
        what = f"a contour of '{region.name}' has {values.size} coordinates, not three each of 3 points or more"
        raise UserError(what, where=where, next=AGAIN)
    if np.abs(values).max() > FARTHEST_MM:
        raise UserError(f"a contour of '{region.name}' lies {np.abs(values).max():.3g} mm away", where=where, next=AGAIN)
    return ras_from_lps(values.reshape(-1, 3))


def _height(points: np.ndarray, region: Region, like: Volume, where: Path) -> float:
    """Where the contour lies along the slices, counted in slices. Raises: UserError when it is not parallel to them."""
    height, thickness = points[:, 2], like.spacing_mm[2]
    spread_mm = float(height.max() - height.min()) * thickness
    if spread_mm > 2 * ON_SLICE_FRACTION * thickness:
        what = f"a contour of '{region.name}' is not parallel to the slices (it spans {spread_mm:.2f} mm across them)"
        raise UserError(what, where=where, next=ON_THE_SLICES)
    return float(height.mean())


def _notices(left_out: LeftOut, names: Sequence[str], where: Path) -> tuple[Notice, ...]:
    listed = ", ".join(names)
    said = {
        "contours-beyond": left_out.beyond
        and f"{left_out.beyond} contours of {listed} lie above or below the series and are left out",
        "contours-between": left_out.between
        and f"{left_out.between} contours of {listed} lie up to {left_out.farthest_mm:.2f} mm off the slices, between "
        "two that have their own, and are left out",
        "contours-open": left_out.open and f"{left_out.open} points or open lines of {listed} enclose nothing and are left out",
        "contours-twice": left_out.twice and f"{left_out.twice} contours of {listed} are there twice and count once",
        "structure-empty": left_out.empty and f"no contour on this series: {', '.join(left_out.empty)}",
    }
    return tuple(Notice(code=code, sentence=sentence, where=where.name) for code, sentence in said.items() if sentence)
