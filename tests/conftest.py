"""Fixtures that every test may use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
sys.path.append(str(Path(__file__).parent / "io"))  # made_series.py writes DICOM series for the tests of every folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real scans, beside the checkout or where UNET_SHARED says; tests that need it skip without it."""
    folder = Path(os.environ.get("UNET_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no labelled real scans here: {folder} is absent (UNET_SHARED names another place)")
    return folder


@pytest.fixture(scope="session")
def unet() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `unet WORDS...` as a user does: in a process of its own, text captured."""

    def run(*words: object, cwd: Path | None = None, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline", *map(str, words)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s)

    return run
