"""Put the frames of a DICOM segmentation on the grid of its series. Knows nothing of which structure is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from ..geometry import ras_from_lps
from ..orient import same_grid_tolerance_mm
from ..volume import Volume
from .elements import Damaged, get, integer, items, number, text
from .frames import Frame, frames_of
from .quiet import quiet
from .structures import Region

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

INSIDE_FRACTION = 0.5  # of the largest value: from where on a fractional segment counts as inside


def regions(dataset: Dataset) -> list[Region]:
    """The named segments, in the object's order."""
    return [
        Region(number=integer(item, "SegmentNumber", -1), name=text(item, "SegmentLabel") or text(item, "SegmentDescription"))
        for item in items(dataset, "SegmentSequence")
    ]


def fill_regions(dataset: Dataset, groups: Sequence[Sequence[Region]], like: Volume, *, where: Path) -> list[np.ndarray]:
    """For each group of segments their union on the grid of `like`.

    Frames may be cropped, flipped or turned by quarter turns against the image, and empty ones left out.

    Returns: bool (columns, rows, slices) per group.
    Raises: UserError when a frame does not lie on the image's grid (with the distance in mm), or the object is damaged.
    Source: PS3.3 C.8.20 (BINARY, FRACTIONAL and LABELMAP).
    """
    masks = [np.zeros(like.shape, dtype=bool) for _ in groups]
    owner = {region.number: masks[g] for g, group in enumerate(groups) for region in group}
    kind = text(dataset, "SegmentationType").upper()
    threshold = INSIDE_FRACTION * (number(dataset, "MaximumFractionalValue") or 255) if kind == "FRACTIONAL" else 1
    try:
        frames = frames_of(dataset, where, patient="")
    except Damaged as error:
        raise UserError(f"the segmentation is damaged ({error})", where=where, next="Export it again.") from error
    segments = [_segment(dataset, frame.index) for frame in frames]
    for frame, segment, pixels in zip(frames, segments, _pixels(dataset, frames, where), strict=True):
        numbers = sorted(set(np.unique(pixels).tolist()) & set(owner)) if kind == "LABELMAP" else [segment]
        for found in numbers:
            inside = pixels == found if kind == "LABELMAP" else pixels >= threshold
            if found in owner and inside.any():
                columns, rows, slices = _voxels(frame, inside, like, where)
                owner[found][columns, rows, slices] = True
    return masks


def _segment(dataset: Dataset, index: int) -> int:
    for groups in (
        items(dataset, "PerFrameFunctionalGroupsSequence")[index],
        *items(dataset, "SharedFunctionalGroupsSequence"),
    ):
        for item in items(groups, "SegmentIdentificationSequence"):
            return integer(item, "ReferencedSegmentNumber", -2)
    return -2


def _pixels(dataset: Dataset, frames: Sequence[Frame], where: Path) -> list[np.ndarray]:
    """(rows, columns) of every frame; one after the other where the object is large."""
    rows, columns, count = integer(dataset, "Rows"), integer(dataset, "Columns"), len(frames)
    bits = integer(dataset, "BitsAllocated")
    data = get(dataset, "PixelData")
    syntax = frames[0].transfer_syntax
    available = len(data) * 8 if isinstance(data, bytes) else 0
    packed = syntax.startswith("1.2.840.10008.1.2.4") or syntax == "1.2.840.10008.1.2.5"
    if not available or (not packed and available < rows * columns * count * bits):
        what = f"the segmentation is truncated: {available // 8} of {rows * columns * count * bits // 8} bytes are there"
        raise UserError(what, where=where, next="Export or copy it again.")
    try:
        with quiet():
            array = np.asarray(dataset.pixel_array)
    except MemoryError:
        raise
    except Exception as error:  # every decoder has its own errors for a damaged stream
        raise UserError(f"the segmentation cannot be decoded ({type(error).__name__})", where=where) from error
    return list(array.reshape(count, rows, columns))


def _voxels(frame: Frame, inside: np.ndarray, like: Volume, where: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices in `like` of the pixels that are inside. Raises: UserError when the frame's pixels are not voxels of `like`."""
    if frame.missing or frame.position is None or frame.orientation is None or frame.pixel_spacing is None:
        raise UserError(f"{frame.missing} is missing in frame {frame.index + 1}", where=where)
    between_rows, between_columns = frame.pixel_spacing
    first = ras_from_lps(np.array(frame.position))
    column_step = ras_from_lps(np.array(frame.orientation[:3])) * between_columns
    row_step = ras_from_lps(np.array(frame.orientation[3:])) * between_rows
    row, column = np.nonzero(inside)
    points = first + column[:, None] * column_step + row[:, None] * row_step
    voxel_from_ras = np.linalg.inv(like.affine)
    index = points @ voxel_from_ras[:3, :3].T + voxel_from_ras[:3, 3]
    nearest = np.rint(index).astype(int)
    off_mm = float(np.linalg.norm((index - nearest) @ like.affine[:3, :3].T, axis=1).max())
    # slices may jitter: a SEG lies on them, not on the grid
    own_mm = like.source.geometry.residual_mm if like.source.geometry else 0.0
    if off_mm > same_grid_tolerance_mm(like.affine) + own_mm:
        what = f"frame {frame.index + 1} does not lie on the image's grid: pixels miss the voxels by up to {off_mm:.2f} mm"
        raise UserError(what, where=where, next="Export the segmentation on the grid of this series.")
    if (nearest < 0).any() or (nearest >= like.shape).any():
        raise UserError(f"frame {frame.index + 1} marks voxels outside the image", where=where, next="Is it the right series?")
    return nearest[:, 0], nearest[:, 1], nearest[:, 2]
