"""Tracking servers that answer, refuse, hang and die: a training is neither stopped nor delayed, and nothing is lost."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.tracking import tracker as tracker_module
from pipeline.tracking.tracker import open_tracker

EPOCH_COST_S = 0.5  # of a training's time, whatever the server does


def fold(folder: Path, port: int, run_id: str = ""):
    return open_tracker(
        folder, experiment="x", run_name="fold 0", training_key="k", run_id=run_id, uri=f"http://127.0.0.1:{port}"
    )


def losses(port: int, run_id: str) -> list[tuple[int, float]]:
    history = MlflowClient(f"http://127.0.0.1:{port}").get_metric_history(run_id, "loss")
    return [(point.step, point.value) for point in history]


@pytest.fixture
def hanging_port() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_server_takes_numbers_and_files_and_keeps_them_over_its_death(
    tmp_path: Path, server, capfd: pytest.CaptureFixture[str]
) -> None:
    server.start()
    (tmp_path / "overlay.png").write_bytes(b"\x89PNG" + bytes(2_000_000))
    tracker = fold(tmp_path / "run", server.port)
    tracker.log_epoch(0, {"loss": 1.0})
    tracker.log_file(tmp_path / "overlay.png", "pictures")
    run_id = tracker.run_id
    deadline = time.monotonic() + 30
    while not (arrived := MlflowClient(tracker.uri).list_artifacts(run_id, "pictures")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [(file.path, file.file_size) for file in arrived] == [("pictures/overlay.png", 2_000_004)]

    server.kill()
    started = time.monotonic()
    for epoch in (1, 2):
        tracker.log_epoch(epoch, {"loss": 1.0 / (epoch + 1)})
    assert time.monotonic() - started < EPOCH_COST_S
    assert tracker.close() == 3  # two epochs and the end
    assert capfd.readouterr().err.count("does not answer") == 1

    server.start()
    with fold(tmp_path / "run", server.port, run_id) as tracker:
        tracker.log_epoch(3, {"loss": 0.25})
    assert losses(server.port, run_id) == [(0, 1.0), (1, 0.5), (2, 1 / 3), (3, 0.25)]
    assert not list((tmp_path / "run").glob("*spool*"))


def test_server_that_comes_up_during_the_training_gets_everything_with_its_time(
    tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracker_module, "RETRY_S", 0.2)
    monkeypatch.setattr(tracker_module, "CLOSING_WAIT_S", 90.0)  # the server is there: on a busy machine it takes its time
    tracker = fold(tmp_path / "run", server.port)
    before_ms = time.time() * 1000
    tracker.log_epoch(0, {"loss": 1.0})
    after_ms = time.time() * 1000
    assert tracker.run_id.startswith("pending:")
    server.start()
    assert tracker.close() == 0
    history = MlflowClient(tracker.uri).get_metric_history(tracker.run_id, "loss")
    assert len(history) == 1 and before_ms - 1 <= history[0].timestamp <= after_ms
    assert capfd.readouterr().err.count("answers again") == 1


def test_server_that_hangs_costs_the_training_nothing(
    tmp_path: Path, hanging_port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    tracker = fold(tmp_path, hanging_port)
    for epoch in range(3):
        tracker.log_epoch(epoch, {"loss": 1.0})
    assert time.monotonic() - started < 5  # of which the import of mlflow takes most
    assert tracker.run_id.startswith("pending:")
    started = time.monotonic()
    assert tracker.close() == 5
    assert time.monotonic() - started < 12
    words = capfd.readouterr().err
    assert words.count("does not answer") == 1 and "5 messages could not be sent" in words
    assert (tmp_path / "tracking_spool.jsonl").read_text().count('"kind": "metrics"') == 3


def test_refused_connection_is_one_line(tmp_path: Path, free_port: int, capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    with fold(tmp_path, free_port) as tracker:
        tracker.log_epoch(0, {"loss": 1.0})
    assert time.monotonic() - started < 10
    words = capfd.readouterr().err
    assert words.count("does not answer") == 1 and "Traceback" not in words


def test_full_disk_costs_one_line(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    tracker = open_tracker(project / "run", experiment="x", run_name="fold 0", training_key="k")
    os.dup2(os.open("/dev/full", os.O_WRONLY), tracker._spool._file.fileno())
    tracker.log_epoch(0, {"loss": 1.0})
    tracker.log_epoch(1, {"loss": 0.5})
    assert tracker.close() == 0
    assert losses_here(tracker.uri, tracker.run_id) == [1.0, 0.5]
    assert capfd.readouterr().err.count("cannot be written") == 1


def losses_here(uri: str, run_id: str) -> list[float]:
    return [point.value for point in MlflowClient(uri).get_metric_history(run_id, "loss")]
