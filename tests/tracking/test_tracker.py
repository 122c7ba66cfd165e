"""Runs in the SQLite database of mlruns/, read back with MLflow's own client."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.errors import UserError
from pipeline.tracking import delivery
from pipeline.tracking.store import tracking_uri
from pipeline.tracking.tracker import clean_names, open_tracker


def runs(experiment: str = "hippocampus") -> list[Run]:
    client = MlflowClient(tracking_uri())
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def children(experiment: str = "hippocampus") -> list[Run]:
    return [run for run in runs(experiment) if "mlflow.parentRunId" in run.data.tags]


def fold(project: Path, number: int = 0, **more: str):
    folder = project / f"run {number}"
    return open_tracker(folder, experiment="hippocampus", run_name=f"fold {number}", training_key="key1", **more)


def test_what_is_logged_stands_in_mlflow(project: Path) -> None:
    with fold(project) as tracker:
        tracker.log_parameters({"epochs": 30, "optimizer": {"name": "sgd", "momentum": 0.99}})
        tracker.log_dataset("hippocampus_mr", "0123456789abcdef" * 4)
        tracker.set_tags({"stopped by": "time"})
        tracker.log_epoch(0, {"val/dice/anterior": 0.5, "val/dice/posterior": None})
        tracker.log_epoch(1, {"val/dice/anterior": 0.75})
    client = MlflowClient(tracking_uri())
    run = client.get_run(tracker.run_id)
    assert run.data.params == {"epochs": "30", "optimizer.name": "sgd", "optimizer.momentum": "0.99"}
    assert run.inputs.dataset_inputs[0].dataset.digest == "0123456789abcdef0123456789abcdef0123"
    assert run.data.tags["stopped by"] == "time"
    history = client.get_metric_history(tracker.run_id, "val/dice/anterior")
    assert [(point.step, point.value) for point in history] == [(0, 0.5), (1, 0.75)]
    assert "val/dice/posterior" not in run.data.metrics
    assert 0 < run.data.metrics["system/system_memory_usage_percentage"] < 100
    assert run.info.status == client.get_run(tracker.parent_run_id).info.status == "FINISHED"


def test_pictures_lie_beside_the_database(project: Path) -> None:
    picture = project / "overlay ä.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    with fold(project) as tracker:
        tracker.log_file(picture, "pictures")
        tracker.log_text("epochs: 30", "experiment.yaml")
    kept = [path.relative_to(project / "mlruns" / "artifacts").parts[2:] for path in (project / "mlruns").rglob("*.*g*")]
    assert sorted(part for part in kept if part) == [("pictures", "overlay ä.png")]
    assert MlflowClient(tracking_uri()).download_artifacts(tracker.run_id, "experiment.yaml", str(project)).endswith(".yaml")
    assert {path.name for path in project.iterdir()} == {"mlruns", "run 0", "overlay ä.png", "experiment.yaml"}


def test_environment_is_on_the_run(project: Path) -> None:
    fold(project).close()
    tags = children()[0].data.tags
    assert tags["package.torch"].startswith("2.") and tags["package.monai"] and tags["python"]
    checkout = Path(__file__).parents[2]
    if (checkout / ".git").exists():
        head = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
        assert len(tags["mlflow.source.git.commit"]) == len(head) == 40


def test_folds_started_together_are_children_of_one_training(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SETTLE_S", 2.0)

    def one(number: int) -> None:
        with fold(project, number) as tracker:
            tracker.log_epoch(0, {"loss": 1.0})

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.info.run_name for run in children()) == ["fold 0", "fold 1", "fold 2"]
    assert len({run.data.tags["mlflow.parentRunId"] for run in children()}) == 1
    assert len(runs()) == 4


def test_resumed_training_goes_on_in_its_run(project: Path) -> None:
    with fold(project) as first:
        first.log_epoch(0, {"loss": 1.0})
    with fold(project, run_id=first.run_id) as second:
        second.log_epoch(1, {"loss": 0.5})
    assert len(children()) == 1
    assert len(MlflowClient(tracking_uri()).get_metric_history(first.run_id, "loss")) == 2


@pytest.mark.parametrize("status", ["FINISHED", "KILLED", "FAILED"])
def test_what_is_added_to_a_run_that_is_over_changes_neither_its_status_nor_its_end(project: Path, status: str) -> None:
    first = fold(project)
    first.close(status)
    before = [run.info for run in runs()]
    with fold(project, run_id=first.run_id, ended="FINISHED") as second:
        second.log_scores({"evaluation/dice/anterior": 0.5})
    assert children()[0].data.metrics["evaluation/dice/anterior"] == 0.5
    assert [(info.status, info.end_time) for info in before] == [(run.info.status, run.info.end_time) for run in runs()]
    assert {info.status for info in before} == {status}


def test_a_run_that_is_over_and_lost_is_made_anew_as_it_ended(project: Path) -> None:
    first = fold(project)
    first.close()
    client = MlflowClient(tracking_uri())
    client.delete_run(first.parent_run_id)
    client.delete_run(first.run_id)
    with fold(project, run_id=first.run_id, ended="KILLED") as second:
        second.log_scores({"evaluation/dice/anterior": 0.5})
    assert [run.info.status for run in runs()] == ["KILLED", "KILLED"]


def test_numbers_and_files_of_the_training_stand_on_the_parent(project: Path) -> None:
    with fold(project, 0) as first:
        first.log_scores({"val/dice": 0.5})
    scores = project / "scores.csv"
    scores.write_text("case", encoding="utf-8")
    with fold(project, 1) as second:
        second.log_scores({"val/dice": 0.75})
        second.log_scores({"val/dice": 0.625}, training=True)
        second.log_file(scores, "scores", training=True)
    client = MlflowClient(tracking_uri())
    parent = client.get_run(second.parent_run_id)
    assert parent.data.metrics == {"val/dice": 0.625}
    assert sorted(run.data.metrics["val/dice"] for run in children()) == [0.5, 0.75]
    assert [item.path for item in client.list_artifacts(parent.info.run_id, "scores")] == ["scores/scores.csv"]
    assert client.list_artifacts(second.run_id) == []


def test_run_that_was_deleted_is_begun_anew(project: Path) -> None:
    first = fold(project)
    first.close()
    MlflowClient(tracking_uri()).delete_run(first.run_id)
    with fold(project, run_id=first.run_id) as second:
        second.log_epoch(0, {"loss": 0.5})
    assert second.run_id != first.run_id
    assert children()[0].data.metrics["loss"] == 0.5


def test_parameter_that_changes_on_resume_is_kept_beside_the_first(project: Path) -> None:
    with fold(project) as first:
        first.log_parameters({"time_budget": "20m", "seed": 1})
    with fold(project, run_id=first.run_id) as second:
        second.log_parameters({"time_budget": "40m", "seed": 1, "threads": 2})
    run = children()[0]
    assert run.data.params == {"time_budget": "20m", "seed": "1", "threads": "2"}
    assert run.data.tags["changed/time_budget"] == "40m"


def test_failed_training_is_shown_as_failed(project: Path) -> None:
    with pytest.raises(ZeroDivisionError), fold(project):
        raise ZeroDivisionError
    assert {run.info.status for run in runs()} == {"FAILED"}


def test_infinity_does_not_become_a_huge_number(project: Path) -> None:
    with fold(project) as tracker:
        tracker.log_scores({"hd95_mm": math.inf})
    assert math.isnan(children()[0].data.metrics["hd95_mm"])


def test_refused_names_are_changed_and_stay_apart() -> None:
    assert clean_names({"dice/tumour (core)": 1, "dice/tumour <core>": 2, "/a/../b": 3, "größe": 4}) == {
        "dice/tumour _core_": 1,
        "dice/tumour _core__2": 2,
        "a/b": 3,
        "größe": 4,
    }


def test_mlflow_takes_every_cleaned_name(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    odd = [f"a{letter}b" for letter in "()<>,\"'!?=+*&%$#@~`|\\[]{};\t"] + ["x" * 400, "..", "/", ""]
    with fold(project) as tracker:
        tracker.log_scores(dict.fromkeys(odd, 1.0))
        tracker.log_parameters(dict.fromkeys(odd, "v" * 7000))
    assert len(children()[0].data.metrics) == len(children()[0].data.params) == len(odd)
    assert "refused" not in capfd.readouterr().err


def test_file_that_is_gone_costs_one_line(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with fold(project) as tracker:
        tracker.log_file(project / "never.png")
        tracker.log_epoch(0, {"loss": 1.0})
    assert "never.png is gone" in capfd.readouterr().err
    assert children()[0].data.metrics["loss"] == 1.0


def test_plain_folder_as_address_is_refused_before_the_training(project: Path) -> None:
    with pytest.raises(UserError, match=r"sqlite:////srv/runs/mlflow\.db"):
        fold(project, uri="file:///srv/runs")
    with pytest.raises(UserError, match="plain folder"):
        fold(project, uri="./mlruns")


TRAIN = """
import os, sys
from pathlib import Path
from pipeline.tracking.tracker import open_tracker
tracker = open_tracker(Path(sys.argv[1]), experiment="hippocampus", run_name="fold 0", training_key="key1")
print(tracker.run_id)
tracker.log_epoch(0, {"loss": 1.0})
"""


def test_two_processes_may_make_the_database_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-c", TRAIN + "sys.exit(tracker.close())"]
    both = [
        subprocess.Popen([*command, f"run {n}"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        for n in (0, 1)
    ]
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0), ("", 0)]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    assert len(client.search_runs([client.get_experiment_by_name("hippocampus").experiment_id])) == 3
    assert [path.name for path in (tmp_path / "mlruns").iterdir()] == ["mlflow.db"]


def test_killed_training_loses_no_epoch(project: Path) -> None:
    silent = {**os.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}  # the discard port: nobody listens
    command = [sys.executable, "-c", TRAIN + "os.kill(os.getpid(), 9)", "run 0"]
    killed = subprocess.run(command, cwd=project, env=silent, capture_output=True, text=True)
    assert killed.stdout.startswith("pending:") and killed.returncode == -9
    with fold(project, run_id=killed.stdout.strip()) as tracker:
        tracker.log_epoch(1, {"loss": 0.5})
    assert [point.value for point in MlflowClient(tracking_uri()).get_metric_history(tracker.run_id, "loss")] == [1.0, 0.5]
    assert len(children()) == 1
    assert not list((project / "run 0").glob("*spool*"))


def test_spool_torn_in_its_last_line_is_read_up_to_there(project: Path) -> None:
    event = {"number": 1, "kind": "tags", "experiment": "hippocampus", "run": "pending:1", "time_ms": 1, "data": {"a": "b"}}
    begin = {**event, "kind": "begin", "data": {"name": "lost", "training": "key0", "training_name": "t", "tags": {}}}
    spool = project / "run 0" / "tracking_spool.jsonl"
    spool.parent.mkdir()
    spool.write_text(
        "\n".join([json.dumps({"owner": None}), json.dumps(begin), json.dumps({**event, "number": 2}), '{"number": 3, "ki'])
    )
    fold(project).close()
    assert {run.info.run_name: run.data.tags.get("a") for run in children()} == {"lost": "b", "fold 0": None}


def test_two_trackers_may_share_a_run_folder(project: Path) -> None:
    with fold(project) as training, fold(project, run_id=training.run_id) as evaluation:
        evaluation.log_scores({"test/dice": 0.9})
        training.log_epoch(0, {"loss": 1.0})
    assert {"test/dice", "loss"} <= set(children()[0].data.metrics)
    assert not list((project / "run 0").glob("*spool*"))


def test_mlflow_reports_to_nobody() -> None:
    words = "import pipeline, mlflow.telemetry.client as t; print(t.get_telemetry_client())"
    environment = {n: v for n, v in os.environ.items() if n not in ("CI", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")}
    done = subprocess.run([sys.executable, "-c", words], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "None"
