"""`unet train` as a user types it: stopped by Ctrl-C and resumed, and one line for every slip."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from made_trainings import TINY, set_words, write_set

from pipeline.cli.main import main
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.run_folder import RunFolder
from pipeline.training.train import train

LONG = {**TINY, "epochs": 25, "workers": 1}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(autouse=True)
def mlflow_apart(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.getbasetemp()}/train_command.db")


def one_line(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["train", *map(str, words)]) == 2
    err = capsys.readouterr().err
    line = err.strip().splitlines()[-1]
    assert line.startswith("unet: ")
    return line


def test_ctrl_c_stops_in_good_order_and_resume_ends_where_an_unbroken_training_ends(manifest, tmp_path, unet):
    folder = RunFolder(path=tmp_path / "run")
    command = [sys.executable, "-m", "pipeline", "train", str(manifest), *set_words(LONG), "-o", str(folder.path)]
    # a terminal sends Ctrl-C to all processes of the command, workers included
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(folder.history()) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert f"stopped in good order; go on with: unet train --resume -o {folder.path}" in err
    assert "Traceback" not in err
    assert 2 <= int(str(folder.facts()["epochs_done"])) < 25

    resumed = unet("train", "--resume", "-o", folder.path)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on after epoch" in resumed.stderr
    assert "best Dice" in resumed.stdout
    assert f"unet bundle build {folder.path}" in resumed.stdout
    assert [line["epoch"] for line in folder.history()] == list(range(1, 26))
    unbroken = train(manifest, tmp_path / "unbroken", settings={**LONG, "workers": 0})
    first, second = (load_checkpoint(run.last)["network"] for run in (folder, unbroken))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_all_cases_are_trained_on_when_the_fold_is_none(manifest, tmp_path, capsys):
    assert main(["train", str(manifest), "--fold", "none", "--epochs", "1", *set_words(TINY), "-o", str(tmp_path / "run")]) == 0
    out, err = capsys.readouterr()
    assert "4 cases to train on, 0 to validate on" in err
    assert "best Dice" not in out
    assert "page " in out


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--fold", "one"], "--fold: 'one' is not a fold. A number from 0, or none."),
        (["--fold", "9"], "fold 9 has no cases. Folds here: 0, 1; 'none' trains on all cases."),
        (["--time-budget", "soon"], "--time-budget: 'soon' is not a time. Examples: 90s, 20m, 2h, 1h30m."),
        (["--set", "network.width"], "--set: 'network.width' is not NAME=VALUE."),
        (["--set", "patch=[64"], "--set: the value of 'patch=[64' cannot be read."),
        (["--set", "network.widht=3"], "--set: network.widht is not a setting (did you mean width?)."),
        (["--set", "epochs.x=3"], "epochs is one value and holds no settings"),
        (["--epochs", "3", "--time-budget", "3m"], "not allowed with argument"),
        (["--epochz", "3"], "--epochz is not an option (did you mean --epochs?)"),
        (["--data", "nowhere"], "nowhere: there is no such file or folder"),
    ],
)
def test_slips_are_answered_in_one_line_and_leave_nothing(manifest, tmp_path, capsys, words, answer):
    assert answer in one_line(capsys, manifest, *words, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_budget_of_a_few_seconds_is_refused_with_what_the_start_took(manifest, tmp_path, capsys):
    line = one_line(capsys, manifest, "--time-budget", "5s", *set_words(TINY), "-o", tmp_path / "run")
    assert "the time budget of 5 s is used up before the first step" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["MANIFEST"], "EXPERIMENT|MANIFEST"),
        (["--fold", "1"], "--fold"),
        (["--epochs", "9"], "--epochs"),
        (["--set", "seed=1"], "--set"),
    ],
)
def test_a_resumed_run_cannot_be_made_another_one(tmp_path, capsys, words, named):
    line = one_line(capsys, *words, "--resume", "-o", tmp_path)
    assert f"{named} cannot be given with --resume: a run goes on with what it began with" in line


def test_nothing_to_train_on_is_said_with_an_example(tmp_path, capsys):
    assert "name an experiment or a manifest. Example: unet train data_manifests/" in one_line(capsys, "-o", tmp_path / "run")


def test_a_folder_that_may_not_be_written_is_one_line(manifest, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    line = one_line(capsys, manifest, *set_words(TINY), "-o", tmp_path / "file" / "run")
    assert "cannot be written (Not a directory)" in line
