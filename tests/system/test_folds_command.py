"""`unet train --folds all` as a user types it: killed, gone on with, scored out of fold, packaged as an ensemble."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from made_runs import make_folds, make_run
from made_trainings import TINY, set_words, write_set
from mlflow import MlflowClient

from pipeline.bundle.build import build_bundle
from pipeline.bundle.bundle import open_bundle
from pipeline.bundle.contents import agreed
from pipeline.cli.main import main
from pipeline.data.postprocess import Steps
from pipeline.data.slice_grid import label_values, slice_grid, to_slices, with_neighbours
from pipeline.inference.predictor import Predictor
from pipeline.io.read import read_volume
from pipeline.labels import label_table
from pipeline.training.cross_folder import CrossFolder

LEARNS = {**TINY, "epochs": 6, "ema": 0.0, "learning_rate": 1e-2}  # enough for masks that are not empty
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def killed(manifest: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> CrossFolder:
    """Killed without a word within the second fold, then gone on with; read only but for `unet evaluate`."""
    cross = CrossFolder(path=tmp_path_factory.mktemp("runs") / "crossed")
    settings = set_words(LEARNS)
    command = [sys.executable, "-m", "pipeline", "train", str(manifest), "--folds", "all", *settings, "-o", str(cross.path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 500
    while len(cross.run(1).history()) < 1 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert cross.unfinished == (1,)
    assert main(["bundle", "build", str(cross.path), "-o", str(cross.path.parent / "early")]) == 2
    before = {path: path.read_bytes() for path in cross.run(0).path.rglob("*") if path.is_file()}
    assert main(["train", "--resume", "-o", str(cross.path)]) == 0
    assert {path: path.read_bytes() for path in before} == before
    return cross


@pytest.fixture(scope="module")
def ensemble(killed: CrossFolder) -> Path:
    return build_bundle(killed.path, killed.path.parent / "ensemble").path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    def run(*words: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        said = capsys.readouterr()
        assert said.out == "" and "Traceback" not in said.err
        return said.err.splitlines()[-1]

    return run


def masks_of(cross: CrossFolder) -> dict[str, np.ndarray]:
    files = sorted(cross.masks.iterdir())
    return {file.name.removesuffix(".nii.gz"): np.asarray(nibabel.load(file).dataobj) for file in files}


def scores_of(cross: CrossFolder) -> dict:
    return json.loads((cross.scores / "scores.json").read_text(encoding="utf-8"))


def test_every_epoch_of_every_fold_is_trained_once_and_every_case_segmented_once(killed: CrossFolder) -> None:
    assert [[line["epoch"] for line in run.history()] for run in killed.runs.values()] == [list(range(1, 7))] * 2
    assert list(masks_of(killed)) == ["case_0", "case_1", "case_2", "case_3"]
    scores = scores_of(killed)
    assert [row["case"] for row in scores["rows"][::2]] == ["case_0", "case_1", "case_2", "case_3"]
    assert (scores["fold"], scores["manifest_digest"], scores["patients"]) == ("all", killed.manifest().digest, 4)
    assert (killed.scores / "scores.csv").is_file()


def test_a_case_s_mask_is_that_of_its_fold_s_own_bundle(killed: CrossFolder, manifest: Path, tmp_path: Path) -> None:
    bundles = [build_bundle(killed.path, tmp_path / f"{fold}", fold=fold) for fold in killed.folds]
    found = set()
    for number in range(4):
        fold = number % 2  # as write_set deals them out
        mask = Predictor(bundles[fold]).predict(manifest.parent / f"image_{number}.nii.gz").labels
        np.testing.assert_array_equal(masks_of(killed)[f"case_{number}"], mask.array)
        np.testing.assert_allclose(nibabel.load(killed.masks / f"case_{number}.nii.gz").affine, mask.affine)
        found |= set(np.unique(mask.array).tolist())
    assert len(found) > 1  # not equal for being empty
    assert [bundle.members for bundle in bundles] == [1, 1]


def test_scores_are_those_of_the_masks_in_the_folder(killed: CrossFolder, manifest: Path) -> None:
    for row in scores_of(killed)["rows"]:
        truth = np.asarray(nibabel.load(manifest.parent / f"label_{row['case'][-1]}.nii.gz").dataobj)
        value = {"organ": 1, "lesion": 4}[row["structure"]]
        true, found = truth == value, masks_of(killed)[row["case"]] == value
        assert (row["tp"], row["fp"], row["fn"]) == ((true & found).sum(), (~true & found).sum(), (true & ~found).sum())


def test_the_parent_in_mlflow_carries_the_scores_of_all_cases(killed: CrossFolder, store: str) -> None:
    client = MlflowClient(store)
    children = [client.get_run(str(run.facts()["mlflow_run_id"])) for run in killed.runs.values()]
    assert [child.info.status for child in children] == ["FINISHED", "FINISHED"]
    (parent_id,) = {child.data.tags["mlflow.parentRunId"] for child in children}
    parent = client.get_run(parent_id)
    assert parent.info.status == "FINISHED"
    for name in ("organ", "lesion"):
        mean = scores_of(killed)["structures"][name]["dice"]["mean"]
        assert parent.data.metrics[f"evaluation/dice/{name}"] == pytest.approx(mean)
    assert {item.path for item in client.list_artifacts(parent_id, "scores")} == {"scores/scores.csv", "scores/scores.json"}


def test_evaluating_again_keeps_the_masks_and_makes_what_is_missing_or_damaged(
    killed: CrossFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    masks, rows = masks_of(killed), scores_of(killed)["rows"]
    lost, damaged, kept = (killed.masks / f"case_{number}.nii.gz" for number in (0, 1, 2))
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-30])
    written = kept.stat().st_mtime_ns
    assert main(["evaluate", str(killed.path)]) == 0
    assert "organ" in capsys.readouterr().out
    assert kept.stat().st_mtime_ns == written
    assert all(np.array_equal(again, masks[name]) for name, again in masks_of(killed).items())
    assert scores_of(killed)["rows"] == rows


def test_a_cross_validation_is_compared_with_a_run_of_one_fold(killed: CrossFolder, capsys, refused: Refused) -> None:
    fold = killed.run(0).path
    assert main(["evaluate", str(fold)]) == 0
    assert json.loads((fold / "scores/scores.json").read_text())["fold"] == 0
    capsys.readouterr()
    assert main(["compare", str(killed.path), str(fold)]) == 0
    said = capsys.readouterr().out
    row = next(line.split() for line in said.splitlines() if line.startswith("Dice") and "organ" in line)
    assert row[3] == "2" and row[-3:] == ["0", "0", "2"]  # two cases in both, equal
    other = killed.run(1).path / "scores" / "scores.json"
    other.write_text((fold / "scores/scores.json").read_text())
    assert "are not this run's scores: their fold is another" in refused("compare", killed.path, killed.run(1).path)
    other.unlink()


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_scoring_a_stopped_run_does_not_call_it_finished(status: str, killed: CrossFolder, store: str) -> None:
    client, run = MlflowClient(store), killed.run(1)
    run_id = str(run.facts()["mlflow_run_id"])
    client.set_terminated(run_id, status)
    try:
        assert main(["evaluate", str(run.path), "-o", str(run.path.parent.parent / "scores")]) == 0
        assert client.get_run(run_id).info.status == status
        assert "evaluation/dice/mean" in client.get_run(run_id).data.metrics
    finally:
        client.set_terminated(run_id, "FINISHED")


def test_the_ensemble_s_mask_is_decided_by_the_mean_of_the_members_probabilities(
    killed: CrossFolder, ensemble: Path, manifest: Path, tmp_path: Path
) -> None:
    image, recipe = read_volume(manifest.parent / "image_1.nii.gz"), open_bundle(ensemble).recipe
    grid = slice_grid(image.shape, image.affine, recipe.preprocessing)
    assert not grid.resampled
    slices = to_slices(image, grid, recipe.preprocessing)
    members = [Predictor(build_bundle(killed.path, tmp_path / f"{fold}", fold=fold)) for fold in killed.folds]
    classes = np.zeros((grid.slices, grid.rows, grid.columns), dtype=np.uint8)
    for index in range(grid.slices):
        batch = torch.from_numpy(with_neighbours(slices, index, recipe.preprocessing.neighbours))[None]
        with torch.inference_mode():
            scores = [member.network(batch).double().numpy()[0] for member in members]
        powers = [np.exp(one - one.max(axis=0)) for one in scores]
        classes[index] = np.mean([one / one.sum(axis=0) for one in powers], axis=0).argmax(axis=0)
    expected = grid.turn_back(label_values(classes, recipe.table))
    found = Predictor.from_bundle(ensemble).predict(image).labels.array
    assert (found != expected).sum() <= 2  # single precision against double
    assert len(np.unique(found)) > 1


def test_the_bundle_says_that_it_is_an_ensemble(killed: CrossFolder, ensemble: Path) -> None:
    part = json.loads((ensemble / "configs/metadata.json").read_text())["unet"]
    assert (part["format"], part["network"]["members"]) == (2, 2)
    card = (ensemble / "docs/README.md").read_text(encoding="utf-8")
    assert "An ensemble: 2 networks of one cross-validation" in card
    organ = scores_of(killed)["structures"]["organ"]["dice"]["mean"]
    assert f"Out-of-fold Dice: organ {organ:.4f}" in card and "4 cases of 4 patients" in card
    assert "case_" not in card and "patient_" not in card


def test_without_out_of_fold_scores_the_card_tells_each_member_s_own(tmp_path: Path) -> None:
    cross = make_folds(tmp_path / "folds")
    for fold, dice in enumerate((0.5, 0.75, 0.25)):
        cross.run(fold).log({"epoch": 1, "val/dice": dice})
    card = (build_bundle(cross.path, tmp_path / "bundle").path / "docs/README.md").read_text(encoding="utf-8")
    assert "Out-of-fold Dice: 0.5000, 0.7500, 0.2500 (each member on its own fold" in card


def test_what_most_folds_chose_to_do_to_a_structure_is_what_the_ensemble_does() -> None:
    each = [
        {"organ": Steps(largest=True, smallest_ml=0.5), "lesion": Steps(holes=True)},
        {"organ": Steps(largest=True, smallest_ml=2.0)},
        {"organ": Steps(smallest_ml=1.0)},
        {},
    ]
    table = label_table({"organ": 1, "lesion": 2})
    assert agreed(each[:3], table) == {"organ": Steps(largest=True, smallest_ml=1.0)}
    assert agreed(each, table) == {"organ": Steps(smallest_ml=0.5)}  # two of four are no majority
    assert agreed([{}, {}], table) == {}


def test_what_cannot_be_packaged_is_said_in_one_line(killed: CrossFolder, refused: Refused, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    assert "there is no fold 7. Folds here: 0, 1." in refused("bundle", "build", killed.path, "--fold", "7", "-o", out)
    assert "Leave --fold away" in refused("bundle", "build", make_run(tmp_path / "one").path, "--fold", "0", "-o", out)
    cross = make_folds(tmp_path / "folds")
    cross.run(2).note({"finished": False})
    assert "fold 2 of 3 folds is not trained to its end. unet train --resume -o" in refused(
        "bundle", "build", cross.path, "-o", out
    )
    assert build_bundle(cross.path, out, fold=2).members == 1  # as every run that need not be finished
    assert "fold 2 of 3 folds is not trained to its end" in refused("evaluate", cross.path)
    assert "--flips: is for one run" in refused("evaluate", killed.path, "--flips")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--folds", "all", "--fold", "0"], "argument --fold: not allowed with argument --folds"),
        (["--folds", "0,2"], "--folds: '0,2' is not what --folds takes. all, for every fold in turn; --fold K for one."),
        (["--folds", "all", "--resume"], "cannot be given with --resume"),
        (["--folds", "all", "--set", "network.widht=3"], "network.widht is not a setting"),
    ],
)
def test_slips_are_answered_in_one_line_and_leave_nothing(manifest, tmp_path, refused: Refused, words, answer) -> None:
    assert answer in refused("train", manifest, *words, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()
