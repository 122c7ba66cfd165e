"""Whole trainings of a second or two: repeatable, resumable, and refused in one line where they cannot be right."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from made_trainings import BINARY, MULTI, OVERLAPPING, SPACING_MM, TINY, VALID, write_set
from PIL import Image

from pipeline.data.case_store import StoredCase, store_cases
from pipeline.data.hashing import sha256_of
from pipeline.data.manifest import Case, Manifest, read_manifest, write_manifest
from pipeline.errors import UserError
from pipeline.labels import label_table
from pipeline.network.catalogue import build_network
from pipeline.network.tiling import WholeSlice
from pipeline.training import keeper as keeper_module
from pipeline.training import learner as learner_module
from pipeline.training import session as session_module
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from pipeline.training.run_folder import RunFolder, open_run_folder
from pipeline.training.schedule import Clock
from pipeline.training.session import Session
from pipeline.training.split import split
from pipeline.training.train import resume, train
from pipeline.training.validation import Validator, metrics

SIGMOID = {**TINY, "network.head": "sigmoid"}
VOXEL_ML = float(np.prod(SPACING_MM)) / 1000


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder.last)["network"]


def equal(a: RunFolder, b: RunFolder) -> bool:
    first, second = weights(a), weights(b)
    return all(torch.equal(first[name], second[name]) for name in first)


def same(a: object, b: object) -> bool:
    """Equal bit by bit, through dictionaries and lists."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def refused(*arguments: object, **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        train(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def copy_of(run: RunFolder, place: Path, **facts: object) -> RunFolder:
    shutil.copytree(run.path, place)
    copied = RunFolder(path=place)
    copied.note(facts)
    return copied


# --- what a training leaves


def test_the_run_folder_holds_everything_and_nothing_else(trained):
    names = {"experiment.yaml", "manifest.json", "run.json", "log.jsonl", "report.html", "checkpoints", "scores", "pictures"}
    assert {p.name for p in trained.path.iterdir()} - {"tracking_spool.jsonl"} == names | {"chosen.json"}
    assert {p.name for p in trained.last.parent.iterdir()} == {"last.pt", "best.pt"}
    assert {p.name for p in trained.pictures.iterdir()} == {"best.png", "worst.png"}  # two cases were validated
    facts = trained.facts()
    assert facts["volumes_ml"] == {name: pytest.approx(ml) for name, ml in volumes_of(trained).items()}
    assert facts["finished"] is True
    assert (facts["fold"], facts["epochs_done"], facts["image_channels"]) == (0, 2, 1)
    lines = trained.history()
    assert [line["epoch"] for line in lines] == [1, 2]
    assert facts["best_dice"] == max(line["val/dice"] for line in lines)
    assert "Dice" in (trained.path / "report.html").read_text(encoding="utf-8")


def test_the_scores_name_each_case_and_structure(trained):
    scores = json.loads((trained.scores / "validation.json").read_text(encoding="utf-8"))
    assert [case["case"] for case in scores["cases"]] == ["case_0", "case_2"]
    assert set(scores["cases"][0]["organ"]) == {"dice", "iou", "precision", "recall", "accuracy"}
    assert scores["mean"]["val/dice"] == trained.facts()["best_dice"]


# --- repeatable


@pytest.mark.parametrize(
    ("table", "settings"),
    [
        pytest.param(BINARY, {**VALID, "epochs": 1}, id="binary softmax valid"),
        pytest.param(BINARY, {**SIGMOID, "epochs": 1, "network.output": "centre"}, id="binary sigmoid same"),
        pytest.param(OVERLAPPING, {**VALID, **{"network.head": "sigmoid", "epochs": 1}}, id="overlapping sigmoid valid"),
        pytest.param(OVERLAPPING, {**SIGMOID, "epochs": 1, "precision": "bf16"}, id="overlapping sigmoid same bf16"),
    ],
)
def test_two_trainings_with_one_seed_give_equal_weights(tmp_path, table, settings):
    path = write_set(tmp_path / "set", table)
    first, second = (train(path, tmp_path / name, settings=settings) for name in ("first", "second"))
    assert equal(first, second)
    assert first.history()[0]["val/dice"] == second.history()[0]["val/dice"]


