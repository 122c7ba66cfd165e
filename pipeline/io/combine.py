"""Put volumes of one grid together: masks as a label table asks, images as channels. Reads no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import Notice, UserError
from ..labels import LabelTable
from .orient import grid_difference
from .volume import Volume


def as_channels(volumes: Sequence[Volume]) -> Volume:
    """The first volume with all of them on its fourth axis; a single one comes back as it is.

    Raises: UserError where one has channels of its own, or does not lie on the first one's grid (with the distance in mm).
    """
    first = volumes[0]
    if len(volumes) == 1:
        return first
    for other in volumes:
        if other.array.ndim != 3:
            raise UserError("has channels of its own: several files must be one channel each", where=other.source.path)
        difference = grid_difference(other.array, other.affine, first.shape, first.affine)
        if difference:
            what = f"the channel does not lie on the grid of {first.source.path.name}: {difference}"
            raise UserError(what, where=other.source.path, next="Resample the channels of a case to one grid.")
    return replace(first, array=np.stack([volume.array for volume in volumes], axis=-1))


def combine(masks: Sequence[np.ndarray], table: LabelTable, *, where: Path) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """One mask a structure of the table to the array that the table asks for.

    Args:
        masks: bool, (columns, rows, slices) each, in the order of the table.
    Returns: (columns, rows, slices, structures) for an overlapping table; else the values, where of two structures in one voxel
        the one that stands first in the table wins; a notice counts the voxels of each pair.
    """
    if table.overlapping:
        return np.stack(masks, axis=-1).astype(np.uint8), ()
    array = np.full(masks[0].shape, table.background, dtype=np.uint8)
    taken = np.zeros(masks[0].shape, dtype=bool)
    shared: list[str] = []
    for k, (mask, structure) in enumerate(zip(masks, table.structures, strict=True)):
        if (mask & taken).any():
            pairs = ((name, int((mask & other).sum())) for name, other in zip(table.names[:k], masks[:k], strict=True))
            shared += [f"{count} in both {name} and {structure.name}" for name, count in pairs if count]
        array[mask & ~taken] = structure.value
        taken |= mask
    if not shared:
        return array, ()
    sentence = f"structures overlap, and the first of the label table is taken; voxels: {', '.join(shared)}"
    return array, (Notice(code="structures-overlap", sentence=sentence, where=where.name),)
