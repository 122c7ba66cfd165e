"""What is tried next follows from the hints and scores, and every command is one that `unet` takes."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import pytest
from made_runs import make_run, some_case

from pipeline.cli.train import settings_of
from pipeline.evaluation.counts import Counts
from pipeline.evaluation.scores import scores
from pipeline.io.paths import write_text
from pipeline.training.experiment import experiment_yaml
from pipeline.training.hints import Hint
from pipeline.training.next_steps import MOST, NextStep, next_steps
from pipeline.training.not_found import not_found
from pipeline.training.open_experiment import override
from pipeline.training.outcome import Outcome, outcome_of
from pipeline.training.validation import CaseScores

GOOD = (90, 10, 10)  # right, false alarms, misses
PLATEAU = Hint(kind="plateau", text="")


def result(case: str, *structures: tuple[int, int, int]) -> CaseScores:
    tp, fp, fn = zip(*structures, strict=True)
    counts = Counts(tp=tp, fp=fp, fn=fn, tn=[100_000] * len(tp))
    return CaseScores(case=case, counts=counts, scores=scores(counts))


def made(
    tmp_path: Path,
    results: Sequence[tuple[tuple[int, int, int], ...]],
    settings: Mapping[str, object] | None = None,
    facts: Mapping[str, object] | None = None,
) -> Outcome:
    """A run of eight epochs with one validated patient for each result, and as many in another fold."""
    cases = [some_case(name=f"c{number}", patient=f"P{number}") for number in range(max(1, len(results)))]
    run = make_run(tmp_path / "my run", cases=cases, facts=facts)
    changed = override(run.experiment(), {"steps_per_epoch": 200, "manifest": "manifest.json", **(settings or {})})
    write_text(run.experiment_file, experiment_yaml(changed, {}))
    for epoch in range(1, 9):
        run.log({"epoch": epoch, "train/loss": 0.5, "val/dice": 0.5, "train/waiting_fraction": 0.01})
    return outcome_of(run, [result(case.case, *counts) for case, counts in zip(cases, results, strict=False)])


def steps_of(outcome: Outcome, kind: str) -> list[NextStep]:
    """The steps, each taken by the command's own parser, its settings by the experiment."""
    steps = next_steps(outcome, Hint(kind=kind, text=""), not_found(outcome))
    for step in steps:
        words = shlex.split(step.command)
        assert words[0] == "unet"
        parser = argparse.ArgumentParser()
        import_module(f"pipeline.cli.{words[1]}").add_arguments(parser)
        taken = parser.parse_args(words[2:])
        if words[1] == "train":
            override(outcome.experiment, settings_of(taken.set))
            assert taken.out.startswith(str(outcome.folder.path))
    assert len(steps) <= MOST
    return steps


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("still rising", {}, ["--epochs 200"]),
        ("too few epochs", {}, ["--epochs 200"]),
        ("loss falls", {}, ["--epochs 200"]),
        ("unsteady", {"learning_rate": 1e-3}, ["learning_rate=0.0003"]),
        ("overfitting", {"network.dropout": 0.1}, ["spatial_probability=0.9", "network.dropout=0.3"]),
        (
            "overfitting",
            {
                "network.dropout": 0.5,
                "network.width": 32,
                "augmentation.spatial_probability": 1.0,
                "augmentation.rotation_deg": 90,
                "augmentation.scaling_fraction": 0.3,
            },
            ["network.width=16"],
        ),
        ("underfitting", {"network.width": 48}, ["network.width=64", "network.normalization=batch"]),
        ("underfitting", {"network.width": 64, "network.normalization": "batch"}, ["network.dropout=0.1"]),
        ("plateau", {}, []),
    ],
)
def test_each_hint_has_its_own_steps(tmp_path, kind, settings, words):
    steps = steps_of(made(tmp_path, [(GOOD, GOOD)] * 12, settings), kind)
    assert len(steps) == len(words)
    for step, word in zip(steps, words, strict=True):
        assert word in step.command


def test_a_run_with_a_budget_goes_on_with_twice_the_time(tmp_path):
    (step,) = steps_of(made(tmp_path, [(GOOD, GOOD)] * 12, facts={"budget_s": 1200.0}), "still rising")
    assert step.command == f"unet train --resume -o '{tmp_path}/my run' --time-budget 40m"


