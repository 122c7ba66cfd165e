"""Bring one event to MLflow, so that a second time changes nothing. Knows no queue and no waiting."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .spool import Event
from .store import experiment_id, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TRAINING_TAG = "unet.training"  # on the parent: which training this is
RUN_TAG = "unet.run"  # on the child: the name that it had before MLflow gave it one
PENDING = "pending:"
SETTLE_S = 2.0  # folds started together may each make the parent; longer than one such call takes
SMALL_FILE_BYTES = 1_000_000  # sent well within the ordinary time-out
SLOW_LINE_BYTES_PER_S = 1_000_000
TEXT_LIMIT = 6000  # MLflow cuts a longer parameter with a warning

# What MLflow will refuse however often it is sent; everything else (no answer, 5xx, locked, no permission) is tried again.
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST", "INVALID_STATE")


class Refused(Exception):
    """MLflow will not take this event, now or later."""


class Delivery:
    """Events → calls of MlflowClient. Not for several threads at once."""

    def __init__(self, uri: str, folder: Path) -> None:
        self._uri, self._folder = uri, folder
        self._client: MlflowClient | None = None
        self._run_ids: dict[str, str] = {}
        self._parent_ids: dict[str, str] = {}

    def run_id(self, run: str) -> str:
        """MLflow's id of a run, or the name it goes by until it has one."""
        return self._run_ids.get(run, run)

    def parent_id(self, run: str) -> str:
        """MLflow's id of the run's parent; "" while it is not known."""
        return self._parent_ids.get(run, "")

    def send(self, event: Event) -> None:
        """Raises: Refused when sending again is useless; any other exception when it is worth another try."""
        from mlflow.exceptions import MlflowException

        try:
            if self._client is None:
                self._client = open_client(self._uri)
            if event.kind == "begin":
                self._begin(self._client, event)
            else:
                run_id = self._known_run(self._client, event)
                if event.kind in ("metrics", "file") and event.data.get("of_training"):
                    run_id = self._parent_ids[event.run]
                getattr(self, f"_{event.kind}")(self._client, run_id, event)
        except MlflowException as error:
            if error.error_code in REFUSALS:
                raise Refused(_first_line(error)) from error
            raise
        except FileNotFoundError as error:
            raise Refused(f"{error.filename} is gone") from error

    def _begin(self, client: MlflowClient, event: Event) -> None:
        experiment = experiment_id(client, event.experiment, self._uri)
        found = _find(client, event.run, experiment)
        if found is not None:
            run_id = str(found.info.run_id)
            self._parent_ids[event.run] = found.data.tags.get("mlflow.parentRunId", "")
            if not event.data.get("ended"):
                client.update_run(run_id, status="RUNNING")
        else:
            parent = _parent(client, experiment, event)
            tags = {**event.data["tags"], RUN_TAG: event.run, "mlflow.parentRunId": parent}  # type: ignore[dict-item]
            run_id = _create(client, experiment, event.time_ms, name=str(event.data["name"]), tags=tags)
            self._parent_ids[event.run] = parent
            if event.data.get("ended"):  # MLflow has lost it, and nothing runs
                self._terminate(client, run_id, event, str(event.data["ended"]))
        self._run_ids[event.run] = run_id

    def _known_run(self, client: MlflowClient, event: Event) -> str:
        if event.run not in self._run_ids:  # it was begun by an earlier process
            found = _find(client, event.run, experiment_id(client, event.experiment, self._uri))
            if found is None:
                raise Refused(f"there is no run {event.run}")
            self._run_ids[event.run] = str(found.info.run_id)
            self._parent_ids[event.run] = found.data.tags.get("mlflow.parentRunId", "")
        return self._run_ids[event.run]

    def _parameters(self, client: MlflowClient, run_id: str, event: Event) -> None:
        """New parameters; one that a resumed training has changed becomes a tag, as MLflow keeps the first value for good."""
        from mlflow.entities import Param, RunTag

        wanted = {name: str(value)[:TEXT_LIMIT] for name, value in event.data.items()}
        known = client.get_run(run_id).data.params
        new = [Param(name, value) for name, value in wanted.items() if name not in known]
        changed = [RunTag(f"changed/{n}", value) for n, value in wanted.items() if n in known and known[n] != value]
        client.log_batch(run_id, params=new, tags=changed)

    def _metrics(self, client: MlflowClient, run_id: str, event: Event) -> None:
        from mlflow.entities import Metric

        step = int(str(event.data["step"]))
        values: dict[str, float] = event.data["values"]  # type: ignore[assignment]
        client.log_batch(run_id, metrics=[Metric(name, value, event.time_ms, step) for name, value in values.items()])

    def _tags(self, client: MlflowClient, run_id: str, event: Event) -> None:
        from mlflow.entities import RunTag

        client.log_batch(run_id, tags=[RunTag(name, str(value)) for name, value in event.data.items()])

    def _dataset(self, client: MlflowClient, run_id: str, event: Event) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name=event.data["name"], digest=event.data["digest"], source_type="local", source="{}")
        client.log_inputs(run_id, [DatasetInput(dataset, tags=[InputTag("mlflow.data.context", str(event.data["context"]))])])

    def _file(self, client: MlflowClient, run_id: str, event: Event) -> None:
        path = self._folder / str(event.data["path"])
        with _patience_for(path.stat().st_size):
            client.log_artifact(run_id, str(path), str(event.data["folder"]) or None)

    def _text(self, client: MlflowClient, run_id: str, event: Event) -> None:
        client.log_text(run_id, str(event.data["text"]), str(event.data["file"]))

    def _end(self, client: MlflowClient, run_id: str, event: Event) -> None:
        self._terminate(client, run_id, event, str(event.data["status"]))

    def _terminate(self, client: MlflowClient, run_id: str, event: Event, status: str) -> None:
        """The run is over; its training is, too, when no other fold of it still runs."""
        client.set_terminated(run_id, status, end_time=event.time_ms)
        parent = self._parent_ids.get(event.run, "")
        if not parent:
            return
        training = client.get_run(parent).info
        experiment = training.experiment_id
        children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
        states = [child.info.status for child in children]
        if "RUNNING" not in states:
            ended = "FINISHED" if set(states) == {"FINISHED"} else status
            client.set_terminated(parent, ended, end_time=max(event.time_ms, training.start_time))


