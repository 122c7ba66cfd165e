"""An MLflow database without runs, made once, and real servers on it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tracking import delivery
from pipeline.tracking.store import database_uri, open_client


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making one takes 3 s; each test copies it."""
    folder = tmp_path_factory.mktemp("mlflow")
    open_client(database_uri(folder))
    return folder / "mlflow.db"


@pytest.fixture
def project(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with blanks and umlauts, whose mlruns/ holds no run yet."""
    folder = tmp_path / "my prüject"
    (folder / "mlruns").mkdir(parents=True)
    shutil.copy(empty_database, folder / "mlruns")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(delivery, "SETTLE_S", 0.01)  # no other fold is under way
    return folder


class Server:
    """MLflow's own server, always on the same port and database."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self.port = folder, port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += [
            "--backend-store-uri",
            database_uri(self._folder),
            "--artifacts-destination",
            str(self._folder / "artifacts"),
        ]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2):
                    return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.2)

    def kill(self) -> None:
        """At once and without a word, its workers too."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait(10)


@pytest.fixture
def server(tmp_path: Path, empty_database: Path, free_port: int) -> Iterator[Server]:
    """Not yet started; ended after the test."""
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(empty_database, folder)
    made = Server(folder, free_port)
    yield made
    made.kill()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