def test_weights_depend_on_the_seed_and_not_on_the_workers(trained, manifest, tmp_path):
    assert equal(train(manifest, tmp_path / "two workers", settings={**TINY, "workers": 2}), trained)
    assert not equal(train(manifest, tmp_path / "other seed", settings={**TINY, "seed": 1}), trained)


def test_an_experiment_file_trains_as_the_manifest_did(trained, tmp_path):
    again = train(trained.experiment_file, tmp_path / "again")
    assert equal(again, trained)


# --- resumed


class Killed(BaseException):
    """What a power cut is to a process."""


@pytest.mark.parametrize("ema", [0.999, 0.0], ids=["averaged", "plain"])
@pytest.mark.parametrize("written", ["best.pt", "last.pt"])
def test_killed_while_a_checkpoint_is_written_it_resumes_to_the_same_weights(manifest, tmp_path, monkeypatch, written, ema):
    """With drop-out and random samples; the second epoch is lost, its best weights may have been written."""
    settings = {**TINY, "learning_rate": 0.03, "ema": ema}
    save = keeper_module.save_checkpoint

    def killed(state: dict[str, object], path: Path, **names: Path) -> None:
        if state["epoch"] == 2 and path.name == written:
            raise Killed
        save(state, path, **names)

    monkeypatch.setattr(keeper_module, "save_checkpoint", killed)
    with pytest.raises(Killed):
        train(manifest, tmp_path / "run", settings=settings)
    monkeypatch.undo()
    unbroken = train(manifest, tmp_path / "unbroken", settings=settings)
    resumed = resume(tmp_path / "run")
    for file in ("last.pt", "best.pt"):  # weights, optimizer, average, counters and random states
        states = [load_checkpoint(run.last.parent / file) for run in (resumed, unbroken)]
        assert ("learning" in states[0]) == (file == "last.pt" and ema > 0)
        assert same(*states)
    assert resumed.facts()["best_epoch"] == unbroken.facts()["best_epoch"]
    assert [line["train/loss"] for line in resumed.history()] == [line["train/loss"] for line in unbroken.history()]


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(manifest, tmp_path, monkeypatch, capsys):
    settings = {**TINY, "epochs": 3}

    class StoppedAfterTwo(Exception):
        pass

    def stopped(state: dict[str, object], path: Path, **names: Path) -> None:
        if state["epoch"] == 3:
            raise StoppedAfterTwo
        save_checkpoint(state, path, **names)

    monkeypatch.setattr(keeper_module, "save_checkpoint", stopped)
    with pytest.raises(StoppedAfterTwo):
        train(manifest, tmp_path / "run", settings=settings)
    monkeypatch.undo()
    run = RunFolder(path=tmp_path / "run")
    run.last.write_bytes(run.last.read_bytes()[:-2000])
    capsys.readouterr()
    resumed = resume(run.path)
    told = capsys.readouterr().err
    assert f"unet: {run.last}: the checkpoint is damaged" in told
    assert "going on after epoch 1" in told
    assert equal(resumed, train(manifest, tmp_path / "unbroken", settings=settings))


def test_what_is_scored_kept_and_handed_out_is_the_average(trained, tmp_path):
    last = load_checkpoint(trained.last)
    assert trained.experiment().ema > 0  # as planned
    assert last["averaged_steps"] == 8
    assert not torch.equal(last["network"]["scores.bias"], last["learning"]["scores.bias"])
    best = load_checkpoint(trained.best)["network"]
    if trained.facts()["best_epoch"] == 2:
        assert same(best, last["network"])
    experiment, table = trained.experiment(), trained.manifest().table
    cases = store_cases(trained.manifest(), trained.manifest().cases[::2], experiment.preprocessing, tmp_path)
    network = build_network("original", experiment.network_settings(table, 1))
    network.load_state_dict(best)
    found = Validator(cases, table, "softmax", neighbours=0, device=torch.device("cpu"))(WholeSlice(network))
    assert metrics(found, table)["val/dice"] == trained.facts()["best_dice"]


