"""From a CSV or a folder tree to the volumes of a cohort, in a stable order, each with a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from ..io.paths import existing
from ..progress import bar
from .from_csv import unit_of_row
from .from_tree import units_of_tree
from .listed import Unit, digest_of
from .rows import RESERVED, read_rows

Part = tuple[int, int]  # which, from 1; of how many


def part_of(text: str) -> Part:
    """'3/8' → (3, 8). Raises: UserError for anything else."""
    first, slash, last = text.partition("/")
    if slash and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last):
        return int(first), int(last)
    raise UserError(f"'{text}' is not a part", where="--part", next="The third of eight is --part 3/8.")


def list_units(listed: Path | str, *, out: Path, part: Part = (1, 1)) -> list[Unit]:
    """The volumes of a cohort, or of one part of it: every n-th of the list.

    Args:
        listed: a CSV file (see `rows.py`), or a folder whose DICOM volumes and NIfTI files are all meant.
        out: where the predictions go; must not lie in the folder.
    Raises: UserError where there is nothing to list. What cannot be read is a unit with a fault.
    """
    listed = existing(listed).absolute()
    number, parts = part
    if listed.is_dir():
        _refuse_inside(out, listed)
        return _named(units_of_tree(listed))[number - 1 :: parts]
    rows = read_rows(listed)
    if all(row.name for row in rows):  # then no other row decides on a name: the others' headers need not be read
        rows, number, parts = rows[number - 1 :: parts], 1, 1
    units = [unit_of_row(row, listed.parent) for row in bar(rows, title="listing", total=len(rows), unit="rows")]
    return _named(_without_copies(units))[number - 1 :: parts]


def _refuse_inside(out: Path, tree: Path) -> None:
    if tree.resolve() in (out.resolve(), *out.resolve().parents):
        what = f"lies in the folder that is listed ({tree}): its masks would be taken for scans"
        raise UserError(what, where=out, next="Choose a folder beside it with -o.")


def _without_copies(units: Sequence[Unit]) -> list[Unit]:
    """The second row of one volume is a failure: its mask would count twice."""
    first: dict[str, str] = {}
    found = []
    for position, unit in enumerate(units):
        if unit.id in first:
            fault = f"the same volume is listed before, as {first[unit.id]}"
            own = digest_of("copy", unit.id, str(position))
            unit = replace(unit, id=own, state="", name=f"copy_{own[:6]}", fault=fault, formerly="")
        first.setdefault(unit.id, unit.name)
        found.append(unit)
    return found


def _named(units: Sequence[Unit]) -> list[Unit]:
    """Where several share a name, each gets six digits of its id behind it: they stay, whatever else is listed."""
    count = Counter(unit.name.casefold() for unit in units)  # a file system may not tell A from a
    count.update(RESERVED)
    taken = {name for name, uses in count.items() if uses > 1}
    return [replace(u, name=f"{u.name}_{u.id[:6]}") if u.name.casefold() in taken or not u.name else u for u in units]