def _find(client: MlflowClient, run: str, experiment: str) -> Run | None:
    """The living run of this id, or the one made for this name; None when it has not been made or was deleted."""
    from mlflow.exceptions import MlflowException

    if not run.startswith(PENDING):
        try:
            found = client.get_run(run)
            if found.info.lifecycle_stage == "active":
                return found
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise
    made = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run}'", max_results=1)
    return made[0] if made else None


def _parent(client: MlflowClient, experiment: str, event: Event) -> str:
    """The run that holds all folds of one training; the oldest one when two folds have each made one."""
    key = event.data["training"]
    wanted = f"tags.`{TRAINING_TAG}` = '{key}'"
    found = client.search_runs([experiment], wanted)
    if not found:
        tags = {**event.data["tags"], TRAINING_TAG: key}  # type: ignore[dict-item]
        now_ms = time.time_ns() // 1_000_000  # not the event's time, which can lie long before: the first to be made shall win
        mine = _create(client, experiment, now_ms, name=str(event.data["training_name"]), tags=tags)
        time.sleep(SETTLE_S)
        found = client.search_runs([experiment], wanted)
        if mine != _oldest(found):
            client.delete_run(mine)
    parent = _oldest(found)
    client.update_run(parent, status="RUNNING")
    return parent


def _oldest(runs: list[Any]) -> str:
    return min((run.info.start_time, str(run.info.run_id)) for run in runs)[1]


def _create(client: MlflowClient, experiment: str, start_ms: int, *, name: str, tags: dict[str, Any]) -> str:
    made = client.create_run(experiment, start_time=start_ms, tags=tags, run_name=name)
    return str(made.info.run_id)


@contextmanager
def _patience_for(size_bytes: int) -> Iterator[None]:
    """A time-out that lets a large file through; MLflow reads it at each call, and only this thread calls."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(name, "")
    if size_bytes > SMALL_FILE_BYTES and before.isdigit():
        os.environ[name] = str(max(int(before), 30 + size_bytes // SLOW_LINE_BYTES_PER_S))
    try:
        yield
    finally:
        if before:
            os.environ[name] = before


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
