"""Put labels onto another grid of the same patient, by the nearest voxel in mm. Knows nothing of files or learning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..errors import Notice, UserError, listed
from .geometry import voxel_ml
from .volume import Volume

TIE_VOXEL = 1e-3  # half way between two voxels the higher index is taken; headers in 32 bits miss the half by less than this
LEAST_INSIDE = 0.5  # of the labelled voxels: with less inside, the reference shows another part of the body, or another body
LEAST_COVERED = 0.5  # of the reference, by a mask that marks nothing: nobody could otherwise tell that it belongs here
MOST_VALUES = 256  # different ones; more is a picture, not labels
LISTED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much of one label there was, and how much there is on the other grid."""

    name: str  # "label 3", or "channel 2" of a mask with channels
    voxels_before: int
    voxels_outside: int  # of those before: their centres lie outside of the reference
    voxels_after: int
    ml_before: float
    ml_outside: float
    ml_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """Labels on the other grid, with what became of each; `labels.source.notices` says what is worth a word."""

    labels: Volume
    amounts: tuple[Amount, ...]
    covered_fraction: float  # of the reference's voxels, by the mask's grid; the rest is taken as background


def resample_labels(mask: Volume, *, affine: np.ndarray, shape: tuple[int, int, int], name: str) -> Resampled:
    """Each voxel of the other grid takes the value of the mask's voxel in which its centre lies; 0 outside of the mask.

    Nothing is interpolated. Grids that differ by the order or direction of their axes alone give the same voxels. It takes the
    memory of the result and of one slice.

    Args:
        mask: whole numbers, (columns, rows, slices), or with channels of 0 and not 0 behind.
        affine, shape: of the other grid, which may be oblique or sheared.
        name: of the reference, for messages.
    Raises: UserError when the values are no labels, or when less than half of the labelled voxels lie in the reference (of a
        mask that marks nothing: when its grid covers less than half of the reference).
    """
    _refuse_picture(mask)
    mask_from_like = np.linalg.inv(mask.affine) @ affine
    array = np.zeros((*shape, *mask.array.shape[3:]), dtype=mask.array.dtype, order="F")
    covered = 0
    for k, index, inside in _nearest(mask_from_like, shape, mask.shape):
        array[:, :, k][inside] = mask.array[tuple(index[:, inside])]
        covered += int(inside.sum())
    amounts = _amounts(mask, array, affine, _counts_inside(mask, np.linalg.inv(mask_from_like), shape))
    covered_fraction = covered / int(np.prod(shape))
    _refuse_elsewhere(mask, amounts, covered_fraction, name)
    source = replace(mask.source, notices=(*mask.source.notices, *_notices(amounts, covered_fraction, name)))
    labels = Volume(array=array, affine=affine, source=source)
    return Resampled(labels=labels, amounts=amounts, covered_fraction=covered_fraction)


