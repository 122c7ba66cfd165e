"""Find the files that a user names, with a helpful word where they are absent. Knows nothing of their contents."""

from __future__ import annotations

import difflib
import os
import shutil
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
