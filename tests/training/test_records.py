"""What a training tells MLflow, asked of MLflow's own client; and the files that people open."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_trainings import TINY
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from pipeline.training.run_folder import RunFolder
from pipeline.training.train import train

MEASURES = ("dice", "iou", "precision", "recall", "accuracy")


@pytest.fixture(scope="module")
def trained(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A training of these tests alone: copies of the common one go on in its MLflow run."""
    return train(manifest, tmp_path_factory.mktemp("runs") / "made", settings=TINY)


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(mlflow_uri)


@pytest.fixture
def run(client: MlflowClient, trained) -> Run:
    return client.get_run(str(trained.facts()["mlflow_run_id"]))


def artifacts(client: MlflowClient, run: Run, folder: str = "") -> set[str]:
    return {item.path for item in client.list_artifacts(run.info.run_id, folder or None)}


def test_the_run_is_finished_and_a_child_of_its_training(client, run):
    assert (run.info.status, run.info.run_name) == ("FINISHED", "fold 0")
    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "made")
    children = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert run.info.run_id in {child.info.run_id for child in children}


def test_every_setting_is_a_parameter(run):
    wanted = {"network.width": "2", "network.padding": "same", "preprocessing.normalisation.kind": "zscore"}
    wanted |= {"learning_rate": "0.001", "patch": "(32, 32)", "seed": "0", "fold": "0", "threads": "1"}
    assert wanted.items() <= run.data.params.items()


def test_there_is_a_curve_for_each_structure_and_measure_with_a_point_an_epoch(client, run, trained):
    lines = trained.history()
    names = [f"val/{measure}/{structure}" for measure in MEASURES for structure in ("organ", "lesion")]
    for name in ("train/loss", "learning_rate", "val/dice", *names):
        points = {m.step: m.value for m in client.get_metric_history(run.info.run_id, name)}
        assert points == {line["epoch"]: pytest.approx(line[name]) for line in lines}, name
    assert any(name.startswith("system/") for name in run.data.metrics)


def test_the_data_set_is_named_by_its_digest(run, trained):
    dataset = run.inputs.dataset_inputs[0].dataset
    manifest = trained.manifest()
    assert dataset.name == "made"
    assert manifest.digest.startswith(dataset.digest)


def test_files_and_pictures_are_with_the_run(client, run):
    assert {"experiment.yaml", "report.html"} <= artifacts(client, run)
    assert artifacts(client, run, "pictures") == {"pictures/best.png", "pictures/worst.png"}
    assert artifacts(client, run, "checkpoints") == {"checkpoints/best.pt", "checkpoints/last.pt"}
    assert artifacts(client, run, "scores") == {"scores/validation.json"}


def test_code_and_versions_are_told(run):
    told = " ".join(f"{name}={value}" for name, value in run.data.tags.items())
    assert "torch" in told
    assert "commit" in told


def test_pictures_show_something(trained):
    for path in trained.pictures.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 100
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_the_page_holds_scores_curves_pictures_and_settings_without_a_network(trained):
    page = (trained.path / "report.html").read_text(encoding="utf-8")
    for words in ("organ", "lesion", "precision", "DiceFocal", "data:image/jpeg", "network.normalization", "unet bundle build"):
        assert words in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
