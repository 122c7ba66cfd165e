"""The table of a cohort: a row for each series that OUT knows, as CSV and as a page. Judges nothing but what is doubtful."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..io.paths import write_text
from .claims import claimed
from .records import UNITS, Record, all_records, is_whole

TABLE, PAGE = "cohort.csv", "cohort.html"
HEAD = ("name", "state", "doubts", "series", "source", "reason")
TAIL = ("empty", "at_border", "notices", "bundle", "bundle_sha256", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series of the table."""

    record: Record
    state: str  # done, failed, unfinished (a process was killed, or is at it), missing (the mask was removed)

    @property
    def empty(self) -> list[str]:
        """Structures that were not found."""
        return [str(found["name"]) for found in self.record.volumes if not found["voxels"]]

    @property
    def at_border(self) -> list[str]:
        """Structures that reach the edge of the scan: there may be more of them."""
        return [str(found["name"]) for found in self.record.volumes if found["at_border"]]

    @property
    def doubts(self) -> int:
        """How many reasons there are to look at it."""
        return (self.state != "done") + len(self.empty) + len(self.record.notices) + len(self.at_border)

    @property
    def rank(self) -> tuple[int, int, int, int, str]:
        """The doubtful first: what has no mask, then empty structures, warnings, contact with the border."""
        no_mask = int(self.state != "done")
        return -no_mask, -len(self.empty), -len(self.record.notices), -len(self.at_border), self.record.folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All series of one OUT, the doubtful first."""

    out: Path
    lines: tuple[Line, ...]

    @property
    def structures(self) -> list[str]:
        return list(dict.fromkeys(str(found["name"]) for line in self.lines for found in line.record.volumes))

    def count(self, state: str) -> int:
        return sum(line.state == state for line in self.lines)


def read_table(out: Path) -> Table:
    """What the records say now."""
    lines = [Line(record=record, state=_state(out, record)) for record in all_records(out)]
    return Table(out=out, lines=tuple(sorted(lines, key=lambda line: line.rank)))


def write_tables(out: Path) -> Table:
    """Write OUT/cohort.csv and OUT/cohort.html, each in one step. Of many parts that end at once, the last writes the whole."""
    from .page import cohort_page

    with claimed(out / UNITS / "table.lock", wait=True):
        for left in (left for name in (TABLE, PAGE) for left in out.glob(f".{name}.*.part*")):  # of killed processes
            left.unlink(missing_ok=True)
        table = read_table(out)
        write_text(out / TABLE, csv_text(table))
        cohort_page(table).write(out / PAGE)
    return table


def csv_text(table: Table) -> str:
    """The rows by name; volumes in ml and voxels have two columns a structure."""
    structures = table.structures
    columns = [*HEAD, *(f"{name} {unit}" for name in structures for unit in ("ml", "voxels")), *TAIL]
    rows: list[list[object]] = [_row(line, structures) for line in sorted(table.lines, key=lambda line: line.record.folder)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([[_harmless(cell) for cell in row] for row in [list[object](columns), *rows]])
    return text.getvalue()


def _state(out: Path, record: Record) -> str:
    if record.state == "done":
        return "done" if is_whole(out, record) else "missing"
    return "unfinished" if record.state == "begun" else "failed"


def _row(line: Line, structures: Sequence[str]) -> list[object]:
    record = line.record
    found = {str(volume["name"]): volume for volume in record.volumes}
    volumes = [found.get(name, {}).get(key) for name in structures for key in ("ml", "voxels")]
    return [
        *(record.folder, line.state, line.doubts, record.series, record.source, record.reason),
        *volumes,
        *(_listed(line.empty), _listed(line.at_border), _listed(notice["code"] for notice in record.notices)),
        *(record.bundle, record.bundle_sha256, record.seconds),
    ]


def _listed(names: Iterable[str]) -> str:
    return "; ".join(names)


def _harmless(cell: object) -> object:
    """A spreadsheet must not take the name of a file for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") else cell
