"""Progress for people: a bar on a terminal, otherwise nothing; lines of a stage either way. Only here and `cli/` print."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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


class Overall:
    """One bar over several inputs: which of them, what is done with it, how far that is, and the time left.

    Like `bar`: on stderr where that is a terminal, otherwise nothing.

    Args:
        inputs: how many there are.
    """

    def __init__(self, inputs: int) -> None:
        self._inputs, self._number = inputs, 0
        self._bar = None
        if not _silent and sys.stderr.isatty():
            from tqdm import tqdm

            form = "{desc}{percentage:3.0f} %|{bar}| {elapsed}<{remaining}"
            self._bar = tqdm(total=inputs, smoothing=0, leave=False, bar_format=form)

    def __enter__(self) -> Overall:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self) -> None:
        """The next input; those before count as done."""
        self._number += 1

    def reach(self, share: float, words: str) -> None:
        """So much of the input is done, 0 to 1, and this is done next."""
        if self._bar is not None:
            self._bar.set_description_str(f"{self._number} of {self._inputs}, {words} ", refresh=False)
            self._bar.n = self._number - 1 + share
            self._bar.refresh()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """While something else is printed."""
        if self._bar is not None:
            self._bar.clear()
        yield
        if self._bar is not None:
            self._bar.refresh()


def say(line: str) -> None:
    """One line for the reader on stderr: stdout belongs to results."""
    if not _silent:
        print(line, file=sys.stderr, flush=True)


def silence(wanted: bool) -> None:
    """Of several processes that do one work together, one speaks."""
    global _silent
    _silent = wanted
