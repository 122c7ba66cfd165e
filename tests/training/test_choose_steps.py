"""Which post-processing is kept: on label volumes made by hand, and the odds of the sign test worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.postprocess import Steps, postprocess
from pipeline.evaluation.counts import count
from pipeline.evaluation.scores import scores
from pipeline.labels import label_table
from pipeline.training.choose_steps import Looked, Trial, choose, look

ONE = label_table({"organ": 1})
TWO = label_table({"organ": 1, "lesion": 2})
BLOCK = (slice(1, 5), slice(1, 5), slice(1, 5))  # 64 voxels
ISLAND = (slice(7, 9), slice(7, 9), slice(0, 2))  # 8 voxels, apart from it
MILDEST = Steps(smallest_ml=32 * 0.01)  # half of a true piece: 8 voxels are more than a tenth of it (6.4)


def made(*boxes: tuple, value: int = 1) -> np.ndarray:
    volume = np.zeros((10, 10, 10), dtype=np.uint8)
    for box in boxes:
        volume[box] = value
    return volume


def looked(truth: np.ndarray, predicted: np.ndarray, patient: str, table=ONE) -> Looked:
    return look(truth, predicted, table, patient=patient, voxel_ml=0.01)


def helped(number: int) -> list[Looked]:
    return [looked(made(BLOCK), made(BLOCK, ISLAND), f"helped {k}") for k in range(number)]


def hurt(number: int) -> list[Looked]:
    return [looked(made(BLOCK, ISLAND), made(BLOCK, ISLAND), f"hurt {k}") for k in range(number)]


def test_islands_in_every_case_are_removed_by_the_mildest_step_that_does_it():
    chosen, trials = choose(helped(5), ONE, known_ml=True)
    assert chosen == {"organ": MILDEST}
    best = next(trial for trial in trials if trial.steps == MILDEST)
    assert best.dice_before == pytest.approx(2 * 64 / (72 + 64))
    assert (best.dice_after, best.helped, best.hurt, best.by_luck) == (1.0, 5, 0, 1 / 32)


def test_without_a_known_voxel_size_no_smallest_size_is_tried():
    chosen, trials = choose(helped(5), ONE, known_ml=False)
    assert chosen == {"organ": Steps(largest=True)}
    assert all(trial.steps.smallest_ml == 0 for trial in trials)


def test_four_patients_may_be_luck():
    assert choose(helped(4), ONE, known_ml=True)[0] == {}


def test_cases_of_one_patient_count_once():
    cases = [looked(made(BLOCK), made(BLOCK, ISLAND), "the same") for _ in range(9)]
    assert choose(cases, ONE, known_ml=True)[0] == {}


@pytest.mark.parametrize(
    ("better", "worse", "luck", "kept"),
    [(5, 0, 1 / 32, True), (5, 1, 7 / 64, False), (7, 1, 9 / 256, True), (0, 0, 1.0, False), (0, 3, 1.0, False)],
)
def test_the_odds_of_the_sign_test(better, worse, luck, kept):
    trial = Trial(structure="organ", steps=Steps(), dice_before=0.5, dice_after=0.6, helped=better, hurt=worse)
    assert trial.by_luck == luck
    assert trial.kept is kept


def test_a_mean_that_hardly_rises_keeps_nothing():
    trial = Trial(structure="organ", steps=Steps(), dice_before=0.5, dice_after=0.5009, helped=30, hurt=0)
    assert not trial.kept


def test_what_helps_some_and_hurts_others_is_not_kept():
    chosen, trials = choose(helped(5) + hurt(2), ONE, known_ml=False)
    assert chosen == {}
    largest = next(trial for trial in trials if trial.steps.largest)
    assert (largest.helped, largest.hurt, largest.by_luck) == (5, 2, (21 + 7 + 1) / 128)


def test_masks_that_are_right_are_left_alone():
    chosen, trials = choose(hurt(8), ONE, known_ml=True)
    assert chosen == {}
    assert all(trial.helped == 0 for trial in trials)


def test_a_false_alarm_where_there_is_nothing_counts_as_wrong_and_its_removal_as_right():
    cases = [looked(made(), made(ISLAND), f"none {k}") for k in range(5)]
    cases += [looked(made(BLOCK), made(BLOCK), f"one {k}") for k in range(5)]
    chosen, trials = choose(cases, ONE, known_ml=True)
    assert chosen == {"organ": MILDEST}
    assert max(trial.dice_after for trial in trials) == 1.0


def test_removing_a_structure_wholly_where_it_is_hurts_even_where_its_dice_was_0():
    misplaced = [looked(made(BLOCK), made(ISLAND), f"misplaced {k}") for k in range(3)]
    _, trials = choose(helped(8) + misplaced, ONE, known_ml=True)
    trial = next(trial for trial in trials if trial.steps == MILDEST)
    assert (trial.helped, trial.hurt) == (8, 3)
    assert not trial.kept


def test_a_structure_that_was_not_found_can_be_helped_by_no_step():
    chosen, trials = choose([looked(made(BLOCK), made(), f"missed {k}") for k in range(6)], ONE, known_ml=True)
    assert chosen == {}
    assert {(trial.dice_before, trial.dice_after, trial.helped, trial.hurt) for trial in trials} == {(0.0, 0.0, 0, 0)}


def test_holes_are_filled_where_truths_have_none():
    hollow = made(BLOCK)
    hollow[2:4, 2:4, 2:4] = 0
    cases = [looked(made(BLOCK), hollow, f"p{k}") for k in range(5)]
    assert choose(cases, ONE, known_ml=True)[0] == {"organ": Steps(holes=True)}
    cases = [looked(hollow, hollow, f"p{k}") for k in range(5)]
    assert choose(cases, ONE, known_ml=True)[0] == {}


def test_each_structure_is_chosen_for_by_itself():
    cases = []
    for k in range(5):
        truth, predicted = made(BLOCK), made(BLOCK, ISLAND)
        truth[8, :3, 8], predicted[8, :3, 8], truth[0, 0, 9], predicted[0, 0, 9] = 2, 2, 2, 2
        cases.append(looked(truth, predicted, f"p{k}", TWO))
    assert choose(cases, TWO, known_ml=True)[0] == {"organ": MILDEST}


@pytest.mark.parametrize("overlapping", [False, True])
def test_the_dice_that_is_foretold_is_the_dice_after_the_step(overlapping):
    """Against post-processing itself, and against the counts that all scores come from."""
    table = label_table({"organ": 1, "lesion": 2}, overlapping=overlapping)
    random = np.random.default_rng(1)
    shape = (6, 2, 8, 7) if overlapping else (6, 8, 7)
    for _ in range(10):
        truth, predicted = (random.choice(2 if overlapping else 3, shape, p=p).astype(np.uint8) for p in weights(overlapping))
        found = look(truth, predicted, table, patient="p", voxel_ml=0.5)
        across = [np.moveaxis(a, 1, -1) if overlapping else a for a in (truth, predicted)]
        for place, name in enumerate(table.names):
            for steps in (Steps(), Steps(smallest_ml=1.5), Steps(largest=True), Steps(holes=True)):
                after = postprocess(across[1].copy(), table, {name: steps}, 0.5)
                wanted = scores(count(across[0], after, table))[place].dice
                assert found.structures[place].dice(steps, 0.5) == pytest.approx(wanted)


def weights(overlapping: bool) -> list[list[float]]:
    return [[0.8, 0.2], [0.6, 0.4]] if overlapping else [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]]