def test_a_checkpoint_from_before_there_was_averaging_goes_on_without_it(manifest, tmp_path):
    run = train(manifest, tmp_path / "run", settings={**TINY, "ema": 0.0})
    copied = copy_of(run, tmp_path / "copy", finished=False)
    lines = copied.experiment_file.read_text(encoding="utf-8").splitlines()
    copied.experiment_file.write_text("\n".join(line for line in lines if not line.startswith("ema:")), encoding="utf-8")
    state = load_checkpoint(run.last)
    assert set(state) - {"since_best"} == {"epoch", "best", "network", "optimizer", "random", "random_cuda"}
    save_checkpoint({key: value for key, value in state.items() if key != "since_best"}, copied.last)
    assert equal(resume(copied.path), run)


def test_ctrl_c_while_preprocessing_keeps_what_is_done(trained, manifest, tmp_path, monkeypatch, capsys):
    calls = []

    def interrupted(*arguments: object, **settings: object) -> list[StoredCase]:
        def third() -> None:
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt

        return store_cases(*arguments, before_each=third)

    monkeypatch.setattr(session_module, "store_cases", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(manifest, tmp_path / "run", settings=TINY)
    assert f"go on with: unet train --resume -o {tmp_path / 'run'}" in capsys.readouterr().err
    kept = len(list((tmp_path / "run" / "cache").glob("case_*")))
    assert kept in (2, 3)  # a third may have been begun beside the two
    calls[:] = [1] * 3  # none of the next is the third
    assert equal(resume(tmp_path / "run"), trained)
    assert len(calls) == 3 + 4 - kept


def test_a_preprocessed_file_that_vanishes_while_it_trains_is_one_line_and_a_resume_makes_it_again(manifest, trained, tmp_path):
    settings = {**TINY, "workers": 1}
    run = RunFolder(path=tmp_path / "run")

    def vanish(state: dict[str, object], path: Path, **names: Path) -> None:
        save_checkpoint(state, path, **names)
        if path == run.last and state["epoch"] == 1:
            shutil.rmtree(run.cache)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper_module, "save_checkpoint", vanish)
        line = refused(manifest, run.path, settings={**settings, "epochs": 50})
    assert "a preprocessed file is gone" in line and "--resume makes it again" in line
    assert "Traceback" not in line
    assert load_checkpoint(run.last)["epoch"] >= 1


def test_killed_after_the_last_epoch_it_only_finishes(trained, tmp_path):
    copied = copy_of(trained, tmp_path / "copy", finished=False)
    (copied.path / "report.html").unlink()
    resume(copied.path)
    assert equal(copied, trained)
    assert copied.log_file.read_text(encoding="utf-8") == trained.log_file.read_text(encoding="utf-8")
    assert (copied.path / "report.html").is_file()
    assert copied.facts()["finished"] is True


def test_a_finished_run_goes_on_with_a_longer_budget_only(trained, tmp_path, capsys):
    copied = copy_of(trained, tmp_path / "copy")
    before = {path: path.read_bytes() for path in copied.path.rglob("*") if path.is_file()}
    resume(copied.path)
    assert "is finished already; a longer --time-budget goes on with it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    used_s = float(str(copied.facts()["used_s"]))
    with pytest.raises(UserError, match="used up before the first step"):
        resume(copied.path, budget_s=used_s)
    assert copied.facts()["finished"] is True  # a refusal changes nothing
    resume(copied.path, budget_s=used_s + 12)
    assert copied.facts()["finished"] is True
    assert int(str(copied.facts()["epochs_done"])) > 2
    assert copied.facts()["mlflow_run_id"] == trained.facts()["mlflow_run_id"]


