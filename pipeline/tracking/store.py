"""Where MLflow keeps the runs: SQLite in `mlruns/`, or MLFLOW_TRACKING_URI's server. Knows nothing of what is logged.

Adds to MLflow: no telemetry, short time-outs, no chatter on stderr, pictures beside the database, not in the current folder.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from ..errors import UserError
from ..io.paths import temporary_beside

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER_NAME = "mlruns"
DATABASE_NAME = "mlflow.db"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # else the page opens with tools for language models

# MLflow reads these at import or at each call; a value the user has set stays.
# Its own defaults keep a caller waiting 246 s for a server that is down and 1003 s for one that hangs.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def mlruns_folder() -> Path:
    """`mlruns/` in the current folder, as `bundles/` and `data_manifests/`; absolute. It need not exist yet."""
    return Path.cwd() / FOLDER_NAME


def database_uri(folder: Path) -> str:
    """SQLite's address of the database in an `mlruns/` folder."""
    return f"sqlite:///{folder.resolve().as_posix()}/{DATABASE_NAME}"


def tracking_uri(uri: str = "") -> str:
    """`uri`, else MLFLOW_TRACKING_URI, else the database in `mlruns_folder()`.

    Raises: UserError for a plain folder or a file: address, which this MLflow no longer writes.
    """
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI", "").strip() or database_uri(mlruns_folder())
    if "://" not in chosen and chosen != "databricks":
        place = Path(chosen.removeprefix("file:")).expanduser().resolve()
        raise UserError(
            f"MLflow no longer keeps runs in a plain folder ('{chosen}')",
            where="MLFLOW_TRACKING_URI",
            next=f"Say {database_uri(place)} instead, or unset it to use {FOLDER_NAME}/.",
        )
    if chosen.startswith("file://"):
        raise UserError(
            f"MLflow no longer keeps runs in a plain folder ('{chosen}')",
            where="MLFLOW_TRACKING_URI",
            next=f"Say {database_uri(Path(urlparse(chosen).path))} instead, or unset it to use {FOLDER_NAME}/.",
        )
    return chosen


def artifact_location(uri: str) -> str | None:
    """Where pictures and files of new experiments go: beside a SQLite database; None leaves it to the server."""
    parts = urlparse(uri)
    if parts.scheme in ("http", "https", "databricks") or uri == "databricks":
        return None
    if parts.scheme == "sqlite":
        return (database_file(uri).resolve().parent / "artifacts").as_uri()
    return (mlruns_folder() / "artifacts").as_uri()


def quiet_settings() -> None:
    """Put MLflow's environment variables in place; call it before anything imports mlflow."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def open_client(uri: str) -> MlflowClient:
    """A client of the store; the first one of a SQLite database makes it (about 3 s)."""
    quiet_settings()
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints a traceback and raises the same error
    if uri.startswith("sqlite:///") and not database_file(uri).exists():
        _make_database(database_file(uri))
    return MlflowClient(uri)


def database_file(uri: str) -> Path:
    """The file of a sqlite:/// address."""
    return Path(uri.removeprefix("sqlite:///"))


def _make_database(file: Path) -> None:
    """MLflow's tables, under another name until all are there: a second process that opens a half-made one would spoil it."""
    from mlflow import MlflowClient

    file.parent.mkdir(parents=True, exist_ok=True)
    aside = temporary_beside(file, ".db")
    try:
        MlflowClient(f"sqlite:///{aside.as_posix()}").search_experiments(max_results=1)
        try:
            file.hardlink_to(aside)
        except FileExistsError:  # another process was faster: its database is as good
            pass
        except OSError:  # a file system without links
            aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)


def experiment_id(client: MlflowClient, name: str, uri: str) -> str:
    """MLflow's number of the experiment of this name: made when absent, taken out of the bin when deleted."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location(uri), tags=KIND))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another fold, started at the same moment, was faster
                raise
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
