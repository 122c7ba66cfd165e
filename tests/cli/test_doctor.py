"""`unet doctor`: a healthy machine, and each fault with its fix."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Unet = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def lines_of(done: subprocess.CompletedProcess[str], topic: str) -> list[str]:
    """The lines of one topic, each with its fix."""
    text = done.stdout.replace(f"\n{'':<18} → ", " → ")
    return [line for line in text.splitlines() if topic in line[:20]]


def test_this_machine_is_ready_and_it_takes_less_than_ten_seconds(unet: Unet, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = unet("doctor", cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10  # of its own, whatever else is running
    assert done.returncode == 0 and "Ready" in done.stdout and "PROBLEM" not in done.stdout
    topics = {line[9:18].strip() for line in done.stdout.splitlines()}
    assert {"Python", "packages", "device", "memory", "disk", "folders", "MLflow", "DICOM", "browser"} <= topics
    assert list(tmp_path.iterdir()) == []  # it only looks


def test_changed_package_is_named_with_its_pin(tmp_path: Path) -> None:
    dist = tmp_path / "nibabel-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: nibabel\nVersion: 1.0\n")
    command = [sys.executable, "-m", "pipeline", "doctor"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert any("nibabel 1.0" in line and "→ pip install nibabel==" in line for line in lines_of(done, "packages"))


def test_folder_that_cannot_be_made_is_a_problem(unet: Unet, tmp_path: Path) -> None:
    (tmp_path / "bundles").write_text("a file in the way")
    done = unet("doctor", "--folder", tmp_path)
    assert done.returncode == 2
    assert any("bundles cannot be written" in line and "→" in line for line in lines_of(done, "folders"))


def test_absent_folder_is_bad_input(unet: Unet, tmp_path: Path) -> None:
    done = unet("doctor", "--folder", tmp_path / "nowhere")
    assert done.returncode == 2 and done.stdout == "" and "nowhere" in done.stderr


def test_damaged_database_is_a_problem_with_a_way_on(unet: Unet, tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_bytes(b"not a database" * 100)
    done = unet("doctor", cwd=tmp_path)
    assert done.returncode == 2
    assert any("cannot be read" in line and "→ mv " in line for line in lines_of(done, "MLflow"))


def test_half_made_database_is_a_problem_too(unet: Unet, tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        database.execute("CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY)")
    database.close()
    done = unet("doctor", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == ""
    assert any("half made" in line for line in lines_of(done, "MLflow"))


def test_server_that_is_down_is_a_note_and_stops_nothing(unet: Unet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = unet("doctor", cwd=tmp_path)
    assert done.returncode == 0
    assert any("does not answer" in line and line.startswith("note") for line in lines_of(done, "MLflow"))


def test_missing_browser_is_a_note(unet: Unet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert shutil.which("chromium") is None
    done = unet("doctor", cwd=tmp_path)
    assert any("→ apt-get install chromium" in line and line.startswith("note") for line in lines_of(done, "browser"))
