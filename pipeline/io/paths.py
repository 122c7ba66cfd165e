"""Find what a user names, with a helpful word where it is absent; write so that nothing half-written has a final name."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UserError


def existing(path: Path | str) -> Path:
    """The path again. Raises: UserError with the nearest name in its folder where there is no such file or folder."""
    path = Path(path)
    if path.exists():
        return path
    parent = path.parent
    if not parent.is_dir():
        while not parent.is_dir() and parent != parent.parent:
            parent = parent.parent
        raise UserError("there is no such file or folder", where=path, next=f"The part that exists is {parent}.")
    close = difflib.get_close_matches(path.name, sorted(p.name for p in parent.iterdir()), n=1, cutoff=0.6)
    hint = f"Did you mean {parent / close[0]}?" if close else f"Look into {parent} for the right name."
    raise UserError("there is no such file or folder", where=path, next=hint)


def temporary_beside(path: Path, ending: str) -> Path:
    """A hidden name in the same folder, so that the finished file can be renamed in one step."""
    return path.parent / f".{path.name}.{os.getpid()}.part{ending}"


def occupied(path: Path) -> bool:
    """Whether something is there that a new folder would mix with or replace; an empty folder is free."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is never seen half-written, and is on the disk when it has its name."""
    with file_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def file_aside(path: Path, ending: str = "") -> Iterator[Path]:
    """A hidden name to write to; the file becomes `path` when the block ends well, and is gone when it does not.

    Args:
        path: its folder is made.
        ending: of the hidden name, where libraries go by it; by default that of `path`.
    """
    aside = temporary_beside(path, ending or path.suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        aside.replace(path)
    finally:
        with suppress(OSError):  # not even a place to look for it
            aside.unlink(missing_ok=True)


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """A hidden folder to write into; it becomes `target` when the block ends well, and is gone when it does not."""
    aside = temporary_beside(target, "")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)  # of an earlier process with this number
        aside.mkdir()
        yield aside
        put_in_place(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def put_in_place(folder: Path, target: Path) -> None:
    """Give a finished folder its name. What had it before stays whole until then, and is removed afterwards."""
    before = temporary_beside(target, ".before")
    if target.exists():
        target.rename(before)
    try:
        folder.rename(target)
    except OSError:
        if before.exists():
            before.rename(target)
        raise
    shutil.rmtree(before, ignore_errors=True)
