"""A journal of what is to be logged: written before it is sent, so that nothing is lost. Knows nothing of MLflow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from io import TextIOWrapper
from pathlib import Path

import psutil

FILE_NAME = "tracking_spool.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One message: what happened (`kind` and `data`), when, and to which run of which experiment."""

    number: int = 0  # its place in the spool
    kind: str
    experiment: str
    run: str  # MLflow's run id, or "pending:..." for a run that has not been made yet
    time_ms: int  # since 1970
    data: dict[str, object]


class Spool:
    """The messages of one run folder that have not arrived yet; a line each, and a line when one has arrived.

    A spool left by a process that is gone is adopted; one of a living process is left alone (then this one gets another name).
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        left = [path for path in sorted(folder.glob("tracking_spool*.jsonl")) if not _in_use(path)]
        events = [event for path in left for event in _undelivered(path)]
        self.adopted = [replace(event, number=number) for number, event in enumerate(events, 1)]
        self.path = next(path for path in _names(folder) if path in left or not path.exists())
        self._last = len(self.adopted)
        self._file = self._rewrite(self.adopted, owner=_owner())
        for path in left:
            if path != self.path:
                path.unlink()

    def append(self, event: Event) -> Event:
        """The event with its number, once it is in the file."""
        self._last += 1
        event = replace(event, number=self._last)
        self._write(json.dumps(asdict(event)))
        return event

    def arrived(self, event: Event) -> None:
        self._write(json.dumps({"arrived": event.number}))

    def close(self, left: list[Event]) -> None:
        """Keep what is left for the next opening; no file when nothing is left."""
        self._file.close()
        if left:
            self._rewrite(left, owner=None).close()
        else:
            self.path.unlink(missing_ok=True)

    def _write(self, line: str) -> None:
        self._file.write(line + "\n")
        self._file.flush()

    def _rewrite(self, events: list[Event], *, owner: dict[str, object] | None) -> TextIOWrapper:
        """A new file in the old one's place, open for writing at its end."""
        aside = self.path.with_suffix(f".{os.getpid()}.tmp")
        lines = [json.dumps({"owner": owner}), *(json.dumps(asdict(event)) for event in events)]
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        aside.replace(self.path)
        return self.path.open("a", encoding="utf-8")


def _names(folder: Path) -> Iterator[Path]:
    yield folder / FILE_NAME
    number = 2
    while True:
        yield folder / f"tracking_spool.{number}.jsonl"
        number += 1


def _owner() -> dict[str, object]:
    return {"pid": os.getpid(), "started": psutil.Process().create_time()}


def _in_use(path: Path) -> bool:
    """Does the process that writes this spool still run? Process numbers come again, so the start time counts too."""
    for entry in _lines(path):
        owner = entry.get("owner")
        if not isinstance(owner, dict):
            return False
        try:
            return bool(psutil.Process(int(owner["pid"])).create_time() == owner["started"])
        except (psutil.Error, KeyError, ValueError):
            return False
    return False


def _undelivered(path: Path) -> list[Event]:
    events: dict[int, Event] = {}
    for entry in _lines(path):
        if "arrived" in entry:
            events.pop(int(str(entry["arrived"])), None)
        elif "kind" in entry:
            event = Event(**entry)  # type: ignore[arg-type]
            events[event.number] = event
    return list(events.values())


def _lines(path: Path) -> Iterator[dict[str, object]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the process was killed while it wrote its last line
        if isinstance(entry, dict):
            yield entry
