"""Put one mask a structure together as a label table asks. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import Notice
from ..labels import LabelTable


def combine(masks: Sequence[np.ndarray], table: LabelTable, *, where: Path) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """One mask a structure of the table to the array that the table asks for.

    Args:
        masks: bool, (columns, rows, slices) each, in the order of the table.
    Returns: (columns, rows, slices, structures) for an overlapping table; else the values, where of two structures in one voxel
        the one that stands first in the table wins, counted in a notice.
    """
    if table.overlapping:
        return np.stack(masks, axis=-1).astype(np.uint8), ()
    array = np.full(masks[0].shape, table.background, dtype=np.uint8)
    taken, doubled = np.zeros(masks[0].shape, dtype=bool), 0
    for mask, structure in zip(masks, table.structures, strict=True):
        doubled += int((mask & taken).sum())
        array[mask & ~taken] = structure.value
        taken |= mask
    if not doubled:
        return array, ()
    sentence = f"{doubled} voxels belong to more than one structure: the first of the label table is taken"
    return array, (Notice(code="structures-overlap", sentence=sentence, where=where.name),)
