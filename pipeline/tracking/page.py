"""Start MLflow's own page on the local runs, and end it. Knows nothing of what the page shows.

Adds to `mlflow ui`: loopback only, one worker instead of four and a job runner (8 s to start, not 26), a free port, an end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .store import SETTINGS, artifact_location, database_file, open_client, tracking_uri

HOST = "127.0.0.1"
FOR_TRAININGS = "workflowType=machine_learning"  # else the page opens with tools for language models
FIRST_PORT = 5000
PORTS_TRIED = 50
START_WAIT_S = 90.0
END_WAIT_S = 10.0
LOG_NAME = "ui.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPage:
    """MLflow's page; `address` is what to open in a browser."""

    address: str
    process: subprocess.Popen[bytes] | None  # None: someone else's server

    def wait(self) -> None:
        """Until it ends by itself. Raises: UserError, as it should not."""
        if self.process is not None:
            code = self.process.wait()
            raise UserError(f"MLflow's page ended by itself (exit code {code})", next="Type 'unet ui' to start it again.")


@contextlib.contextmanager
def mlflow_page(port: int | None = None) -> Iterator[RunningPage]:
    """MLflow's page on the runs that `tracking_uri` names, ready to be opened; ended on leaving.

    Args:
        port: absent: 5000 or the next free one.
    Raises: UserError when the port is taken, when there are no runs, or when MLflow does not start.
    """
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        yield RunningPage(address=uri.rstrip("/"), process=None)
        return
    database = database_file(uri)
    if uri.startswith("sqlite:///") and not database.exists():
        raise UserError("there are no runs yet", where=database, next="'unet train' or 'unet demo' makes one.")
    chosen = _free_port() if port is None else _refuse_taken(port)
    log = (database.parent if uri.startswith("sqlite:///") else Path.cwd()) / LOG_NAME
    process = _start(uri, chosen, log)
    try:
        address = f"http://{HOST}:{chosen}"
        _wait_until_ready(process, address, log)
        yield RunningPage(address=f"{address}/#/experiments/{_latest_experiment(uri)}/runs?{FOR_TRAININGS}", process=process)
    finally:
        _end(process)
        log.unlink(missing_ok=True)


def _start(uri: str, port: int, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri]
    if place := artifact_location(uri):
        command += ["--default-artifact-root", place]
    environment = {**SETTINGS, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with log.open("wb") as out:  # a session of its own: Ctrl-C is for us, who then end it in good order
        return subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=log.parent, start_new_session=True)


def _latest_experiment(uri: str) -> str:
    """MLflow's number of the experiment with the newest run; its Default while there is none."""
    client = open_client(uri)
    numbers = [experiment.experiment_id for experiment in client.search_experiments()]
    newest = client.search_runs(numbers, order_by=["attributes.start_time DESC"], max_results=1)
    return str(newest[0].info.experiment_id) if newest else "0"


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = lines[-1].strip() if lines else "it gave no reason"
            raise UserError(f"MLflow's page did not start: {last}", next="'unet doctor' may know why.")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise UserError(f"MLflow's page did not answer within {START_WAIT_S:.0f} s", where=address, next="Try 'unet ui' again.")


def _end(process: subprocess.Popen[bytes]) -> None:
    """The server and its worker; by force when a polite word is not enough."""
    for word in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, word)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_WAIT_S)
            return


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
        return False


def _free_port() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        if not _taken(port):
            return port
    raise UserError(f"ports {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} are all taken", next="Name one: unet ui --port 8800")


def _refuse_taken(port: int) -> int:
    if not 1 <= port <= 65535:
        raise UserError(f"{port} is not a port: 1 to 65535", where="--port")
    if _taken(port):
        raise UserError(
            f"port {port} is taken or not allowed", where="--port", next="Without --port the next free one is taken."
        )
    return port
