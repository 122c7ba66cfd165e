"""After the last epoch: what is chosen on validation cases with islands, what is left alone, and that all of it arrives."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from made_runs import ONE, make_run, some_case, thresholding
from made_trainings import TINY

from pipeline.bundle.build import build_bundle
from pipeline.cli.main import main
from pipeline.data.augmentation import Augmentation
from pipeline.data.case_store import store_cases
from pipeline.data.manifest import Case
from pipeline.data.normalise import Normalisation
from pipeline.data.postprocess import Steps
from pipeline.data.slice_grid import Preprocessing
from pipeline.inference.predictor import Predictor
from pipeline.network.catalogue import build_network
from pipeline.network.tiling import WholeSlice
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from pipeline.training.finishing import finish_run, keep_time
from pipeline.training.run_folder import RunFolder
from pipeline.training.schedule import CLOSING_S, Clock
from pipeline.training.train import train
from pipeline.training.validation import Validator

SHAPE = (20, 18, 6)
AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])


def write_case(root: Path, number: int, *, island_is_true: bool) -> Case:
    """The network marks what is bright: an organ, and an island that belongs to the truth or does not."""
    image = np.zeros(SHAPE, dtype=np.int16)
    image[3:10, 4 : 9 + number % 3, 1:5] = 1
    truth = image.astype(np.uint8)
    image[14:17, 12:15, 2] = 1
    if island_is_true:
        truth = image.astype(np.uint8)
    name = f"case{number}"
    (root / name).mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), root / name / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(truth, AFFINE), root / name / "label.nii.gz")
    paths = {"image": (f"{name}/image.nii.gz",), "label": (f"{name}/label.nii.gz",), "image_sha256": (), "label_sha256": ()}
    own = {"case": name, "patient_id": f"P{number}", "fold": 0, "shape": SHAPE, "spacing_mm": (1.0, 1.0, 3.0), "modality": "MR"}
    return replace(some_case(), **paths, **own)


def made_run(tmp_path: Path, *, island_is_true: bool = False, flips: tuple[str, ...] = ()) -> RunFolder:
    cases = [write_case(tmp_path / "data", number, island_is_true=island_is_true) for number in range(6)]
    run = make_run(
        tmp_path / "run",
        table=ONE,
        network={"width": 4, "depth": 1},
        preprocessing=Preprocessing(normalisation=Normalisation(kind="none")),
        cases=[*cases, replace(some_case("MR"), fold=1)],
        data_root=tmp_path / "data",
        modality="MR",
        augmentation=Augmentation(flips=flips),
    )
    weights = thresholding(network_of(run).state_dict(), at=0.5, head="softmax")
    save_checkpoint({"epoch": 1, "network": weights}, run.best)
    return run


def network_of(run: RunFolder) -> torch.nn.Module:
    return build_network("original", run.experiment().network_settings(ONE, 1))


def validator_of(run: RunFolder) -> Validator:
    manifest = run.manifest()
    stored = store_cases(
        manifest, [case for case in manifest.cases if case.fold == 0], run.experiment().preprocessing, run.cache
    )
    return Validator(stored, manifest.table, "softmax", neighbours=0, device=torch.device("cpu"))


def finished(run: RunFolder, clock: Clock | None = None) -> dict | None:
    network = network_of(run)
    network.load_state_dict(load_checkpoint(run.best)["network"])
    finish_run(run, validator_of(run), WholeSlice(network), clock or unlimited())
    return json.loads(run.chosen.read_text()) if run.chosen.is_file() else None


def unlimited() -> Clock:
    return Clock(epochs=1, budget_s=None, began_s=time.monotonic())


def test_islands_are_removed_and_the_bundle_and_the_evaluation_do_it_too(tmp_path: Path, capsys) -> None:
    run = made_run(tmp_path)
    chosen = finished(run)
    # true pieces have 140 to 196 voxels of 0.003 ml, nine of ten more than 140: 0.42 ml; islands of 9 voxels are below a tenth
    assert chosen["postprocessing"] == {"organ": {"smallest_ml": 0.042, "largest": False, "holes": False}}
    without = np.mean([2 * n / (2 * n + 9) for n in (140, 168, 196) * 2])
    assert chosen["dice"]["without"]["organ"] == pytest.approx(without)
    assert chosen["dice"]["with"] == {"organ": 1.0, "mean": 1.0}
    assert "post-processing organ: pieces below 0.042 ml removed, Dice" in capsys.readouterr().err
    bundle = build_bundle(run.path, tmp_path / "bundle")
    assert bundle.recipe.postprocessing == {"organ": Steps(smallest_ml=0.042)}
    found = Predictor(bundle).predict(tmp_path / "data/case0/image.nii.gz").labels.array
    np.testing.assert_array_equal(found, np.asarray(nibabel.load(tmp_path / "data/case0/label.nii.gz").dataobj))
    assert not (run.cache / ".predicted.part").exists()


def test_what_belongs_to_the_truth_stays(tmp_path: Path, capsys) -> None:
    chosen = finished(made_run(tmp_path, island_is_true=True))
    assert chosen["postprocessing"] == {}
    assert {trial["steps"] for trial in chosen["tried"]} >= {"largest piece only", "holes filled"}
    assert not any(trial["helps"] for trial in chosen["tried"])
    assert chosen["dice"]["with"] == chosen["dice"]["without"] == {"organ": 1.0, "mean": 1.0}
    assert "post-processing none helps" in capsys.readouterr().err


def test_mirror_images_are_measured_where_the_training_had_them(tmp_path: Path, capsys) -> None:
    chosen = finished(made_run(tmp_path, flips=("columns", "rows")))
    flips = chosen["flips"]
    assert flips["axes"] == ["columns", "rows"]
    assert flips["dice"]["with"]["organ"] == pytest.approx(flips["dice"]["without"]["organ"])  # thresholds know no direction
    assert flips["s_per_case"]["with"] > 0
    assert "with --flips Dice" in capsys.readouterr().err
    assert finished(made_run(tmp_path / "without"))["flips"] is None


def test_scores_on_the_cases_that_it_was_chosen_on_say_so(tmp_path: Path, capsys) -> None:
    run = made_run(tmp_path, flips=("columns",))
    finished(run)
    for words, notice in (([], False), (["--flips"], True)):
        assert main(["evaluate", str(run.path), *words, "-o", str(tmp_path / "scores")]) == 0
        scores = json.loads((tmp_path / "scores/scores.json").read_text())
        assert scores["mean_dice"] == 1.0
        codes = [notice["code"] for notice in scores["notices"]]
        assert ("flips" in codes) is notice
        assert "chosen-here" in codes
    assert "chosen on these very cases: their scores are slightly too good" in capsys.readouterr().out


def test_without_time_nothing_is_chosen_and_it_is_said(tmp_path: Path, capsys) -> None:
    clock = Clock(epochs=1, budget_s=CLOSING_S + 5, began_s=time.monotonic())
    clock.learn_reserve(10.0)
    assert finished(made_run(tmp_path), clock) is None
    assert "no time is left to choose post-processing and temperature (10 s)" in capsys.readouterr().err


def test_the_clock_keeps_the_time_for_it_but_no_more_than_a_tenth(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    for budget_s, kept_s in ((10_000.0, 5 * 20.0), (300.0, 30.0)):
        clock = Clock(epochs=1, budget_s=budget_s, began_s=time.monotonic())
        keep_time(clock, validator_of(run), {"rows": (), "columns": ()})  # once as it is, four times for mirror images
        clock.learn_reserve(20.0)
        assert clock.reserve_s == pytest.approx(CLOSING_S + 2 * 20.0 + kept_s, abs=2)


@pytest.fixture(scope="module")
def trained_with_flips(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    settings = {**TINY, "augmentation.flips": ["rows"], "learning_rate": 0.02}
    return train(manifest, tmp_path_factory.mktemp("runs") / "flips", settings=settings)


def test_a_training_ends_with_its_choice_and_mlflow_has_the_numbers(trained_with_flips: RunFolder, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    run = trained_with_flips
    chosen = json.loads(run.chosen.read_text())
    assert chosen["epoch"] == run.facts()["best_epoch"]
    assert chosen["dice"]["without"]["mean"] == pytest.approx(run.facts()["best_dice"])
    metrics = MlflowClient(mlflow_uri).get_run(str(run.facts()["mlflow_run_id"])).data.metrics
    for key in ("temperature", "ece_before", "ece_after"):
        assert metrics[f"calibration/{key}"] == pytest.approx(chosen["calibration"][key])
    assert metrics["flips/dice_with"] == pytest.approx(chosen["flips"]["dice"]["with"]["mean"])
    assert metrics["flips/s_per_case_with"] > 0
    assert build_bundle(run.path, run.path.parent / "bundle").recipe.flips == {"rows": ()}


def test_without_validation_nothing_is_chosen(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    nobody = Validator([], run.manifest().table, "softmax", neighbours=0, device=torch.device("cpu"))
    finish_run(run, nobody, WholeSlice(network_of(run)), unlimited())
    assert not run.chosen.is_file()
