"""Some structures of a table alone: values and channels say what they said before."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.inference.only import chosen_table, keep_only
from pipeline.labels import LabelTable, label_table

NAMES = {"background": 5, "liver": 0, "spleen": 200, "tumour": 255}


@pytest.mark.parametrize("overlapping", [False, True])
def test_two_of_three(overlapping: bool) -> None:
    table = label_table({"liver": 1, "spleen": 2, "tumour": 3} if overlapping else NAMES, overlapping=overlapping)
    chosen = chosen_table(table, ["tumour", "liver"])  # in the table's order, whatever the user's
    assert chosen.names == ("liver", "tumour") and chosen.values == ((1, 2) if overlapping else (0, 255))
    random = np.random.default_rng(0)
    shape = (4, 5, 6)
    labels = (
        random.integers(0, 2, (*shape, 3), dtype=np.uint8) if overlapping else random.choice(np.uint8([5, 0, 200, 255]), shape)
    )
    before = labels.copy()
    after = keep_only(labels, table, chosen)
    for name in chosen.names:
        assert np.array_equal(mask(after, chosen, name), mask(before, table, name))
    if not overlapping:
        assert set(np.unique(after)) == {0, 5, 255}


def mask(labels: np.ndarray, table: LabelTable, name: str) -> np.ndarray:
    place = table.names.index(name)
    return labels[..., place] == 1 if table.overlapping else labels == table.values[place]
