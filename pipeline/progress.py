"""Progress for people: a bar on a terminal, otherwise nothing; lines of a stage either way. Only here and `cli/` print."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_silent = False


def bar(items: Iterable[Item], *, title: str, total: int | None = None, unit: str = "") -> Iterator[Item]:
    """The items again, with a bar and the time left on stderr where that is a terminal (pipes and logs stay clean)."""
    if _silent or not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, desc=title, total=total, unit=f" {unit}" if unit else "it", leave=False)


def say(line: str) -> None:
    """One line for the reader on stderr: stdout belongs to results."""
    if not _silent:
        print(line, file=sys.stderr, flush=True)


def silence(wanted: bool) -> None:
    """Of several processes that do one work together, one speaks."""
    global _silent
    _silent = wanted
