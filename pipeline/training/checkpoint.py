"""Checkpoints that survive a power cut: written aside, synced, renamed. Plain types and tensors: loading runs no code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..io.paths import temporary_beside


def save_checkpoint(state: dict[str, Any], path: Path, *, previous: Path | None = None) -> None:
    """Write tensors and plain types to `path` so that at any moment the old or the new file is whole.

    Args:
        previous: the name that the old file gets, once the new one is whole.
    Raises: UserError where the disk is full or the folder is gone; the old file stays.
    """
    aside = temporary_beside(path, ".pt")
    try:
        with aside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if previous and path.is_file():
            _replace_link(path, previous)
        aside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # else the new name may be lost though the bytes are on the disk
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:
        reason = error if isinstance(error, OSError) else error.__context__  # PyTorch hides a full disk behind its own words
        if not isinstance(reason, OSError):
            raise
        what = f"the checkpoint cannot be written ({reason.strerror})"
        raise UserError(what, where=path, next="Make room; --resume goes on from the checkpoint before.") from error
    finally:
        aside.unlink(missing_ok=True)


def _replace_link(path: Path, name: Path) -> None:
    """Give a file a second name, which another file may have had, without a moment in which that name is missing.

    Disks without second names (FAT) keep the file under its one name only.
    """
    aside = temporary_beside(name, ".link")
    try:
        os.link(path, aside)
        aside.replace(name)
    except OSError:
        pass
    finally:
        aside.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running code from it. Raises: UserError where it is missing or damaged."""
    if not path.is_file():
        raise UserError("there is no such checkpoint", where=path, next="A run writes one after its first epoch.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, OSError by kind of damage
        raise UserError(f"the checkpoint is damaged ({type(error).__name__})", where=path) from error
    if not isinstance(state, dict) or "network" not in state:
        raise UserError("is not a checkpoint of this program: it holds no network", where=path)
    return state
