"""How much of each class the training cases hold. Knows nothing of losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..data.case_store import StoredCase
from ..data.census import value_counts
from ..io.geometry import voxel_ml
from ..labels import LabelTable
from ..network.decide import Head


def class_counts(cases: Sequence[StoredCase], table: LabelTable, head: Head) -> list[int]:
    """Pixels of each class of the head in these cases: background first for softmax, structures alone for sigmoid."""
    structures = range(1, len(table.structures) + 1)
    totals: Counter[float] = Counter()
    for case in cases:
        label = case.label
        if table.overlapping:  # (slices, structures, rows, columns)
            totals.update({float(number): int(np.count_nonzero(label[:, number - 1])) for number in structures})
        else:
            totals.update(value_counts(label))
    return [totals[float(number)] for number in (structures if head == "sigmoid" else (0, *structures))]


def volume_ranges_ml(cases: Sequence[StoredCase], table: LabelTable) -> dict[str, tuple[float, float]]:
    """Structure → its smallest and largest volume in these cases; 0 where one lacks it. On the network's grid."""
    volumes = np.array([case.voxels * voxel_ml(case.affine) for case in cases])  # (cases, structures)
    ends = zip(volumes.min(axis=0), volumes.max(axis=0), strict=True)
    return {name: (float(low), float(high)) for name, (low, high) in zip(table.names, ends, strict=True)}
