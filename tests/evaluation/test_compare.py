"""Paired comparisons against numbers worked out by hand, and against scipy's other doors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.evaluation.comparable import ScoredRun, Trained
from pipeline.evaluation.compare import Comparison, compare_runs
from pipeline.evaluation.compare_text import comparison_text, conclusions
from pipeline.evaluation.paired import holm, paired, signed_rank
from pipeline.evaluation.read_scores import read_scores
from pipeline.evaluation.table import CaseMasks, EvaluationTable
from pipeline.labels import LabelTable, label_table

ORGAN = label_table({"organ": 1})
Voxels = Sequence[tuple[str, str, int, int, int]]  # case, patient, voxels in the truth, of them found, found beside them


def scored(
    name: str, cases: Voxels, *, table: LabelTable = ORGAN, trained: Trained | None = None, tolerance_mm: float = 2.0
) -> ScoredRun:
    """A run with these voxels of the first structure, in volumes of 400 voxels of 2 x 2 x 5 mm."""
    masks = []
    for case, patient, truth_voxels, hit, alarm in cases:
        truth, predicted = np.zeros((2, 10, 10, 4), dtype=np.uint8)
        truth.flat[:truth_voxels] = predicted.flat[:hit] = table.values[0]
        predicted.flat[200 : 200 + alarm] = table.values[0]
        masks.append(CaseMasks(case, patient, truth, predicted, np.diag([2.0, 2.0, 5.0, 1.0])))
    evaluation = EvaluationTable.from_cases(masks, table, tolerance_mm=tolerance_mm)
    return ScoredRun(name=name, file=Path(name) / "scores.json", evaluation=evaluation, trained=trained)


# Dice = 2 hit / (truth + hit). A: 2*30/90 = 2/3, 2*60/120 = 1, 2*20/80 = 1/2, n/a. B: 1, 2/3 (2*30/90), 2*30/90 = 2/3, n/a.
A: Voxels = [("c1", "P1", 60, 30, 0), ("c2", "P1", 60, 60, 0), ("c3", "P2", 60, 20, 0), ("c4", "P3", 0, 0, 0)]
B: Voxels = [("c1", "P1", 60, 60, 0), ("c2", "P1", 60, 30, 0), ("c3", "P2", 60, 30, 0), ("c4", "P3", 0, 0, 0)]


def many(values: Sequence[tuple[int, int]]) -> tuple[ScoredRun, ScoredRun]:
    """Two runs over patients of one case each; the voxels of 60 that each of the two finds."""
    cases = [(f"c{k:02}", f"P{k:02}", 60) for k in range(len(values))]
    return tuple(  # type: ignore[return-value]
        scored(name, [(*case, pair[which], 0) for case, pair in zip(cases, values, strict=True)])
        for which, name in enumerate("ab")
    )


def test_means_difference_and_counts_are_those_worked_out_by_hand() -> None:
    dice = compare_runs([scored("a", A), scored("b", B)]).of("dice")[0]
    r = dice.result
    assert (r.count, r.neither, r.patients) == (3, 1, 2)
    assert r.first == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert r.second == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert r.difference == pytest.approx((1 / 3 - 1 / 3 + 1 / 6) / 3)
    assert (dice.better, dice.worse, r.equal) == (2, 1, 0)
    assert [(c.case, round(c.difference, 6)) for c in dice.worst()] == [("c2", -0.333333)]


def test_the_interval_draws_patients_and_not_cases() -> None:
    """Of two patients the samples are P1 P1 (mean 0), P2 P2 (1/6) and both (1/18): a quarter, a quarter, a half."""
    r = compare_runs([scored("a", A), scored("b", B)]).of("dice")[0].result
    assert (r.low, r.high) == (pytest.approx(0.0, abs=1e-12), pytest.approx(1 / 6))
    alone = paired([0.5, 0.6], [0.7, 0.6], ["P1", "P1"])
    assert (alone.low, alone.high, alone.test) == (None, None, None)


def test_the_test_is_of_patients_means() -> None:
    """P1's two cases cancel out, so P2 alone differs: one difference has p = 1 however large it is."""
    test = compare_runs([scored("a", A), scored("b", B)]).of("dice")[0].result.test
    assert test is not None and (test.patients, test.p) == (1, 1.0)


@pytest.mark.parametrize(
    ("differences", "p", "method"),
    [
        ([1, 2, 3, 4, 5], 2 / 32, "exact"),  # all of one sign: 2 of the 32 changes of sign
        ([1, 2, 3, 4, -5], 2 * 10 / 32, "exact"),  # ranks below 0 add up to 5; sums 0 to 5 are made in 1+1+1+2+2+3 ways
        ([2, 2, 2, -2], 2 * 5 / 16, "exact"),  # ranks all 2.5: at most one of four below 0
        ([0, 0, 3], 1.0, "exact"),
        ([0, 0], 1.0, "none"),
    ],
)
def test_few_patients_get_the_exact_p(differences: list[float], p: float, method: str) -> None:
    test = signed_rank(differences)
    assert (test.p, test.method) == (pytest.approx(p), method)