def test_a_fold_of_a_cross_validation_is_not_gone_on_with_alone(tmp_path):
    (tmp_path / "cross_validation.json").write_text("{}")
    (step,) = steps_of(made(tmp_path, [(GOOD, GOOD)] * 12, facts={"budget_s": 1200.0}), "still rising")
    assert "--resume" not in step.command and "--time-budget 40m" in step.command


def test_without_validation_the_loss_alone_leads_on(tmp_path):
    outcome = made(tmp_path, [], facts={"fold": None})
    assert [step.command.split(" --fold ")[1][:4] for step in steps_of(outcome, "loss falls")] == ["none"]
    assert steps_of(outcome, "loss flat") == []


def test_a_structure_that_was_not_found_is_looked_for_and_its_causes_are_told(tmp_path):
    rare = (0, 0, 30)
    outcome = made(tmp_path, [(GOOD, rare)] * 12, {"learning_rate": 0.01})
    (missing,) = not_found(outcome)
    assert (missing.structure, missing.dice, missing.marked) == ("lesion", 0.0, 0.0)
    text = "; ".join(missing.causes)
    assert all(words in text for words in ("no pixel is marked", "it is rare (0.0003", "0.01; 0.0003 goes well", "label table"))
    assert "few" not in text and "mirrored" not in text
    commands = [step.command for step in steps_of(outcome, "plateau")]
    assert [word in command for word, command in zip(("unet check", "rate=0.003", "census"), commands, strict=True)] == [
        True
    ] * 3


def test_what_is_marked_elsewhere_is_another_cause_than_what_is_marked_nowhere(tmp_path):
    (missing,) = not_found(made(tmp_path, [(GOOD, (0, 2000, 1000))] * 12, {"steps_per_epoch": 10}))
    assert missing.causes[0].startswith("2 times as many pixels") and "80 steps are few" in missing.causes[1]


def test_what_is_nowhere_is_not_missed(tmp_path):
    assert not_found(made(tmp_path, [(GOOD, (0, 0, 0)), (GOOD, (0, 5, 0))])) == []


def test_too_much_and_too_little_are_told_apart(tmp_path):
    for place, counts, fraction in (("a", (90, 90, 10), 0.33), ("b", (50, 5, 50), 0.9)):
        (step,) = steps_of(made(tmp_path / place, [(GOOD, counts)] * 12), "plateau")
        assert f"foreground_fraction={fraction}" in step.command and "lesion" in step.why


def test_a_case_far_below_the_others_is_looked_at_and_few_patients_ask_for_all_folds(tmp_path):
    outcome = made(tmp_path, [(GOOD, GOOD)] * 3 + [((60, 40, 60), (60, 60, 40))])
    assert "c3" in steps_of(outcome, "plateau")[0].why
    assert not any("--folds" in step.command for step in steps_of(outcome, "plateau"))  # the made set has one fold


def test_flips_that_were_worth_it_are_named(tmp_path):
    outcome = made(tmp_path, [(GOOD, GOOD)] * 12)
    for gain, count in ((0.003, 1), (0.001, 0)):
        flips = {"axes": ["columns"], "dice": {"without": {"mean": 0.8}, "with": {"mean": 0.8 + gain}}, "s_per_case": {}}
        outcome.folder.chosen.write_text(json.dumps({"epoch": 1, "flips": flips}))
        steps = steps_of(outcome, "plateau")
        assert [step.command.endswith("--flips") for step in steps] == [True] * count


def test_a_network_that_waits_gets_one_worker_more(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.training.next_steps.usable_cores", lambda: 4)
    outcome = made(tmp_path, [(GOOD, GOOD)] * 12)
    assert steps_of(outcome, "plateau") == []
    for epoch in range(9, 30):
        outcome.folder.log({"epoch": epoch, "train/loss": 0.5, "val/dice": 0.5, "train/waiting_fraction": 0.4})
    (step,) = steps_of(outcome_of(outcome.folder, outcome.results), "plateau")
    assert "--set workers=2" in step.command and "40%" in step.why


def test_never_more_than_three(tmp_path):
    outcome = made(tmp_path, [(GOOD, (0, 0, 30))] * 4, {"learning_rate": 0.01, "network.dropout": 0.1})
    assert len(steps_of(outcome, "overfitting")) == MOST
