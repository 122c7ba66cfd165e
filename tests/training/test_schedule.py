"""The learning rate, the clock behind it, and times as people write them."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pipeline.cores import usable_cores
from pipeline.errors import UserError
from pipeline.process import age_s
from pipeline.training.schedule import Clock, learning_rate, parse_duration


def clock(budget_s: float | None, *, ago_s: float = 0.0, **settings: object) -> Clock:
    return Clock(epochs=10, budget_s=budget_s, began_s=time.monotonic() - ago_s, **settings)


@pytest.mark.parametrize(("shape", "half", "late"), [("poly", 0.5**0.9, 0.1**0.9), ("cosine", 0.5, 0.02447174)])
def test_the_rate_warms_up_then_falls_to_zero(shape, half, late):
    rates = [learning_rate(1.0, done / 1000, warm_up_fraction=0.02, shape=shape) for done in range(1001)]
    top = rates.index(max(rates))
    assert rates[0] == pytest.approx(0.1)
    assert top == 20  # two percent
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[-1] == 0
    assert rates[510] == pytest.approx(half)  # half of what follows the warm-up
    assert rates[902] == pytest.approx(late)  # a tenth is left; sin(9 degrees) squared


def test_without_a_warm_up_the_first_rate_is_the_highest():
    assert learning_rate(2.0, 0.0, warm_up_fraction=0.0, shape="cosine") == 2.0
    assert learning_rate(1.0, 0.25, warm_up_fraction=0.5, shape="poly") == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20m", 1200), ("2h", 7200), ("1h30m", 5400), ("45", 45), ("1.5h", 5400), (" 20M ", 1200), ("1h2m3s", 3723)],
)
def test_times_as_people_write_them(text, seconds):
    assert parse_duration(text, where="--time-budget") == seconds


@pytest.mark.parametrize("text", ["", "soon", "20 minutes", "-5m", "m", "1h-3m", "5d", "0", "0m", "²", "nan"])
def test_what_is_no_time_is_refused_with_examples(text):
    with pytest.raises(UserError, match=r"--time-budget: '.*' is not a time\. Examples: 90s, 20m"):
        parse_duration(text, where="--time-budget")


def test_without_a_budget_steps_are_what_is_done():
    assert clock(None).done_fraction(25, 5) == 0.5
    assert clock(None).left_s() == float("inf")


def test_a_budget_counts_from_its_beginning_and_the_schedule_from_the_first_step():
    running = clock(108, ago_s=50)
    running.start()
    assert running.done_fraction(0, 1) == pytest.approx(0, abs=0.01)
    assert running.left_s() == pytest.approx(50, abs=0.5)  # 8 s are kept for the end
    later = clock(108, ago_s=75, start_s=50.0)
    assert later.done_fraction(0, 1) == pytest.approx(0.5, abs=0.01)
    assert clock(108, ago_s=200).done_fraction(0, 1) == 1


def test_a_run_that_goes_on_keeps_its_place_in_the_schedule():
    resumed = clock(108, ago_s=5, used_s=70.0, start_s=50.0)
    resumed.start()
    assert resumed.used_s() == pytest.approx(75, abs=0.5)
    assert resumed.done_fraction(0, 1) == pytest.approx(0.5, abs=0.01)


def test_long_scoring_ends_the_training_earlier():
    running = clock(100)
    before = running.left_s()
    running.learn_reserve(10.0)
    assert before - running.left_s() == pytest.approx(20, abs=0.1)


def test_a_budget_that_is_gone_before_the_first_step_is_said_with_its_numbers():
    with pytest.raises(UserError, match="time budget of 30 s is used up before the first step: 25 s are gone, and 8 s must be"):
        clock(30, ago_s=25).check()
    clock(60, ago_s=25).check()


def test_the_time_left_by_epochs_is_as_the_last_ones_took():
    running = clock(None, ago_s=100, used_s=500.0)
    running.resumed_s = 560.0  # 40 s of this process were spent on steps
    assert running.expected_s(2, 5) == pytest.approx(100, abs=1)


def test_this_process_has_an_age_and_some_cores():
    assert 0 < age_s() < 24 * 3600
    assert usable_cores() >= 1
