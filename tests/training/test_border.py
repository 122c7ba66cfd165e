"""The paper's border weights against numbers worked out by hand, and against distances pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist

from pipeline.training.border import WithBorder, border_weights


def paper(mask: np.ndarray) -> np.ndarray:
    return border_weights(mask, weight=10, sigma_px=5)


def test_between_two_cells_it_is_what_the_formula_says():
    mask = np.zeros((5, 9), dtype=np.uint8)
    mask[:, 1] = mask[:, 5] = 1
    row = paper(mask)[2]
    # 10 exp(-16 / 50) where the distances are 1 and 3 or 2 and 2; 10 exp(-36 / 50) at 1 and 5; 10 exp(-64 / 50) at 1 and 7 ...
    assert row[[2, 3, 4]] == pytest.approx([7.261490] * 3, abs=1e-5)
    assert row[[0, 6]] == pytest.approx([4.867523] * 2, abs=1e-5)
    assert row[[1, 5]].tolist() == [0, 0]


def test_distances_are_straight_lines():
    mask = np.zeros((4, 5), dtype=np.uint8)
    mask[0, 0] = mask[3, 4] = 1
    assert paper(mask)[0, 4] == pytest.approx(3.753111, abs=1e-5)  # 4 and 3 px: 10 exp(-49 / 50)


def test_one_cell_alone_has_no_border_to_another():
    mask = np.zeros((9, 9), dtype=np.uint8)
    assert not paper(mask).any()
    mask[3:6, 3:6] = 1
    assert not paper(mask).any()


def test_cells_that_touch_at_a_corner_or_have_different_values_are_two():
    corner, values = np.zeros((2, 6, 6), dtype=np.uint8)
    corner[1, 1] = corner[2, 2] = 1
    assert paper(corner)[1, 2] == pytest.approx(9.231163, abs=1e-5)  # 1 px from both: 10 exp(-4 / 50)
    values[1, 1], values[1, 2] = 1, 2
    assert paper(values)[1, 3] == pytest.approx(8.352702, abs=1e-5)  # 1 and 2 px: 10 exp(-9 / 50)


def test_many_cells_equal_the_definition_pixel_by_pixel():
    mask = (np.random.default_rng(0).random((40, 90)) > 0.97).astype(np.uint8)
    cells, count = ndimage.label(mask)
    pixels = np.argwhere(mask >= 0)
    distances = np.sort([cdist(pixels, np.argwhere(cells == n)).min(axis=1) for n in range(1, count + 1)], axis=0)
    wanted = 10 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * 2.0**2))
    wanted[mask.ravel() > 0] = 0
    found = border_weights(mask, weight=10, sigma_px=2)
    np.testing.assert_allclose(found.ravel(), wanted, atol=1e-6)


def test_a_batch_gets_them_beside_its_labels():
    label = torch.zeros(2, 5, 9, dtype=torch.uint8)  # two overlapping structures
    label[0, :, 1] = label[0, :, 5] = 1
    sample = {"image": torch.zeros(1, 5, 9), "label": label}
    batch = WithBorder(weight=10, sigma_px=5)([sample, sample])
    assert batch["border"].shape == batch["label"].shape == (2, 2, 5, 9)
    assert batch["border"][1, 0, 2, 3].item() == pytest.approx(7.261490, abs=1e-5)
    assert not batch["border"][:, 1].any()
