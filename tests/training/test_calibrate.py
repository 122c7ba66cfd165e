"""Temperature and calibration error: a factor that is known, a table counted by hand, torch's own losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.training.calibrate import (
    PixelSample,
    calibrate,
    confidence,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)


def drawn(head: str, factor: float, n: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a network that is right as often as it believes, times a factor."""
    random = np.random.default_rng(0)
    if head == "softmax":
        scores = random.normal(0, 2, (n, 3))
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        return factor * scores, (random.random((n, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    scores = random.normal(0, 2, (n, 2))
    return factor * scores, (random.random((n, 2)) < 1 / (1 + np.exp(-scores))).astype(np.uint8)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_known_factor_is_found_and_undone(head, factor):
    found = calibrate(*drawn(head, factor), head)
    assert found.temperature == pytest.approx(factor, rel=0.03)
    assert found.ece_after < 0.01 < 0.05 < found.ece_before
    assert found.nll_after < found.nll_before
    assert sum(one.count for one in found.bins_after) == (40_000 if head == "softmax" else 80_000)


def test_the_calibration_error_of_a_table_counted_by_hand():
    """Four pixels at 0.95, three right: 0.2 off. Two at 0.55, one right: 0.05 off. (4 * 0.2 + 2 * 0.05) / 6 = 0.15."""
    bins = reliability(np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55]), np.array([True, True, True, False, True, False]))
    assert expected_calibration_error(bins) == pytest.approx(0.15)
    assert [(place, one.count) for place, one in enumerate(bins) if one.count] == [(8, 2), (14, 4)]
    assert bins[14].accuracy == 0.75
    assert (bins[0].confidence, bins[0].accuracy) == (None, None)


def test_a_bin_holds_its_upper_edge():
    assert [one.count for one in reliability(np.array([1.0, 0.6, 0.61]), np.ones(3, bool))] == [0] * 8 + [1, 1] + [0] * 4 + [1]


def test_confidence_is_the_probability_of_what_is_chosen():
    sure, right = confidence(np.log([[0.2, 0.7, 0.1], [0.5, 0.3, 0.2]]), np.array([1, 2]), "softmax")
    np.testing.assert_allclose(sure, [0.7, 0.5])
    assert right.tolist() == [True, False]
    sure, right = confidence(np.log([[0.8 / 0.2, 0.4 / 0.6]]), np.array([[1, 1]]), "sigmoid")
    np.testing.assert_allclose(sure, [0.8, 0.6])
    assert right.tolist() == [True, False]


def test_the_likelihood_is_torch_s():
    scores, truth = drawn("softmax", 2.0, 100)
    wanted = torch.nn.functional.cross_entropy(torch.from_numpy(scores), torch.from_numpy(truth))
    assert negative_log_likelihood(scores, truth, "softmax") == pytest.approx(float(wanted))
    scores, truth = drawn("sigmoid", 200.0, 100)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(torch.from_numpy(scores), torch.from_numpy(truth).double())
    assert negative_log_likelihood(scores, truth, "sigmoid") == pytest.approx(float(wanted))


def slices(structures: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores that tell their own row and column; a truth of one pixel in the middle."""
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(50), indexing="ij")
    scores = torch.stack([rows, columns]).float()[None]
    truth = torch.zeros((1, structures, 40, 50) if structures else (1, 40, 50), dtype=torch.uint8)
    truth[..., 20, 25] = 1
    return scores, truth


@pytest.mark.parametrize("structures", [0, 2])
def test_pixels_are_those_around_structures_with_their_own_truth(structures):
    sample = PixelSample(1000, seed=0)
    scores, truth = slices(structures)
    sample.add(scores, truth, torch.zeros_like(truth))
    places, classes = sample.take()
    assert sorted(map(tuple, places.tolist())) == [(row, column) for row in range(15, 26) for column in range(20, 31)]
    at = places.tolist().index([20.0, 25.0])
    assert classes[at].any()
    assert classes.sum() == (structures or 1)


def test_what_was_found_by_mistake_is_looked_at_as_well():
    sample = PixelSample(1000, seed=0)
    scores, truth = slices()
    sample.add(scores, torch.zeros_like(truth), truth)
    assert len(sample.take()[0]) == 121


def test_a_sample_is_bounded_and_even_over_the_slices_and_drawn_again_alike():
    taken = []
    for _ in range(2):
        sample = PixelSample(600, seed=3)
        for number in range(20):
            _, truth = slices()
            sample.add(torch.full((1, 1, 40, 50), float(number)), truth, truth)
            assert sum(map(len, sample.scores)) <= 600 + 121
        taken.append(sample.take()[0][:, 0])
    assert np.array_equal(*taken)
    counts = np.bincount(taken[0].astype(int), minlength=20)
    assert counts.sum() == 600
    assert counts.min() > 10  # 30 expected each, of 121
    assert counts.max() < 55
