"""Counts and the scores made of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from pipeline.errors import UserError
from pipeline.evaluation.counts import Counts, count, no_counts
from pipeline.evaluation.scores import Scores, mean, mean_with_interval, scores
from pipeline.labels import label_table

TWO = label_table({"organ": 1, "lesion": 2})


def test_counts_of_a_hand_made_pair():
    truth = np.array([[0, 1, 1], [2, 2, 0]], dtype=np.uint8)
    predicted = np.array([[0, 1, 2], [2, 0, 1]], dtype=np.uint8)
    counts = count(truth, predicted, TWO)
    assert counts.tp.tolist() == [1, 1]
    assert counts.fp.tolist() == [1, 1]
    assert counts.fn.tolist() == [1, 1]
    assert counts.tn.tolist() == [3, 3]


def test_scores_of_hand_made_counts():
    (score,) = scores(Counts(tp=[3], fp=[1], fn=[2], tn=[4]))
    assert score == Scores(dice=6 / 9, iou=0.5, precision=0.75, recall=0.6, accuracy=0.7)


def test_scores_equal_those_of_scikit_learn():
    random = np.random.default_rng(0)
    truth, predicted = random.integers(0, 3, (2, 40, 50))
    ours = scores(count(truth, predicted, TWO))
    for position, value in enumerate((1, 2)):
        a, b = (truth == value).ravel(), (predicted == value).ravel()
        assert ours[position].dice == pytest.approx(f1_score(a, b))
        assert ours[position].iou == pytest.approx(jaccard_score(a, b))
        assert ours[position].precision == pytest.approx(precision_score(a, b))
        assert ours[position].recall == pytest.approx(recall_score(a, b))


def test_a_volume_larger_than_one_chunk_is_counted_whole():
    truth = np.zeros((2, 1 << 20), dtype=np.uint8)
    truth[1, -3:] = 1
    counts = count(truth, np.ones_like(truth), TWO)
    assert (counts.tp[0], counts.fp[0]) == (3, (1 << 21) - 3)


def test_sums_are_64_bit_and_add_up():
    one = Counts(tp=[2**33], fp=[0], fn=[0], tn=[1])
    both = one + one + no_counts(label_table({"organ": 1}))
    assert both.tp.tolist() == [2**34] and both.tp.dtype == np.int64


@pytest.mark.parametrize(("truth", "predicted", "dice"), [(0, 0, None), (1, 0, 0.0), (0, 1, 0.0), (1, 1, 1.0)])
def test_absent_in_both_is_not_applicable_and_absent_in_one_is_zero(truth, predicted, dice):
    whole = np.ones((4, 4), dtype=np.uint8)
    (score,) = scores(count(whole * truth, whole * predicted, label_table({"organ": 1})))
    assert score.dice == score.iou == score.precision == score.recall == dice


def test_any_values_serve_and_the_background_need_not_be_zero():
    table = label_table({"membrane": 0, "background": 255})
    truth = np.array([0, 0, 255, 255])
    counts = count(truth, np.array([0, 255, 255, 255]), table)
    assert [int(n[0]) for n in (counts.tp, counts.fp, counts.fn, counts.tn)] == [1, 0, 1, 2]


def test_whole_numbers_stored_as_floats_are_taken():
    truth = np.array([0.0, 1.0, 2.0], dtype=np.float32)
    assert count(truth, truth, TWO).tp.tolist() == [1, 1]


@pytest.mark.parametrize("strange", [0.5, -1.0, 257.0, np.nan, 7.0])
def test_values_outside_the_table_are_refused_with_their_count(strange):
    truth = np.zeros((3, 3))
    predicted = truth.copy()
    predicted[0, :2] = strange
    with pytest.raises(UserError, match=r"prediction: values outside the label table: .* voxels?\)"):
        count(truth, predicted, TWO)


def test_overlapping_structures_are_counted_channel_by_channel():
    table = label_table({"whole": 1, "core": 2}, overlapping=True)
    truth = np.array([[1, 1], [1, 0], [0, 0]], dtype=np.uint8)  # (voxels, structures)
    predicted = np.array([[1, 0], [1, 0], [1, 0]], dtype=np.uint8)
    counts = count(truth, predicted, table)
    assert counts.tp.tolist() == [2, 0] and counts.fp.tolist() == [1, 0] and counts.fn.tolist() == [0, 1]


def test_masks_of_different_shape_are_a_broken_promise():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        count(np.zeros((2, 2)), np.zeros((2, 3)), TWO)


def test_a_mean_leaves_out_what_is_not_applicable_and_says_so():
    result = mean([0.5, None, 1.0, 0.0])
    assert (result.value, result.count, result.left_out) == (0.5, 3, 1)
    assert str(result) == "0.5000 (n=3)"


def test_a_mean_of_nothing_is_not_zero():
    assert mean([None, None]).value is None
    assert str(mean([])) == "n/a (n=0)"


def test_the_interval_is_that_of_scipy_where_every_patient_has_one_case():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).beta(8, 2, 40)
    ours = mean_with_interval(values.tolist(), [f"P{i}" for i in range(40)])
    theirs = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.01) and ours.high == pytest.approx(theirs.high, abs=0.01)


def test_cases_of_one_patient_widen_the_interval():
    values = [0.2] * 10 + [0.8] * 10 + [0.5] * 10
    by_case = mean_with_interval(values, [str(i) for i in range(30)])
    by_patient = mean_with_interval(values, ["A"] * 10 + ["B"] * 10 + ["C"] * 10)
    assert by_patient.high - by_patient.low > 1.5 * (by_case.high - by_case.low)


def test_one_patient_gives_no_interval():
    result = mean_with_interval([0.1, 0.9], ["A", "A"])
    assert (result.value, result.low, result.high) == (0.5, None, None)