def test_ties_get_the_p_of_every_change_of_sign() -> None:
    values = np.array([0.1, 0.1, -0.2, 0.3, 0.3, 0.3, -0.1, 0.4])
    ranks = scipy.stats.rankdata(np.abs(values))
    sums = np.array([ranks[np.array(signs)].sum() for signs in product([True, False], repeat=8)])
    below = ranks[values < 0].sum()
    assert signed_rank(values).p == pytest.approx(min(1.0, 2 * np.mean(sums <= below + 1e-9)))


def test_without_ties_the_exact_p_is_that_of_scipy() -> None:
    values = np.random.default_rng(4).normal(0.3, 1, (30, 30))
    for row, size in zip(values, range(1, 31), strict=True):
        assert signed_rank(row[:size]).p == pytest.approx(scipy.stats.wilcoxon(row[:size], method="exact").pvalue)


def test_many_patients_get_nearly_the_same_p_by_the_normal_distribution() -> None:
    values = np.random.default_rng(3).normal(0.2, 1, 60)
    assert signed_rank(values).method == "normal"
    assert signed_rank(values).p == pytest.approx(scipy.stats.wilcoxon(values, mode="exact").pvalue, abs=0.002)


def test_holm_is_the_example_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=2, max_size=12))
def test_swapping_the_runs_turns_every_sign(values: list[tuple[int, int]]) -> None:
    a, b = many(values)
    for there, back in zip(compare_runs([a, b]).differences, compare_runs([b, a]).differences, strict=True):
        x, y = there.result, back.result
        assert (x.first, x.second, x.count, x.equal) == (y.second, y.first, y.count, y.equal)
        assert (there.better, there.worse, x.only_first) == (back.worse, back.better, y.only_second)
        if x.difference is not None and x.low is not None and y.high is not None and x.test and y.test:
            assert (x.difference, x.low) == (pytest.approx(-(y.difference or 0)), pytest.approx(-y.high))
            assert x.test.p == pytest.approx(y.test.p) and there.p_corrected == pytest.approx(back.p_corrected)


def test_a_false_alarm_in_one_run_alone_is_said_and_not_averaged() -> None:
    alarm = [("c1", "P1", 60, 30, 0), ("c2", "P1", 60, 60, 0), ("c3", "P2", 60, 20, 0), ("c4", "P3", 0, 0, 9)]
    comparison = compare_runs([scored("a", A), scored("b", alarm)])
    r = comparison.of("dice")[0].result
    assert (r.count, r.neither, r.only_second, r.difference, r.equal) == (3, 0, 1, 0.0, 3)
    assert "B alone marks it in 1 case without it" in conclusions(comparison)[0]


def test_of_a_distance_less_is_better() -> None:
    """B misses half of c1 and A nothing, so B's surface is further away."""
    a, b = many([(60, 30), (60, 60)])
    hd95 = compare_runs([a, b]).of("hd95_mm")[0]
    assert (hd95.better, hd95.worse, hd95.result.equal) == (0, 1, 1)
    assert [change.case for change in hd95.worst()] == ["c00"] and hd95.changes[0].difference > 0


def verdict(values: Sequence[tuple[int, int]]) -> str:
    return conclusions(compare_runs(many(values)))[0]


def test_the_sentences_say_no_more_than_the_numbers() -> None:
    assert "better on these patients" in verdict([(20 + k, 30 + 2 * k) for k in range(12)])
    assert "worse on these patients" in verdict([(30 + 2 * k, 20 + k) for k in range(12)])
    undecided = verdict([(30, 30 + (-1) ** k * k) for k in range(12)])
    assert "the interval includes 0, so neither is shown to be better; nor are they shown to be equal" in undecided
    assert "cannot give a p below 0.125" in verdict([(30, 31 + k) for k in range(4)])
    assert "no case differs" in verdict([(30, 30)] * 4)
    assert "one patient alone" in verdict([(30, 40)])


def test_three_runs_are_each_compared_with_the_first_on_what_all_share() -> None:
    comparison = compare_runs([scored("a", A), scored("b", B), scored("c", B[1:])])
    assert [d.letter for d in comparison.of("dice")] == ["B", "C"] and comparison.cases == ("c2", "c3", "c4")
    assert "a: 1 of its 4 cases are not in all runs and are left out" in comparison_text(comparison)