def _nearest(
    source_from_target: np.ndarray, shape: tuple[int, int, int], source_shape: tuple[int, int, int]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For each slice of the target its number, the source's index (3, columns, rows), and where that is inside."""
    columns, rows = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    turn, origin = source_from_target[:3, :3], source_from_target[:3, 3] + 0.5 + TIE_VOXEL
    plane = np.stack([turn[a, 0] * columns + turn[a, 1] * rows + origin[a] for a in range(3)])  # (3, columns, rows)
    last = np.array(source_shape)[:, None, None]
    for k in range(shape[2]):
        index = np.floor(plane + turn[:, 2, None, None] * k)
        yield k, index.astype(np.intp), np.asarray(((index >= 0) & (index < last)).all(axis=0))


def _counts_inside(mask: Volume, like_from_mask: np.ndarray, shape: tuple[int, int, int]) -> dict[int, int]:
    """For each label how many of its voxels have their centre in the other grid."""
    counts: dict[int, int] = {}
    turn, origin = like_from_mask[:3, :3], like_from_mask[:3, 3] + 0.5 + TIE_VOXEL
    for k in range(mask.shape[2]):
        plane = mask.array[:, :, k]
        places = np.nonzero(plane)  # (columns, rows[, channels]) of what is labelled: much less than all
        index = np.floor(turn[:, :2] @ np.stack(places[:2]) + (turn[:, 2] * k + origin)[:, None])
        inside = ((index >= 0) & (index < np.array(shape)[:, None])).all(axis=0)
        _count_into(counts, (places[2] + 1 if mask.array.ndim == 4 else plane[places])[inside])
    return counts


def _counts(array: np.ndarray) -> dict[int, int]:
    """How many voxels each value but 0 has (of an array with channels: each channel, from 1)."""
    counts: dict[int, int] = {}
    for k in range(array.shape[2]):
        plane = array[:, :, k]
        _count_into(counts, np.nonzero(plane)[2] + 1 if array.ndim == 4 else plane[plane != 0])
    return counts


def _count_into(counts: dict[int, int], values: np.ndarray) -> None:
    for value, count in zip(*(found.tolist() for found in np.unique(values, return_counts=True)), strict=True):
        counts[value] = counts.get(value, 0) + count


def _amounts(mask: Volume, array: np.ndarray, affine: np.ndarray, inside: dict[int, int]) -> tuple[Amount, ...]:
    before, after = _counts(mask.array), _counts(array)
    ml_before, ml_after = mask.voxel_ml, voxel_ml(affine)
    kind = "channel" if array.ndim == 4 else "label"
    return tuple(
        Amount(
            name=f"{kind} {value}",
            voxels_before=count,
            voxels_outside=count - inside.get(value, 0),
            voxels_after=after.get(value, 0),
            ml_before=count * ml_before,
            ml_outside=(count - inside.get(value, 0)) * ml_before,
            ml_after=after.get(value, 0) * ml_after,
        )
        for value, count in sorted(before.items())
    )


def _refuse_picture(mask: Volume) -> None:
    if mask.array.dtype.kind not in "iub":
        raise ValueError(f"labels are whole numbers, not {mask.array.dtype}")
    values: set[int] = set()
    for k in range(mask.shape[2]):
        values.update(np.unique(mask.array[:, :, k]).tolist())
        if len(values) > MOST_VALUES:
            what = f"there are more than {MOST_VALUES} different values, from {min(values)} to {max(values)}: this is no mask"
            next = "--like is for labels; a grey image must be interpolated, which another program does."
            raise UserError(what, where=mask.source.path, next=next)


def _refuse_elsewhere(mask: Volume, amounts: tuple[Amount, ...], covered_fraction: float, name: str) -> None:
    before, outside = sum(a.voxels_before for a in amounts), sum(a.voxels_outside for a in amounts)
    next = "Give the image that the mask was drawn on, or one of the same place in the same patient."
    if before and before - outside < LEAST_INSIDE * before:
        share = f"{(before - outside) / before:.1%} of the labelled voxels"
        millilitres = f"{sum(a.ml_before - a.ml_outside for a in amounts):.4g} of {sum(a.ml_before for a in amounts):.4g} ml"
        what = f"only {share} ({millilitres}) lie in {name}; {LEAST_INSIDE:.0%} are needed"
        raise UserError(what, where=mask.source.path, next=next)
    if not before and covered_fraction < LEAST_COVERED:
        what = (
            f"the mask marks nothing, and its grid covers only {covered_fraction:.1%} of {name}; {LEAST_COVERED:.0%} are needed"
        )
        raise UserError(what, where=mask.source.path, next=next)


def _notices(amounts: tuple[Amount, ...], covered_fraction: float, name: str) -> tuple[Notice, ...]:
    found = []
    if covered_fraction < 1:
        sentence = f"the mask's grid does not reach {1 - covered_fraction:.1%} of {name}: taken as background (0) there"
        found.append(Notice(code="reference-not-covered", sentence=sentence))
    outside = [f"{a.name}: {a.ml_outside:.4g} ml" for a in amounts if a.voxels_outside]
    if outside:
        sentence = f"lies outside of {name} and is lost: {listed(outside, LISTED)}"
        found.append(Notice(code="labels-outside", sentence=sentence))
    gone = [a.name for a in amounts if not a.voxels_after and a.voxels_outside < a.voxels_before]
    if gone:
        sentence = f"too small for the voxels of {name}, nothing is left: {listed(gone, LISTED)}"
        found.append(Notice(code="labels-vanished", sentence=sentence))
    return tuple(found)
