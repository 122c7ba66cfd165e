"""What curves say: one made history for each rule, and one beside it for which the rule must not hold."""

from __future__ import annotations

import pytest
from made_runs import make_run, some_case

from pipeline.evaluation.counts import Counts
from pipeline.evaluation.scores import scores
from pipeline.training.hints import Curves, caution, curve_hint, curves_of
from pipeline.training.outcome import outcome_of
from pipeline.training.validation import CaseScores

FALLING = (0.9, 0.6, 0.5, 0.45, 0.40, 0.36, 0.33, 0.30)
FLAT_LOSS = (0.9, 0.6, 0.45, 0.401, 0.400, 0.400, 0.400, 0.400)
RISING = (0.1, 0.4, 0.5, 0.6, 0.66, 0.70, 0.73, 0.76)
FLAT_HIGH = (0.5, 0.7, 0.8, 0.84, 0.850, 0.851, 0.850, 0.852)
FLAT_LOW = (0.2, 0.4, 0.5, 0.51, 0.510, 0.511, 0.510, 0.512)
LOST = (0.5, 0.7, 0.8, 0.82, 0.81, 0.80, 0.79, 0.78)


@pytest.mark.parametrize(
    ("kind", "loss", "dice", "more"),
    [
        ("nothing found", FALLING, (0.0, 0.0, 0.01, 0.02, 0.02, 0.03, 0.04, 0.049), {}),
        ("still rising", FALLING, (0.0, 0.0, 0.01, 0.02, 0.02, 0.03, 0.04, 0.051), {}),
        ("nothing found", (0.9, 0.8), (0.0, 0.01), {}),
        ("too few epochs", FALLING[:4], RISING[:4], {}),
        ("still rising", FALLING[:5], RISING[:5], {}),
        ("too few cases", FALLING, RISING, {"cases": 2}),
        ("still rising", FALLING, RISING, {"cases": 3}),
        ("unsteady", (0.9, 0.6, 0.5, 0.45, 0.40, 0.40, 0.43, 0.43), FLAT_HIGH, {}),
        ("plateau", (0.9, 0.6, 0.5, 0.45, 0.40, 0.40, 0.41, 0.41), FLAT_HIGH, {}),
        ("overfitting", FALLING, LOST, {}),
        ("plateau", FLAT_LOSS[:3] + (0.4,) * 5, LOST, {}),  # it fell, but nothing more was learned
        ("plateau", FALLING, FLAT_HIGH, {}),
        ("overfitting", FALLING, FLAT_LOW, {"training_dice": 0.72}),
        ("plateau", FALLING, FLAT_LOW, {"training_dice": 0.70}),
        ("still rising", FALLING, RISING, {"training_dice": 0.99}),
        ("underfitting", FLAT_LOSS, FLAT_LOW, {}),
        ("plateau", FLAT_LOSS, FLAT_HIGH, {}),
        ("plateau", FALLING, FLAT_LOW, {}),
        ("loss falls", FALLING, (), {}),
        ("loss flat", FLAT_LOSS, (), {}),
        ("unsteady", (0.9, 0.6, 0.5, 0.4, 0.4, 0.4, 0.5, 0.5), (), {}),
        ("too few epochs", FALLING[:4], (), {}),
        ("too few epochs", (), (), {}),
    ],
)
def test_each_rule_holds_where_it_should_and_nowhere_else(kind, loss, dice, more):
    cases = more.pop("cases", 20) if dice else 0
    hint = curve_hint(Curves(loss=loss, dice=dice, cases=cases, **more))
    assert hint.kind == kind, hint.text
    assert hint.text.endswith((".", ".)"))


def test_the_end_is_a_quarter_of_the_epochs_so_single_ones_decide_nothing():
    noisy = [0.8 + (0.03 if number % 2 else -0.03) for number in range(40)]
    assert curve_hint(Curves(loss=[0.4] * 40, dice=noisy, cases=20)).kind == "plateau"


def result(case: str, tp: int, fp: int, fn: int) -> CaseScores:
    counts = Counts(tp=[tp, 0], fp=[fp, 0], fn=[fn, 0], tn=[1000, 1000])
    return CaseScores(case=case, counts=counts, scores=scores(counts))


@pytest.mark.parametrize(
    ("patients", "says"), [(1, "Only 1 patient was"), (4, "Only 4 patients were"), (9, "Only 9"), (10, "")]
)
def test_few_patients_are_cautioned_with_what_the_dice_may_as_well_be(tmp_path, patients, says):
    cases = [some_case(name=f"c{number}", patient=f"P{number}") for number in range(patients)]
    run = make_run(tmp_path / "run", cases=cases)
    words = caution(outcome_of(run, [result(f"c{number}", 10 + number, 5, 5) for number in range(patients)]))
    assert words.startswith(says) and bool(words) == bool(says)
    assert ("95 % interval" in words) == (1 < patients < 10)


def test_cases_of_one_patient_are_one_patient(tmp_path):
    run = make_run(tmp_path / "run", cases=[some_case(name=f"c{number}", patient="P") for number in range(12)])
    assert caution(outcome_of(run, [result(f"c{number}", 10, 5, 5) for number in range(12)])).startswith("Only 1 patient")


def test_a_loss_with_a_dice_part_says_how_well_the_training_samples_are_known(tmp_path):
    run = make_run(tmp_path / "run", cases=[some_case(name="a")])
    for epoch, loss in enumerate((0.6, 0.3, 0.12, 0.12), start=1):
        run.log({"epoch": epoch, "train/loss": loss, "val/dice": 0.5})
    run.log({"epoch": 5, "train/loss": None, "val/dice": 0.5})  # every step was skipped
    curves = curves_of(outcome_of(run, [result("a", 10, 5, 5)]))
    assert (list(curves.loss), list(curves.dice)) == ([0.6, 0.3, 0.12, 0.12], [0.5] * 4)
    assert curves.training_dice == pytest.approx(1 - 0.12 * 3 / 2)  # of three channels the background has at most 1
