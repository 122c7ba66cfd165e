"""What is known of each series: one small file in OUT/.units, replaced in one step. Knows how to tell done from begun."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from ..handout.folder import OURS
from ..handout.sidecar import SIDECAR
from ..io.paths import write_text

UNITS = ".units"  # of OUT
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How far one series came."""

    unit: str  # which series: 16 hex digits
    order: str  # with which bundle, settings and slices: 16 hex digits
    state: Literal["begun", "done", "failed"]
    folder: str  # name of the prediction folder in OUT
    source: str  # as the list has it
    owns: bool = False  # the folder is this series' own: it was not there before, or an earlier record of it owns it
    bundle: str = ""
    bundle_sha256: str = ""
    attempts: int = 1
    reason: str = ""  # of a failure, one line
    bug: bool = False  # of ours, not of the input: the traceback lies beside the record
    seconds: float = 0.0
    series: str = ""  # the last 8 digits of its UID
    volumes: tuple[dict[str, Any], ...] = ()  # of the sidecar: name, voxels, ml, at_border
    notices: tuple[dict[str, str], ...] = ()  # of the sidecar: code, sentence

    @property
    def key(self) -> str:
        return f"{self.unit}-{self.order}"


def record_file(out: Path, key: str) -> Path:
    return out / UNITS / f"{key}.json"


def read_record(file: Path) -> Record | None:
    """None where there is none, or one of another version of this program."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            return None
        for name in ("volumes", "notices"):
            data[name] = tuple(data[name])
        return Record(**data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_record(out: Path, record: Record) -> None:
    """Replaces this series' record of the same order."""
    text = json.dumps({"format": FORMAT, **asdict(record)}, indent=1, ensure_ascii=False)
    write_text(record_file(out, record.key), text + "\n")


def owns(out: Path, unit: str, folder: str) -> bool:
    """Whether OUT/folder is free, or was made for this series."""
    records = map(read_record, (out / UNITS).glob(f"{unit}-*.json"))
    return not (out / folder).exists() or any(r.owns and r.folder == folder for r in records if r is not None)


def all_records(out: Path) -> Iterator[Record]:
    """In no order."""
    for file in (out / UNITS).glob("[!.]*.json"):  # what has a dot in front, a process was writing when it was killed
        record = read_record(file)
        if record is not None:
            yield record


def is_whole(out: Path, record: Record) -> bool:
    """Whether a series that is recorded as done still is: every file of its folder is there, and of this bundle."""
    if record.state != "done":
        return False
    folder = out / record.folder
    try:
        said = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
        same = said["provenance"]["bundle_sha256"] == record.bundle_sha256
        return same and all((folder / file["name"]).is_file() for file in said["files"])
    except (OSError, ValueError, TypeError, KeyError):
        return False


def forget_others(out: Path, record: Record) -> None:
    """Removes what an earlier bundle, other settings or other slices left of this series: records, and masks that are not
    this record's."""
    for file in (out / UNITS).glob(f"{record.unit}-*.json"):
        earlier = read_record(file)
        if earlier is not None and earlier.key == record.key:
            continue
        if earlier is not None and earlier.owns and (earlier.folder != record.folder or record.state == "failed"):
            _remove_prediction(out / earlier.folder)
        file.unlink(missing_ok=True)
        file.with_suffix(".log").unlink(missing_ok=True)


def forget(out: Path, unit: str) -> None:
    """Removes the failures of what is now listed as something else."""
    for file in (out / UNITS).glob(f"{unit}-*.json"):
        record = read_record(file)
        if record is None or record.state == "failed":
            file.unlink(missing_ok=True)


def forget_unlisted(out: Path, units: Set[str]) -> None:
    """Removes the failures of what is no longer listed: lines that were taken out because of them. Masks stay."""
    for record in list(all_records(out)):
        if record.state == "failed" and record.unit not in units:
            record_file(out, record.key).unlink(missing_ok=True)
            record_file(out, record.key).with_suffix(".log").unlink(missing_ok=True)


def one_line(error: UserError, source: Path, name: str) -> str:
    """The reason without the path of the scan: archives name folders after patients."""
    return str(error).replace(f"{source}: ", "").replace(str(source), name)


def _remove_prediction(folder: Path) -> None:
    """The files of ours; what somebody else put there stays, with the folder."""
    for name in OURS:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
