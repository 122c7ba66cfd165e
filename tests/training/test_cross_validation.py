"""Every fold as a run of its own, by one experiment, under one parent; stopped anywhere and gone on with."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from made_trainings import TINY, write_set
from mlflow import MlflowClient

from pipeline.data.manifest import read_manifest, write_manifest
from pipeline.errors import UserError
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.cross_folder import CrossFolder
from pipeline.training.cross_validation import cross_validate, resume_folds
from pipeline.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def crossed(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> CrossFolder:
    """Two folds; read only."""
    return cross_validate(manifest, tmp_path_factory.mktemp("runs") / "crossed", settings=TINY)


@pytest.fixture
def copied(crossed: CrossFolder, tmp_path: Path) -> Iterator[CrossFolder]:
    """A copy to spoil. Its runs in MLflow are those of the original."""
    shutil.copytree(crossed.path, tmp_path / "copied")
    yield CrossFolder(path=tmp_path / "copied")


def equal_weights(first: RunFolder, second: RunFolder) -> bool:
    one, other = (load_checkpoint(run.last)["network"] for run in (first, second))
    return all(torch.equal(one[name], other[name]) for name in one)


def everything_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


def refusal(folder: CrossFolder, **more: float) -> str:
    with pytest.raises(UserError) as refused:
        resume_folds(folder.path, **more)
    return str(refused.value)


def test_each_fold_is_the_run_that_it_would_be_alone(crossed: CrossFolder, trained: RunFolder) -> None:
    assert crossed.folds == (0, 1) and crossed.unfinished == ()
    assert equal_weights(crossed.run(0), trained)
    assert not equal_weights(crossed.run(0), crossed.run(1))
    assert {run.fold: run.experiment() for run in crossed.runs.values()} == {0: crossed.experiment(), 1: crossed.experiment()}
    assert "# the plane in which" in (crossed.run(1).path / "experiment.yaml").read_text(encoding="utf-8")
    assert not any(run.cache.exists() for run in crossed.runs.values())


def test_the_parent_in_mlflow_carries_the_means_over_its_folds(crossed: CrossFolder, mlflow_uri: str) -> None:
    client = MlflowClient(mlflow_uri)
    children = [client.get_run(str(run.facts()["mlflow_run_id"])) for run in crossed.runs.values()]
    assert [(child.info.run_name, child.info.status) for child in children] == [("fold 0", "FINISHED"), ("fold 1", "FINISHED")]
    (parent_id,) = {child.data.tags["mlflow.parentRunId"] for child in children}
    parent = client.get_run(parent_id)
    assert parent.info.status == "FINISHED"
    best = [max(run.history(), key=lambda line: (line["val/dice"], -line["epoch"])) for run in crossed.runs.values()]
    for name in ("val/dice", "val/dice/organ", "val/recall/lesion"):
        assert parent.data.metrics[name] == pytest.approx(np.mean([line[name] for line in best]))
    assert "experiment.yaml" in {item.path for item in client.list_artifacts(parent_id)}


def test_a_fold_that_is_lost_or_half_made_is_trained_again_and_the_finished_one_left_alone(
    crossed: CrossFolder, copied: CrossFolder
) -> None:
    (copied.run(1).run_file).unlink()  # as a process that was killed while it made the folder leaves it
    copied.note({"finished": False, "used_s": {"0": 5.0}})
    before = everything_in(copied.run(0).path)
    resume_folds(copied.path)
    assert everything_in(copied.run(0).path) == before
    assert equal_weights(copied.run(1), crossed.run(1))
    assert copied.unfinished == () and copied.used_s(1) > 0 and copied.used_s(0) == 5.0


def test_a_finished_one_has_nothing_left_to_train(copied: CrossFolder) -> None:
    before = everything_in(copied.run(1).path)
    resume_folds(copied.path)
    assert everything_in(copied.run(1).path) == before
    assert "every fold is finished" in refusal(copied, budget_s=1000.0)


def test_what_the_finished_folds_left_of_the_budget_is_divided_among_the_others(manifest: Path, copied: CrossFolder) -> None:
    with pytest.raises(UserError, match="the time budget of 5 s is used up before the first step"):
        cross_validate(manifest, copied.path.parent / "new", settings=TINY, budget_s=10.0)
    assert not (copied.path.parent / "new").exists()
    shutil.rmtree(copied.run(1).path)
    copied.note({"finished": False, "used_s": {"0": 90.0}})
    said = refusal(copied, budget_s=96.0)
    assert "fold 1: the time budget of 6 s is used up before the first step" in said
    assert f"unet train --resume --time-budget TIME -o {copied.path}" in said
    assert copied.finished(0) and not copied.run(1).path.exists()


def test_a_changed_experiment_or_manifest_or_anothers_fold_is_not_gone_on_with(copied: CrossFolder) -> None:
    text = copied.experiment_file.read_text(encoding="utf-8")
    copied.experiment_file.write_text(text.replace("seed: 0", "seed: 1"), encoding="utf-8")
    assert "experiment.yaml: has changed since this run began" in refusal(copied)
    copied.experiment_file.write_text(text, encoding="utf-8")
    manifest = read_manifest(copied.manifest_file)
    write_manifest(read_manifest(write_set(copied.path.parent / "other", patients=5)), copied.manifest_file)
    assert "manifest.json: has changed since this run began" in refusal(copied)
    write_manifest(manifest, copied.manifest_file)
    copied.run(1).note({"fold": 0})
    assert "belongs to another training than the folder above it: its fold differs" in refusal(copied)


def test_one_process_at_a_time(copied: CrossFolder) -> None:
    handle = os.open(copied.path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert "another process is training there" in refusal(copied)
    os.close(handle)


def test_an_occupied_folder_is_left_alone(manifest: Path, copied: CrossFolder, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine", encoding="utf-8")
    for folder, words in ((copied.path, "holds a run already"), (tmp_path / "notes", "is not an empty folder")):
        before = everything_in(folder)
        with pytest.raises(UserError, match=words):
            cross_validate(manifest, folder, settings=TINY)
        assert everything_in(folder) == before


def test_folds_that_cannot_be_trained_are_refused_before_the_first(tmp_path: Path) -> None:
    path = write_set(tmp_path / "set", patients=2)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"fold": 1', '"fold": 0'), encoding="utf-8")
    with pytest.raises(UserError, match="outside fold 0 there are no cases to train on"):
        cross_validate(path, tmp_path / "one", settings=TINY)
    path.write_text(text.replace("patient_1", "patient_0"), encoding="utf-8")
    with pytest.raises(UserError, match="1 patients are in training and in validation"):
        cross_validate(path, tmp_path / "leak", settings=TINY)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]