@pytest.mark.parametrize(
    ("file", "old", "new"), [("experiment.yaml", "width: 2", "width: 4"), ("manifest.json", '"fold": 1', '"fold": 0')]
)
def test_a_run_whose_settings_or_data_were_changed_does_not_go_on(trained, tmp_path, file, old, new):
    copied = copy_of(trained, tmp_path / "copy", finished=False)
    path = copied.path / file
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=f"{file}: has changed since this run began"):
        resume(copied.path)


def test_what_does_not_change_the_weights_may_be_changed_before_a_resume(trained, tmp_path):
    copied = copy_of(trained, tmp_path / "copy", finished=False)
    text = copied.experiment_file.read_text(encoding="utf-8")
    copied.experiment_file.write_text(text.replace("workers: 0", "workers: 1"), encoding="utf-8")
    assert equal(resume(copied.path), trained)


def test_a_checkpoint_that_cannot_be_gone_on_from_is_refused(trained, tmp_path):
    copied = copy_of(trained, tmp_path / "copy", finished=False)
    shutil.copy(copied.best, copied.last)
    with pytest.raises(UserError, match=r"last\.pt: holds no averaged_steps, best, learning, optimizer, random"):
        resume(copied.path)


def test_a_folder_that_is_no_run_is_not_resumed(tmp_path):
    with pytest.raises(UserError, match=r"is not a run folder: experiment\.yaml, manifest\.json, run\.json missing"):
        resume(tmp_path)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("learning", "training: the loss or its gradients are not finite, twice in a row at step 6. Train again with a lower"),
        ("network", "training: the weights are not finite after epoch 2. Train again with a lower learning_rate"),
    ],
)
def test_a_training_without_numbers_ends_and_keeps_its_checkpoints(trained, tmp_path, part, words):
    """A weight that is none, put into the network that learns, or into the average alone."""
    copied = copy_of(trained, tmp_path / "copy", finished=False)
    state = {**load_checkpoint(copied.last), "epoch": 1}
    state[part]["scores.bias"][0] = float("nan")
    save_checkpoint(state, copied.last)
    before = [file.read_bytes() for file in (copied.last, copied.best, copied.log_file)]
    with pytest.raises(UserError) as caught:
        resume(copied.path)
    assert words in str(caught.value)
    assert [file.read_bytes() for file in (copied.last, copied.best, copied.log_file)] == before
    assert copied.facts()["finished"] is False


