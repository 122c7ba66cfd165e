"""Tell MLflow about a training without ever stopping or delaying it. Knows nothing of networks or images.

Adds to MlflowClient: a journal on disk, one thread that sends it, parent and child runs, names and values that MLflow takes.

    training ──log_epoch──▶ spool file ──thread──▶ MLflow
                                          └─ no answer: stays in the file, tried again later and at the next opening
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import psutil

from ..progress import say
from .delivery import PENDING, Delivery, Refused
from .environment import environment_tags
from .spool import Event, Spool
from .store import quiet_settings, tracking_uri

Value = TypeVar("Value")
Written = TypeVar("Written")
Status = Literal["FINISHED", "FAILED", "KILLED"]

OPENING_WAIT_S = 30.0  # the first use of a SQLite database makes it: 3 s, 10 s on a busy machine; no answer ends the wait
CLOSING_WAIT_S = 10.0
LOCAL_CLOSING_WAIT_S = 60.0  # a SQLite file does not hang: what is slow there arrives
RETRY_S = 15.0  # after no answer; each try of a hanging server costs the thread 3 s, the training nothing
DIGEST_LENGTH = 36  # MLflow's column
REFUSED_LETTERS = re.compile(r"[^\w\-. :/]")  # in a metric's or parameter's name


def open_tracker(
    folder: Path,
    *,
    experiment: str,
    run_name: str,
    training_key: str,
    training_name: str = "",
    run_id: str = "",
    ended: Status | None = None,
    uri: str = "",
) -> Tracker:
    """Begin or go on with one run (a child) of one training (its parent).

    Args:
        folder: the run folder; what has not arrived waits there in `tracking_spool.jsonl`.
        experiment: MLflow's experiment, made when absent.
        run_name: the child's name, e.g. "fold 0".
        training_key: what all folds of one training have in common, e.g. the hash of the experiment; finds the parent again.
        training_name: the parent's name; absent: made from the key.
        run_id: what `Tracker.run_id` said when the run began: goes on with that run. Absent: a new one.
        ended: the run is over: something is added to it, and its status and its end stay. Where MLflow no longer has it, it is
            made anew with this status.
        uri: MLflow's address; absent: MLFLOW_TRACKING_URI, else SQLite in `mlruns/`.
    Raises: UserError when the address cannot be one. A store that does not answer is no error.
    """
    for value in (training_key, run_id):
        if "'" in value or "\n" in value:
            raise ValueError(f"not a key: {value!r}")
    quiet_settings()
    import mlflow  # noqa: F401  # here and not in the thread: two threads that import the same packages can meet half-made ones

    run = run_id or f"{PENDING}{uuid.uuid4().hex}"
    tracker = Tracker(folder, experiment=experiment, run=run, uri=tracking_uri(uri), ended=ended)
    name = training_name or f"training {training_key[:8]}"
    tracker._begin(name=run_name, training=training_key, training_name=name)
    return tracker


class Tracker:
    """One run. Every method returns at once; the store hears of it from the thread. Made by `open_tracker`."""

    def __init__(self, folder: Path, *, experiment: str, run: str, uri: str, ended: Status | None = None) -> None:
        self.uri, self._ended = uri, ended
        self._folder, self._experiment, self._run = folder.resolve(), experiment, run
        self._spool = Spool(self._folder)
        self._waiting = deque(self._spool.adopted)
        self._delivery = Delivery(uri, self._folder)
        self._change = threading.Condition()
        self._opened = threading.Event()
        self._closing = self._closed = self._left_behind = self._silent = self._disk_full = False
        self._refusals: set[str] = set()
        psutil.cpu_percent()  # the first call only starts the clock
        self._thread = threading.Thread(target=self._work, name="unet-tracking", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str:
        """MLflow's id, after at most 30 s; "pending:..." when the store has not answered: `open_tracker` takes that as well."""
        self._opened.wait(OPENING_WAIT_S)
        return self._delivery.run_id(self._run)

    @property
    def parent_run_id(self) -> str:
        """MLflow's id of the training's run, after at most 30 s; "" when the store has not answered."""
        self._opened.wait(OPENING_WAIT_S)
        return self._delivery.parent_id(self._run)

    def log_parameters(self, parameters: Mapping[str, object]) -> None:
        """Settings; nested mappings become NAME.NAME. A value that differs from an earlier one goes to the tag changed/NAME."""
        self._add("parameters", {name: str(value) for name, value in clean_names(_flat(parameters)).items()})

    def log_dataset(self, name: str, digest: str, context: str = "training") -> None:
        """Which data: a name, a digest (MLflow keeps 36 characters) and what it was for."""
        self._add("dataset", {"name": name, "digest": digest[:DIGEST_LENGTH], "context": context})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._add("tags", {name: str(value) for name, value in clean_names(tags).items()})

    def log_epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None:
        """All metrics of one epoch with the machine's load, in one write. None (n/a) is left out, infinity is kept as NaN."""
        self._add("metrics", {"step": epoch, "values": {**_finite(metrics), **_machine_load()}})

    def log_scores(self, metrics: Mapping[str, float | None], *, step: int = 0, training: bool = False) -> None:
        """Metrics that belong to no epoch, such as those of an evaluation; `training`: of the parent, over its folds."""
        self._add("metrics", {"step": step, "values": _finite(metrics), "of_training": training})

    def log_file(self, path: Path, folder: str = "", *, training: bool = False) -> None:
        """A file as it is when it is sent: it must stay where it is.

        Args:
            folder: the place among the run's artifacts.
            training: of the training, the parent, not of this run.
        """
        path = path.resolve()
        kept = path.relative_to(self._folder) if path.is_relative_to(self._folder) else path  # so that a moved run folder works
        self._add("file", {"path": kept.as_posix(), "folder": folder, "of_training": training})

    def log_text(self, text: str, file: str) -> None:
        """A text artifact, e.g. log_text(yaml, "experiment.yaml")."""
        self._add("text", {"text": text, "file": file})

    def close(self, status: Status = "FINISHED") -> int:
        """End the run, unless it was over; waits at most 10 s (SQLite: 60 s) for what is on its way.

        Returns: how many messages stay behind.
        """
        if self._closed:
            return 0
        self._closed = True
        if self._ended is None:
            self._add("end", {"status": status})
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(LOCAL_CLOSING_WAIT_S if self.uri.startswith("sqlite:") else CLOSING_WAIT_S)
        with self._change:
            left = list(self._waiting)
            self._left_behind = True
            self._journal(lambda: self._spool.close(left))
        if left:
            say(
                f"MLflow: {len(left)} messages could not be sent to {self.uri} and wait in {self._spool.path}; "
                "the next unet command that tracks into this run folder sends them."
            )
        return len(left)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.close("FINISHED" if kind is None else "KILLED" if stopped else "FAILED")

    def _begin(self, *, name: str, training: str, training_name: str) -> None:
        tags = environment_tags()
        named = {"name": name, "training": training, "training_name": training_name, "tags": tags}
        self._add("begin", {**named, "ended": self._ended})

    def _add(self, kind: str, data: dict[str, object]) -> None:
        event = Event(kind=kind, experiment=self._experiment, run=self._run, time_ms=time.time_ns() // 1_000_000, data=data)
        with self._change:
            self._waiting.append(self._journal(lambda: self._spool.append(event)) or event)
            self._change.notify()

    def _work(self) -> None:
        """The thread: send the oldest message, wait a while after no answer, stop when closing and nothing can be sent."""
        while True:
            with self._change:
                while not self._waiting and not self._closing:
                    self._change.wait()
                if not self._waiting:
                    return
                event = self._waiting[0]
            if self._try(event):
                continue
            with self._change:
                if self._closing:
                    return
                self._change.wait_for(lambda: self._closing, timeout=RETRY_S)

    def _try(self, event: Event) -> bool:
        """Send one message. Returns: whether the store answered."""
        try:
            self._delivery.send(event)
        except Refused as refusal:
            self._report_refusal(event, str(refusal))
        except Exception as error:  # whatever a server, a proxy or a database does must not stop a training
            self._report_silence(error)
            if event.kind == "file":  # a file that never gets through must not hold up the numbers
                with self._change:
                    self._waiting.rotate(-1)
            self._opened.set()
            return False
        if self._silent:
            say("MLflow answers again; what waited is being sent.")
            self._silent = False
        if event.kind == "begin" and event.run == self._run:
            self._opened.set()
        with self._change:
            if not self._left_behind:
                self._waiting.remove(event)
                self._journal(lambda: self._spool.arrived(event))
        return True

    def _journal(self, write: Callable[[], Written]) -> Written | None:
        """Write to the spool; a disk that is full costs one line."""
        try:
            return write()
        except OSError as error:
            if not self._disk_full:
                say(f"MLflow: {self._spool.path} cannot be written ({error}); what is not sent at once may be lost.")
            self._disk_full = True
            return None

    def _report_refusal(self, event: Event, reason: str) -> None:
        if reason not in self._refusals:
            say(f"MLflow refused {_what(event)}: {reason}. The work goes on.")
        self._refusals.add(reason)

    def _report_silence(self, error: Exception) -> None:
        if not self._silent:
            reason = " ".join(str(error).split())[:160]
            say(f"MLflow at {self.uri} does not answer ({reason}). The work goes on; {self._spool.path} keeps what is logged.")
        self._silent = True


def clean_names(named: Mapping[str, Value]) -> dict[str, Value]:
    """The same values under names that MLflow takes; two names that would become one stay apart."""
    cleaned: dict[str, Value] = {}
    for name, value in named.items():
        plain = "/".join(part for part in REFUSED_LETTERS.sub("_", name).split("/") if part not in ("", ".", "..")) or "_"
        plain = plain if len(plain) <= 250 else f"{plain[:240]}_{hashlib.sha256(plain.encode()).hexdigest()[:8]}"
        unique, number = plain, 2
        while unique in cleaned:
            unique, number = f"{plain}_{number}", number + 1
        cleaned[unique] = value
    return cleaned


def _finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """MLflow would show infinity as 1.8e308, which flattens every other point of the curve."""
    values = {name: float(value) for name, value in metrics.items() if value is not None}
    return clean_names({name: math.nan if math.isinf(value) else value for name, value in values.items()})


def _flat(parameters: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _machine_load() -> dict[str, float]:
    """Under MLflow's own names, so that its page shows them among the system metrics."""
    memory = psutil.virtual_memory()
    return {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_percentage": memory.percent,
        "system/system_memory_usage_megabytes": memory.used / 1e6,
        "system/process_memory_megabytes": psutil.Process().memory_info().rss / 1e6,
    }


def _what(event: Event) -> str:
    if event.kind == "metrics":
        return f"the metrics of step {event.data['step']}"
    if event.kind in ("file", "text"):
        return f"the file {event.data.get('path') or event.data.get('file')}"
    return f"the {event.kind} of a run"
