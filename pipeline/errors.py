"""What goes wrong because of the input, and what is worth a word although it does not. Knows nothing of files or learning.

Exception
├── UserError      bad input: one line on stderr, exit code 2 (`cli/main.py` is the only place that turns it into one)
└── anything else  a bug: traceback, exit code 1
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


class UserError(Exception):
    """Input that cannot be used: what is wrong, where, and what to type next, in one line.

    Args:
        what: the fault with its value and the rule it breaks; no full stop at the end.
        where: file, series, slice or key that it was found in.
        next: a full sentence: what the user can do or type.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, next: str = "") -> None:
        self.what, self.where, self.next = what, where, next
        place = f"{where}: " if where is not None else ""
        line = f"{place}{what}. {next}".strip()
        super().__init__(printable(" ".join(line.split())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A warning that travels with its object into console, sidecar and page, in the same words everywhere."""

    code: str  # short and stable, e.g. "slices-duplicated"
    sentence: str
    where: str = ""

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.sentence}" if self.where else self.sentence)

    def to_json(self) -> dict[str, str]:
        """Plain types, the same keys in every file that holds notices."""
        return {"code": self.code, "sentence": self.sentence, "where": self.where}


def printable(text: str) -> str:
    """The text without what a terminal takes for commands: names of files, and texts in them, are other people's."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def nearest(name: str, names: Iterable[str]) -> str:
    """' (did you mean NAME?)' for a slip of typing, else ' (one of: A, B, C)'; made to be put behind the wrong name."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else f" (one of: {', '.join(known)})"


def some(names: Sequence[str], most: int) -> str:
    """'A, B and 3 more'."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def sentences(problems: Sequence[str], most: int) -> str:
    """'A is wrong; B is missing; and 3 more', for one message about many faults."""
    return "; ".join(problems[:most]) + (f"; and {len(problems) - most} more" if len(problems) > most else "")


def listed(parts: Sequence[str], most: int) -> str:
    """'A, B, ... (9 in all)', where the parts are long themselves."""
    return ", ".join(parts[:most]) + (f", ... ({len(parts)} in all)" if len(parts) > most else "")