def test_skipped_steps_are_counted_in_the_log(manifest, tmp_path, monkeypatch):
    build, calls = learner_module.build_loss, []

    def once(*arguments: object):
        def loss(scores: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return build(*arguments)(scores, truth) * (float("inf") if len(calls) == 6 else 1.0)

        return loss

    monkeypatch.setattr(learner_module, "build_loss", once)
    run = train(manifest, tmp_path / "run", settings=TINY)
    assert [line.get("train/skipped_steps") for line in run.history()] == [None, 1]
    assert load_checkpoint(run.last)["averaged_steps"] == 7


# --- ended early


@pytest.fixture(scope="module")
def hasty(manifest, tmp_path_factory) -> RunFolder:
    """With so small a rate, no epoch is better than the first."""
    settings = {**TINY, "learning_rate": 1e-8, "ema": 0.0, "network.normalization": "none", "patience": 2, "schedule": "cosine"}
    return train(manifest, tmp_path_factory.mktemp("hasty") / "run", epochs=9, settings=settings)


def test_a_training_without_better_epochs_ends_early_and_is_finished(hasty):
    assert (hasty.facts()["best_epoch"], hasty.facts()["epochs_done"]) == (1, 3)
    assert hasty.facts()["finished"] is True


def test_killed_after_the_epoch_that_ended_it_early_it_only_finishes(hasty, tmp_path):
    copied = copy_of(hasty, tmp_path / "copy", finished=False)
    assert resume(copied.path).facts()["epochs_done"] == 3
    assert equal(copied, hasty)


def test_a_resumed_training_has_no_more_patience_than_an_unbroken_one(hasty, tmp_path):
    copied = copy_of(hasty, tmp_path / "copy", finished=False)
    save_checkpoint({**load_checkpoint(copied.last), "since_best": 1}, copied.last)
    assert resume(copied.path).facts()["epochs_done"] == 4


def test_patience_without_validation_is_refused(manifest, tmp_path):
    line = refused(manifest, tmp_path / "run", fold=None, settings={**TINY, "patience": 3})
    assert "--fold none: patience: 3 waits for a better epoch" in line
    assert not (tmp_path / "run").exists()


# --- all cases, and budgets


def test_without_validation_the_last_weights_are_the_best(manifest, tmp_path):
    folder = train(manifest, tmp_path / "run", fold=None, settings=TINY)
    best, last = load_checkpoint(folder.best), load_checkpoint(folder.last)
    assert best["epoch"] == last["epoch"] == 2
    assert all(torch.equal(best["network"][name], last["network"][name]) for name in last["network"])
    assert (folder.fold, folder.facts()["best_dice"]) == (None, None)
    assert not any(key.startswith("val/") for key in folder.history()[0])
    assert list(folder.scores.iterdir()) == list(folder.pictures.iterdir()) == []
    assert (folder.path / "report.html").is_file()


def test_a_budget_counts_from_the_call_and_the_rate_ends_with_it(manifest, tmp_path):
    started = time.monotonic()
    folder = train(manifest, tmp_path / "run", budget_s=14, settings=TINY)
    assert time.monotonic() - started < 14 + 3
    assert folder.facts()["finished"] is True
    rates = [line["learning_rate"] for line in folder.history()]
    assert len(rates) > 5
    assert max(rates) > 0.8e-3
    assert rates[-1] < 0.05e-3
    assert load_checkpoint(folder.last)["epoch"] == folder.history()[-1]["epoch"]


def test_a_budget_shorter_than_the_start_leaves_one_line_and_nothing_else(manifest, tmp_path):
    line = refused(manifest, tmp_path / "runs" / "run", budget_s=20, used_s=15, settings=TINY)
    assert "the time budget of 20 s is used up before the first step: 15 s are gone, and 8 s must be left" in line
    assert list((tmp_path / "runs").iterdir()) == []


class EndsWithTheFirstStep(Clock):
    """A budget that is used up when the first step is done."""

    def left_s(self) -> float:
        return 100.0 if self.start_s is None else 0.0


def test_a_budget_that_ends_with_an_epochs_last_step_keeps_that_epoch(trained, tmp_path):
    """ignite tells nobody that an epoch is completed when its last step ended the run."""
    fresh = copy_of(trained, tmp_path / "copy", schedule_start_s=None, used_s=0)
    shutil.rmtree(fresh.last.parent)
    fresh.last.parent.mkdir()
    text = fresh.experiment_file.read_text(encoding="utf-8")
    fresh.experiment_file.write_text(text.replace("steps_per_epoch: 4", "steps_per_epoch: 1"), encoding="utf-8")
    session = Session(fresh, *split(fresh.manifest(), 0), began_s=time.monotonic(), budget_s=100)
    session.clock = EndsWithTheFirstStep(epochs=1, budget_s=100, began_s=time.monotonic())
    session.run()
    assert load_checkpoint(fresh.last)["epoch"] == load_checkpoint(fresh.best)["epoch"] == 1
    assert fresh.facts()["finished"] is True


# --- refused


def test_a_second_training_into_the_same_folder_is_refused(trained, manifest):
    before = trained.run_file.read_bytes()
    assert "holds a run already. --resume goes on with it" in refused(manifest, trained.path, settings=TINY)
    assert trained.run_file.read_bytes() == before


def test_a_folder_with_other_things_in_it_is_left_alone(manifest, tmp_path):
    (tmp_path / "mine" / "cache").mkdir(parents=True)
    (tmp_path / "mine" / "cache" / "thesis.tex").write_text("years of work", encoding="utf-8")
    assert "is not an empty folder" in refused(manifest, tmp_path / "mine", settings=TINY)
    assert (tmp_path / "mine" / "cache" / "thesis.tex").read_text(encoding="utf-8") == "years of work"


def test_two_processes_do_not_train_in_one_folder(trained, tmp_path):
    copied = copy_of(trained, tmp_path / "copy", finished=False)
    handle = os.open(copied.path, os.O_RDONLY)  # as a training in another terminal holds it
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="copy: another process is training there"):
            resume(copied.path)
    finally:
        os.close(handle)
    assert resume(copied.path).facts()["finished"] is True


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fold": 7}, "fold 7 has no cases. Folds here: 0, 1; 'none' trains on all cases."),
        ({"settings": {**TINY, "network.widht": 3}}, "network.widht is not a setting (did you mean width?)"),
        ({"settings": TINY, "epochs": 0}, "epochs must be 1 to"),
        ({"settings": {**TINY, "patch": [33, 32]}}, "patch: an input side of 33 px does not fit 2 poolings"),
        ({"settings": {**TINY, "network.head": "sigmoid"}}, "2 structures that exclude each other"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(manifest, tmp_path, settings, words):
    assert words in refused(manifest, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_patient_in_training_and_validation_is_refused(tmp_path):
    path = write_set(tmp_path / "set")
    text = path.read_text(encoding="utf-8").replace('"patient_1"', '"patient_0"')
    path.write_text(text, encoding="utf-8")
    assert "1 patients are in training and in validation" in refused(path, tmp_path / "run", settings=TINY)
    assert train(path, tmp_path / "run", fold=None, epochs=1, settings=TINY).facts()["finished"]  # nothing to leak into


def test_a_single_fold_leaves_nothing_to_train_on(tmp_path):
    path = write_set(tmp_path / "set", patients=1)
    assert "outside fold 0 there are no cases to train on" in refused(path, tmp_path / "run", settings=TINY)


def test_data_that_vanished_is_named_and_no_husk_is_left(tmp_path):
    path = write_set(tmp_path / "set")
    experiment = tmp_path / "e.yaml"
    experiment.write_text("manifest: set/made.json\nprecision: fp32\n", encoding="utf-8")
    (tmp_path / "set" / "image_3.nii.gz").unlink()
    assert "image_3.nii.gz: there is no such file" in refused(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert path.is_file()


def test_cases_with_different_channels_are_refused(tmp_path):
    one, two = (read_manifest(write_set(tmp_path / name, channels=count)) for name, count in (("one", 1), ("two", 2)))
    moved = [
        replace(case, image=(f"{place}/{case.image[0]}",), label=(f"{place}/{case.label[0]}",))
        for place, case in (*(("one", c) for c in one.cases[:3]), ("two", two.cases[3]))
    ]
    mixed = Manifest(name="mixed", data_root=tmp_path, table=one.table, cases=tuple(moved))
    write_manifest(mixed, tmp_path / "mixed.json")
    line = refused(tmp_path / "mixed.json", tmp_path / "run", settings=TINY)
    assert "case_3: 2 image channels, the first case has 1" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [("name: x\n", "the experiment names no data set"), ("manifest: gone.json\n", "gone.json: there is no such file")],
)
def test_an_experiment_without_its_data_set_is_refused(tmp_path, text, words):
    (tmp_path / "e.yaml").write_text(text, encoding="utf-8")
    assert words in refused(tmp_path / "e.yaml", tmp_path / "run")


# --- other kinds of data and losses


@pytest.mark.parametrize(("table", "head"), [(MULTI, "softmax"), (OVERLAPPING, "sigmoid")])
def test_the_papers_loss_trains_with_weights_from_the_census_whoever_prepares_the_samples(tmp_path, table, head):
    path = write_set(tmp_path / "set", table)
    settings = {**TINY, "epochs": 1, "network.head": head, "loss.name": "cross_entropy"}
    settings |= {"loss.class_weights": "census", "loss.border_weight": 10.0}
    runs = [train(path, tmp_path / f"{n} workers", settings={**settings, "workers": n}) for n in (0, 1)]
    assert equal(*runs)
    labels = np.stack([nibabel.load(tmp_path / "set" / f"label_{n}.nii.gz").get_fdata() for n in (1, 3)])
    counts = [(labels == value).sum() for value in (0, 1, 4)] if head == "softmax" else labels.sum(axis=(0, 1, 2, 3)).tolist()
    assert runs[0].facts()["class_pixels"] == counts
    assert "cross entropy loss" in (runs[0].path / "report.html").read_text(encoding="utf-8")


def test_border_weights_change_what_is_learned(manifest, tmp_path):
    """The lesion lies within the organ: two cells, and background beside both."""
    settings = {**TINY, "epochs": 1, "loss.name": "cross_entropy"}
    plain, bordered = (train(manifest, tmp_path / f"{w}", settings={**settings, "loss.border_weight": w}) for w in (0.0, 10.0))
    assert bordered.history()[0]["train/loss"] > plain.history()[0]["train/loss"]
    assert not equal(plain, bordered)


def test_one_channel_has_no_classes_to_weigh_and_no_background(tmp_path):
    path = write_set(tmp_path / "set", BINARY)
    line = refused(path, tmp_path / "run", settings={**SIGMOID, "loss.class_weights": "census"})
    assert "loss.class_weights: census has nothing to weigh" in line
    line = refused(path, tmp_path / "run", settings={**SIGMOID, "loss.background": False})
    assert "loss.background: false has nothing to leave out" in line


def test_two_channels_with_neighbouring_slices_and_a_rescaled_output(tmp_path):
    path = write_set(tmp_path / "set", channels=2)
    settings = {**VALID, "preprocessing.neighbours": 1, "network.output": "rescale", "epochs": 1}
    folder = train(path, tmp_path / "run", settings=settings)
    assert folder.image_channels == 2
    assert weights(folder)["encoders.0.0.weight"].shape[1] == 6


def test_pictures_train_on_the_plan_made_for_them(tmp_path):
    random = np.random.default_rng(0)
    cases = []
    for number in range(2):
        mask = np.zeros((60, 50), dtype=np.uint8)
        mask[10 + number : 40, 10:30] = 255
        grey = np.clip(80 + 0.3 * mask + random.normal(0, 10, mask.shape), 0, 255).astype(np.uint8)
        names = [f"{number}.png", f"mask{number}.png"]
        for name, array in zip(names, (grey, mask), strict=True):
            Image.fromarray(array).save(tmp_path / name)
        digests = [(sha256_of(tmp_path / name),) for name in names]
        case = Case(
            case=f"cell {number}",
            image=(names[0],),
            label=(names[1],),
            patient_id=str(number),
            fold=number,
            image_sha256=digests[0],
            label_sha256=digests[1],
            shape=(50, 60, 1),
            spacing_mm=(1.0, 1.0, 1.0),
            spacing_known=False,
            modality="picture",
        )
        cases.append(case)
    manifest = Manifest(name="cells", data_root=tmp_path, table=label_table({"cell": 255}), cases=tuple(cases))
    write_manifest(manifest, tmp_path / "cells.json")
    small = {
        "network.width": 2,
        "network.depth": 2,
        "steps_per_epoch": 20,
        "batch_size": 2,
        "workers": 0,
        "threads": 1,
        "learning_rate": 0.02,
        "augmentation.spatial_probability": 0.0,
    }
    folder = train(tmp_path / "cells.json", tmp_path / "run", epochs=1, settings=small)
    assert folder.experiment().preprocessing.plane == "stored"
    assert folder.history()[0]["val/dice/cell"] > 0.6
    assert open_run_folder(folder.path).facts()["finished"] is True


def volumes_of(run: RunFolder) -> dict[str, list[float]]:
    """Structure → smallest and largest volume of the training cases, from the files of the masks."""
    manifest = run.manifest()
    training, _ = split(manifest, run.fold)
    masks = [np.asarray(nibabel.load(manifest.data_root / case.label[0]).dataobj) for case in training]
    counts = {structure.name: [np.count_nonzero(mask == structure.value) for mask in masks] for structure in MULTI.structures}
    return {name: [min(found) * VOXEL_ML, max(found) * VOXEL_ML] for name, found in counts.items()}
