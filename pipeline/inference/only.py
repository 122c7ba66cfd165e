"""Some of a bundle's structures instead of all. What is left out becomes background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import UserError, nearest
from ..labels import LabelTable


def chosen_table(table: LabelTable, only: Sequence[str]) -> LabelTable:
    """The table of these structures alone; () keeps all.

    They keep the values that they have in the whole one. Of overlapping structures the value is the channel, so these are
    numbered anew, and one that is left alone overlaps nothing.

    Raises: UserError for a name that the table does not hold.
    """
    for name in only:
        if name not in table.names:
            raise UserError(f"'{name}' is not a structure of this bundle{nearest(name, table.names)}", where="--only")
    if not only:
        return table
    left = tuple(structure for structure in table.structures if structure.name in only)
    if not table.overlapping:
        return replace(table, structures=left)
    numbered = tuple(replace(structure, value=number) for number, structure in enumerate(left, 1))
    return LabelTable(structures=numbered, overlapping=len(left) > 1)


def keep_only(labels: np.ndarray, table: LabelTable, chosen: LabelTable) -> np.ndarray:
    """Labels in which nothing else is found, written where they stand; of overlapping structures, the channels chosen.

    Args:
        labels: uint8 (columns, rows, slices) of values, or (columns, rows, slices, structures), as `segment` returns them.
        table: that these labels follow.
        chosen: as `chosen_table` gives it.
    """
    if chosen == table:
        return labels
    if table.overlapping:
        channels = [table.names.index(name) for name in chosen.names]
        return labels[..., channels if chosen.overlapping else channels[0]]
    stays = np.full(256, table.background, dtype=np.uint8)
    stays[list(chosen.values)] = chosen.values
    for one in np.moveaxis(labels, 2, 0):  # slice by slice: the labels of a large scan are not held twice
        one[...] = stays[one]
    return labels