def refusal(*runs: ScoredRun) -> str:
    with pytest.raises(UserError) as caught:
        compare_runs(runs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def knows(*patients: str, manifest: str = "m" * 64, cases: Sequence[str] = ()) -> Trained:
    return Trained(manifest=manifest, cases=frozenset(cases), patients=frozenset(patients))


def test_runs_of_two_folds_are_refused_with_the_leak_named() -> None:
    said = refusal(scored("a", A[:2], trained=knows("P2")), scored("b", B[2:3], trained=knows("P1")))
    assert "b shares no case with a" in said and "b was trained on 1 of the patients that a was scored on" in said


def test_patients_of_two_data_sets_that_share_a_name_are_no_leak() -> None:
    said = refusal(scored("a", A[:2], trained=knows("P2")), scored("b", B[2:3], trained=knows("P1", manifest="n" * 64)))
    assert "belongs to another data set" in said and "was trained on" not in said


def test_a_run_that_has_seen_the_compared_patients_is_refused() -> None:
    said = refusal(scored("a", A, trained=knows("P9")), scored("b", B, trained=knows("P1", "P9")))
    assert "b was trained on 2 of the 4 compared cases or on their patients: c1, c2 (a leak" in said


def test_a_leak_is_found_by_case_where_scores_name_no_patients() -> None:
    nameless = [(case, case, *voxels) for case, _, *voxels in B]
    said = refusal(scored("a", nameless, trained=knows("P1", cases=["c3"])), scored("b", nameless))
    assert "a was trained on 1 of the 4 compared cases or on their patients: c3" in said


def test_other_data_other_labels_and_another_truth_are_refused_at_once() -> None:
    other = label_table({"organ": 2})
    said = refusal(
        scored("a", A, trained=knows()),
        scored("b", B, table=other, trained=knows(manifest="n" * 64)),
        scored("c", [("c1", "P1", 61, 30, 0), *B[1:]]),
    )
    assert "b belongs to another data set than a (manifest nnnnnnnn, not mmmmmmmm)" in said
    assert "b has another label table than a (organ=2, background=0, not organ=1, background=0)" in said
    truth = refusal(scored("a", A), scored("c", [("c1", "P1", 61, 30, 0), *B[1:]]))
    assert "c was scored against another truth than a in 1 cases (c1: organ 61 of 400 voxels, not 60 of 400)" in truth


def test_patients_are_taken_from_the_run_that_names_them() -> None:
    nameless = [(case, case, *voxels) for case, _, *voxels in B]
    comparison = compare_runs([scored("a", nameless), scored("b", B)])
    assert comparison.patients == 3 and "a: no patients are named; those of b are taken" in comparison_text(comparison)
    renamed = [(case, f"Q{case}", *voxels) for case, _, *voxels in B]
    assert "name different patients for 4 cases" in refusal(scored("a", A), scored("b", renamed))


def test_nsd_of_two_tolerances_is_left_out_with_a_word() -> None:
    comparison = compare_runs([scored("a", A), scored("b", B, tolerance_mm=3.0)])
    assert comparison.of("nsd") == () and "its tolerances differ (2, 3 mm)" in comparison_text(comparison)


def test_every_number_of_the_json_is_plain_and_na_is_null() -> None:
    comparison: Comparison = compare_runs([scored("a", A), scored("b", B)])
    data = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    row = data["differences"][0]
    assert (row["measure"], row["count"], row["neither"], row["better"]) == ("dice", 3, 1, 2)
    assert row["changes"][0]["case"] == "c2"


def test_scores_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    evaluation = scored("a", A).evaluation
    back = read_scores(evaluation.write(tmp_path)[1])
    assert [row.scores for row in back.rows] == [row.scores for row in evaluation.rows]
    assert back.table == evaluation.table and back.to_csv() == evaluation.to_csv()


@pytest.mark.parametrize("fold", [0, 3, "all", None])
def test_scores_say_of_which_data_set_and_fold_they_are(tmp_path: Path, fold: int | str | None) -> None:
    stated = replace(scored("a", A).evaluation, manifest="ab12", fold=fold)
    back = read_scores(stated.write(tmp_path)[1])
    assert (back.manifest, back.fold) == ("ab12", fold)


def test_scores_of_the_first_versions_are_read_without_data_set_and_fold(tmp_path: Path) -> None:
    file = scored("a", A).evaluation.write(tmp_path)[1]
    data = json.loads(file.read_text())
    del data["manifest_digest"], data["fold"]
    file.write_text(json.dumps(data))
    assert (read_scores(file).manifest, read_scores(file).fold) == ("", None)


def test_scores_without_a_run_are_not_compared_across_data_sets_that_they_name() -> None:
    a, b = scored("a", A), scored("b", B)
    a, b = (replace(run, evaluation=replace(run.evaluation, manifest=m * 8)) for run, m in ((a, "1234"), (b, "5678")))
    with pytest.raises(UserError, match="b belongs to another data set than a"):
        compare_runs([a, b])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"dice": 0.666667', '"dice": 0.9', "c1, organ: dice is 0.900000, its voxel counts give 0.666667"),
        ('"tp": 30', '"tp": -30', "tp is -30, no count of voxels"),
        ('"nsd": 1.0', '"nsd": NaN', "nsd is nan, not within 0 and 1"),
        ('"case": "c2"', '"case": "c1"', "c1 has rows for organ, organ; needed is one each for organ"),
        ('"patient_id": "P1"', '"patient": "P1"', "row 1: KeyError('patient_id')"),
        ('"rows"', '"columns"', "is no scores.json"),
        ("{", "", "is not a JSON file"),
        ('"fold": null', '"fold": -1', "fold is -1, neither a number nor 'all'"),
        ('"manifest_digest": null', '"manifest_digest": 3', "manifest_digest is 3, no text"),
    ],
)
def test_a_damaged_scores_file_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = scored("a", A).evaluation.write(tmp_path)[1]
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        read_scores(file)
    assert said in str(caught.value)
