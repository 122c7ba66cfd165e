"""Put the frames of a DICOM segmentation on the grid of its series. Knows nothing of which structure is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import Notice, UserError
from ..geometry import ras_from_lps
from ..orient import same_grid_tolerance_mm
from ..volume import Volume
from .elements import Damaged, get, integer, items, numbers, text
from .frames import Frame, frames_of
from .native import NATIVE
from .pixels import stored_frames
from .quiet import quiet
from .structures import Region

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

AGAIN = "Export the segmentation again."
INSIDE_FRACTION = 0.5  # of the largest value: from where on a fractional segment counts as inside


def regions(dataset: Dataset) -> list[Region]:
    """The named segments, in the object's order."""
    return [
        Region(number=integer(item, "SegmentNumber", -1), name=text(item, "SegmentLabel") or text(item, "SegmentDescription"))
        for item in items(dataset, "SegmentSequence")
    ]


def fill_regions(
    dataset: Dataset, groups: Sequence[Sequence[Region]], like: Volume, *, where: Path
) -> tuple[list[np.ndarray], tuple[Notice, ...]]:
    """For each group of segments their union on the grid of `like`.

    Frames may be cropped, flipped or turned by quarter turns against the image, and empty ones left out.

    Returns: bool (columns, rows, slices) per group, and a notice with the threshold of a fractional object.
    Raises: UserError when a frame does not lie on the image's grid (with the distance in mm), or the object is damaged.
    Source: PS3.3 C.8.20 (BINARY, FRACTIONAL and LABELMAP).
    """
    masks = [np.zeros(like.shape, dtype=bool) for _ in groups]
    owner = {region.number: masks[g] for g, group in enumerate(groups) for region in group}
    kind = text(dataset, "SegmentationType").upper()
    least, notices = _threshold(dataset, kind, where)
    try:
        frames = frames_of(dataset, where, patient="")
    except Damaged as error:
        raise UserError(f"the segmentation is damaged ({error})", where=where, next=AGAIN) from error
    first = frames[0]
    if first.unreadable or first.samples != 1 or not 1 <= first.bits_stored <= first.bits_allocated:
        reasons = ", ".join(first.unreadable) or "SamplesPerPixel, BitsStored"
        raise UserError(f"the segmentation is damaged ({reasons})", where=where, next=AGAIN)
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    if not per_frame:
        raise UserError("the segmentation does not say where its frames lie", where=where, next=AGAIN)
    shared = items(dataset, "SharedFunctionalGroupsSequence")
    for frame, group, pixels in zip(frames, per_frame, _pixels(dataset, frames, where), strict=True):
        present = set(np.unique(pixels).tolist()) if kind == "LABELMAP" else {_segment((group, *shared), frame, where)}
        for found in sorted(present & owner.keys()):
            inside = pixels == found if kind == "LABELMAP" else pixels >= least
            if inside.any():
                columns, rows, slices = _voxels(frame, inside, like, where)
                owner[found][columns, rows, slices] = True
    empty = [r.name for group, mask in zip(groups, masks, strict=True) for r in group if not mask.any()]
    if empty:
        sentence = f"no voxel on this series: {', '.join(empty)}"
        notices = (*notices, Notice(code="structure-empty", sentence=sentence, where=where.name))
    return masks, notices


def _threshold(dataset: Dataset, kind: str, where: Path) -> tuple[float, tuple[Notice, ...]]:
    """From which stored value on a pixel is inside, and what to say about it."""
    if kind in ("BINARY", "LABELMAP"):
        return 1, ()
    if kind != "FRACTIONAL":
        raise UserError(f"the segmentation is of an unknown type ('{kind}')", where=where, next=AGAIN)
    most = numbers(dataset, "MaximumFractionalValue", 1)
    if most is None or most[0] < 1:
        raise UserError("MaximumFractionalValue is missing or unreadable in a fractional segmentation", where=where, next=AGAIN)
    least = INSIDE_FRACTION * most[0]
    sentence = f"fractional segmentation: a voxel counts as inside from {least:g} of {most[0]:g} on"
    return least, (Notice(code="fractional", sentence=sentence, where=where.name),)


def _segment(groups: Sequence[Dataset], frame: Frame, where: Path) -> int:
    """The number of the frame's segment, per-frame groups first."""
    for group in groups:
        for item in items(group, "SegmentIdentificationSequence"):
            if (number := integer(item, "ReferencedSegmentNumber", -1)) > 0:
                return number
    raise UserError(f"frame {frame.index + 1} of the segmentation names no segment", where=where, next=AGAIN)


def _pixels(dataset: Dataset, frames: Sequence[Frame], where: Path) -> Iterator[np.ndarray]:
    """(rows, columns) of every frame, one after the other."""
    if frames[0].transfer_syntax not in (*NATIVE, ""):
        yield from stored_frames(where, frames)  # by a worker, or refused by the name of the transfer syntax
        return
    from pydicom.pixels import get_decoder

    data, first = get(dataset, "PixelData"), frames[0]
    expected = (first.rows * first.columns * len(frames) * first.bits_allocated + 7) // 8
    available = len(data) if isinstance(data, bytes) else 0
    if available < expected or not expected:
        what = f"the segmentation is truncated: {available} of {expected} bytes are there"
        raise UserError(what, where=where, next="Export or copy it again.")
    if available > expected + 1:
        what = f"there are {available} bytes of pixels, the header says {expected}"
        raise UserError(what, where=where, next="The header and the pixels do not belong together: export it again.")
    if first.bits_allocated == 1:
        if not dataset.original_encoding[1]:
            raise UserError("single bits in big endian order are not read", where=where, next="Export it as little endian.")
        yield from _bits(bytes(dataset["PixelData"].value), frames)
        return
    for frame in frames:
        try:
            with quiet():
                pixels, _ = get_decoder(first.transfer_syntax or NATIVE[0]).as_array(dataset, index=frame.index, raw=True)
        except Exception as error:  # whatever pydicom finds wrong with the header
            raise UserError(f"the segmentation cannot be decoded ({type(error).__name__})", where=where, next=AGAIN) from error
        if pixels.shape != (frame.rows, frame.columns):
            what = f"the segmentation's pixels are {pixels.shape}, its header says {(frame.rows, frame.columns)}"
            raise UserError(what, where=where, next=AGAIN)
        yield pixels


def _bits(data: bytes, frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """Frames of single bits, packed without a gap between them, lowest bit first (PS3.5 8.2 and D.1)."""
    size = frames[0].rows * frames[0].columns
    for frame in frames:
        begin = frame.index * size
        part = np.frombuffer(data[begin // 8 : (begin + size + 7) // 8], dtype=np.uint8)
        bits = np.unpackbits(part, bitorder="little")[begin % 8 : begin % 8 + size]
        yield bits.reshape(frame.rows, frame.columns)


def _voxels(frame: Frame, inside: np.ndarray, like: Volume, where: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices in `like` of the pixels that are inside. Raises: UserError when the frame's pixels are not voxels of `like`."""
    if frame.missing or frame.position is None or frame.orientation is None or frame.pixel_spacing is None:
        raise UserError(f"{frame.missing} is missing in frame {frame.index + 1}", where=where, next=AGAIN)
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
