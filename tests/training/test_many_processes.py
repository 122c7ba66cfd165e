"""Two processes that train together, as torchrun starts them: one answer, one writer, and a word when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from made_trainings import TINY, set_words

from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.run_folder import RunFolder
from pipeline.training.train import train

# By plain gradient descent: Adam makes the rounding errors of gradients that are 0 as large as any other step.
TOGETHER = {**TINY, "optimizer": "sgd", "learning_rate": 0.01, "batch_size": 4, "gradient_norm": 0.0, "patience": 0, "ema": 0.9}


def started(manifest: Path, folder: Path, *words: str, **settings: object) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "pipeline"]
    command = [*launcher, "train", str(manifest), *set_words({**TOGETHER, **settings}), *words, "-o", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_two_processes_train_the_network_that_one_trains_with_the_same_batch(manifest, tmp_path):
    process = started(manifest, tmp_path / "two")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.count("run folder") == err.count("cases to train on") == err.count("epoch 2") == 1  # one of them speaks
    two, one = RunFolder(path=tmp_path / "two"), train(manifest, tmp_path / "one", settings=TOGETHER)
    for part in ("learning", "network"):
        first, second = (load_checkpoint(run.last)[part] for run in (one, two))
        assert first.keys() == second.keys()
        for name, tensor in first.items():
            torch.testing.assert_close(
                second[name], tensor, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
            )
    for mine, other in zip(one.history(), two.history(), strict=True):
        assert other["train/loss"] == pytest.approx(mine["train/loss"], rel=1e-4)
        assert other["val/dice"] == pytest.approx(mine["val/dice"], abs=0.01)
    assert {p.name for p in two.path.iterdir()} == {p.name for p in one.path.iterdir()}


def test_a_process_that_dies_ends_the_training_with_a_word_and_the_last_checkpoint_is_good(manifest, tmp_path):
    folder = RunFolder(path=tmp_path / "run")
    process = started(manifest, folder.path, epochs=500)
    deadline = time.monotonic() + 90
    while len(folder.history()) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    victim = next(child for child in psutil.Process(process.pid).children() if child.environ().get("RANK") == "1")
    os.kill(victim.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    words = ("another process of this training ended", "go on with: unet train --resume")  # torchrun sends SIGTERM as well
    assert any(text in err for text in words), err
    done = int(str(folder.facts()["epochs_done"]))
    assert load_checkpoint(folder.last)["epoch"] == done >= 2
    folder.note({"budget_s": None})
    assert not folder.facts()["finished"]


def test_a_batch_that_cannot_be_dealt_out_is_refused_in_one_line_and_nothing_is_left(manifest, tmp_path):
    process = started(manifest, tmp_path / "run", batch_size=3)
    _, err = process.communicate(timeout=120)
    lines = [line for line in err.splitlines() if line.startswith("unet: ") and "cases to train" not in line]
    assert lines == [
        "unet: torchrun: batch_size: 3 cannot be dealt out evenly to 2 processes. "
        "Start as many processes as divide it, or train anew with another."
    ]
    assert "Traceback" not in err.split("ChildFailedError")[0].split("torch/distributed")[0]
    assert not (tmp_path / "run").exists()
