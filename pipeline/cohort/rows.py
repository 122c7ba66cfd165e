"""The CSV list of a cohort: which columns there are, and what each row says. Opens no scan."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError, nearest, sentences

COLUMNS = ("path", "series", "volume", "name", "pixel_size")
MOST_BYTES = 2**28  # a list of millions of series; more is a scan that was taken for a list


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the list."""

    line: int  # of the file, from 1
    path: str  # as it was written
    series: str = ""
    volume: str = ""
    name: str = ""  # of the prediction folder; '' for the scan's own
    pixel_size_mm: float | None = None


def read_rows(file: Path) -> list[Row]:
    """The rows of a list in UTF-8, with commas, semicolons or tabs, with or without a mark in front; empty lines are skipped.

    Raises: UserError with all that is wrong: unknown or missing columns, names that cannot be or occur twice, odd numbers.
    """
    lines = list(_lines(file))
    if not lines:
        raise UserError("is empty", where=file, next="It needs a head line with the column path, and a line a series.")
    columns = [cell.strip().lower() for cell in lines[0][1]]
    problems = [f"the column '{name}' is not known{nearest(name, COLUMNS)}" for name in columns if name not in COLUMNS]
    problems += [f"the column {name} occurs twice" for name in COLUMNS if columns.count(name) > 1]
    if "path" not in columns and not problems:
        problems.append("the column path is missing")
    rows = [] if problems else [_row(number, columns, cells, problems) for number, cells in lines[1:]]
    problems += _names_twice(rows)
    if problems:
        raise UserError(sentences(problems, 5), where=file, next="docs/cohort.md describes the list.")
    if not rows:
        raise UserError("lists no series: there is a head line alone", where=file, next="Add a line a series.")
    return rows


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not empty."""
    if file.stat().st_size > MOST_BYTES:
        raise _no_list(file, f"it has {file.stat().st_size} bytes")
    try:
        text = file.read_bytes().decode("utf-8-sig")  # Excel puts a mark in front
        head = next((line for line in text.splitlines() if line.strip()), "")
        delimiter = max(",;\t", key=head.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise _no_list(file, str(error)) from error


def _no_list(file: Path, why: str) -> UserError:
    next_step = "Save the table as CSV in UTF-8, or give a folder; a single scan is for 'unet predict'."
    return UserError(f"is not a CSV file ({why})", where=file, next=next_step)


def _row(line: int, columns: list[str], cells: list[str], problems: list[str]) -> Row:
    """Adds what is wrong with the line to the problems."""
    if any(cell.strip() for cell in cells[len(columns) :]):
        problems.append(f"line {line} has {len(cells)} cells under {len(columns)} columns")
    said = {name: cell.strip() for name, cell in zip(columns, cells, strict=False)}
    if not said.get("path"):
        problems.append(f"line {line} names no path")
    name, size = said.get("name", ""), said.get("pixel_size", "")
    if fault := _name_fault(name):
        problems.append(f"line {line}: '{name}' cannot be the name of a folder: {fault}")
    return Row(
        line=line,
        path=said.get("path", ""),
        series=said.get("series", ""),
        volume=said.get("volume", ""),
        name=name,
        pixel_size_mm=_number(size, line, problems) if size else None,
    )


def _name_fault(name: str) -> str:
    if name.startswith("."):
        return "it begins with a dot"
    if any(c in '/\\:*?"<>|' or not c.isprintable() for c in name):
        return "it holds a sign that folders must not have"
    return "the table has it" if name.casefold() in RESERVED else "it is too long" if len(name.encode()) > 120 else ""


RESERVED = ("cohort.csv", "cohort.html")


def _number(text: str, line: int, problems: list[str]) -> float | None:
    try:
        value = float(text.replace(",", "."))  # a spreadsheet may write 0,5
    except ValueError:
        value = 0.0
    if 0 < value < float("inf"):
        return value
    problems.append(f"line {line}: pixel_size must be a number of mm above 0, is '{text}'")
    return None


def _names_twice(rows: list[Row]) -> list[str]:
    """A file system may not tell A from a."""
    first: dict[str, int] = {}
    problems = []
    for row in rows:
        if row.name and row.name.casefold() in first:
            problems.append(f"lines {first[row.name.casefold()]} and {row.line} have one name, '{row.name}'")
        first.setdefault(row.name.casefold(), row.line)
    return problems
