"""Surface distances in mm."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.evaluation.surface import surface_scores


def block(shape: tuple[int, int, int], *ranges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def test_a_plate_moved_by_two_slices_of_5_mm_is_10_mm_away():
    truth = block((9, 9, 12), (2, 7), (2, 7), (3, 4))
    moved = np.roll(truth, 2, axis=2)
    result = surface_scores(truth, moved, np.diag([0.7, 0.9, 5.0, 1.0]), tolerance_mm=9.9)
    assert result.hd95_mm == pytest.approx(10.0)
    assert result.nsd == 0.0


def test_nsd_counts_the_share_within_the_tolerance():
    truth = block((10, 1, 1), (2, 6))  # a line: its two ends are its surface
    longer = block((10, 1, 1), (2, 9))  # one end agrees, one is 3 voxels of 2 mm away
    result = surface_scores(truth, longer, np.diag([2.0, 1, 1, 1]), tolerance_mm=5.9)
    assert result.nsd == 0.5
    assert surface_scores(truth, longer, np.diag([2.0, 1, 1, 1]), tolerance_mm=6.0).nsd == 1.0


def test_equal_masks_are_0_mm_apart():
    mask = block((8, 8, 8), (1, 5), (0, 8), (3, 6))
    assert surface_scores(mask, mask, np.eye(4)).hd95_mm == 0.0


def test_an_empty_mask_has_no_distance_and_no_agreement():
    full, empty = block((4, 4, 4), (1, 3), (1, 3), (1, 3)), np.zeros((4, 4, 4), dtype=bool)
    assert surface_scores(full, empty, np.eye(4)).hd95_mm is None
    assert surface_scores(empty, full, np.eye(4)).nsd == 0.0
    assert surface_scores(empty, empty, np.eye(4)).nsd is None


def test_a_picture_has_an_outline_not_a_volume_of_surface():
    truth = block((40, 40, 1), (5, 35), (5, 35), (0, 1))
    larger = block((40, 40, 1), (3, 37), (3, 37), (0, 1))
    assert surface_scores(truth, larger, np.eye(4)).hd95_mm == pytest.approx(2.0, abs=0.5)


def test_distances_on_a_sheared_grid_are_those_of_space():
    sheared = np.array([[1.0, 0, 0, 0], [0, 1, 2, 0], [0, 0, 4, 0], [0, 0, 0, 1]])  # one slice on: 2 mm back and 4 mm up
    truth, other = np.zeros((9, 9, 9), dtype=bool), np.zeros((9, 9, 9), dtype=bool)
    truth[4, 4, 4] = other[4, 4, 5] = True
    assert surface_scores(truth, other, sheared).hd95_mm == pytest.approx(20**0.5)


def test_hd95_and_nsd_equal_those_of_monai_on_uneven_voxels():
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    random = np.random.default_rng(3)
    grid = np.indices((40, 36, 20))
    for _ in range(3):
        centre, radii = random.uniform(0.4, 0.6, (2, 3)), random.uniform(0.15, 0.3, (2, 3))
        masks = [
            sum(((grid[a] / grid.shape[a + 1] - c[a]) / r[a]) ** 2 for a in range(3)) <= 1
            for c, r in zip(centre, radii, strict=True)
        ]
        spacing = (0.8, 1.1, 3.0)
        ours = surface_scores(masks[0], masks[1], np.diag([*spacing, 1.0]), tolerance_mm=4.0)
        tensors = [torch.from_numpy(m)[None, None].float() for m in masks]
        hd95 = compute_hausdorff_distance(*tensors, include_background=True, percentile=95, spacing=spacing)
        nsd = compute_surface_dice(*tensors, class_thresholds=[4.0], include_background=True, spacing=spacing)
        assert ours.hd95_mm == pytest.approx(float(hd95), abs=1e-3)
        assert ours.nsd == pytest.approx(float(nsd), abs=1e-6)
