"""One MLflow database for all trainings of these tests, and one training that many of them look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from made_trainings import TINY, write_set

from pipeline.training.run_folder import RunFolder
from pipeline.training.train import train


@pytest.fixture(scope="session", autouse=True)
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="session")
def trained(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Two structures, fold 0 validated; read only."""
    return train(manifest, tmp_path_factory.mktemp("runs") / "trained", settings=TINY)
