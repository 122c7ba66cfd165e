"""What may stand in the way of writing a run: other contents, another process, changed settings, a full disk. One line each."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ..errors import UserError
from ..io.paths import occupied, temporary_beside
from .run_folder import RunFolder

Folder = TypeVar("Folder", bound=RunFolder)

# of the place, not of this program: no room, quota, read-only, no permission, a file where a folder should be, a size limit
PLACE_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EFBIG,
}


def refuse_occupied(folder: RunFolder) -> None:
    """Raises: UserError where the folder holds anything: a run would mix with it, and its cache is emptied at the end."""
    if folder.run_file.is_file():
        raise UserError(
            "holds a run already", where=folder.path, next="--resume goes on with it; or choose another folder with -o."
        )
    if occupied(folder.path):
        raise UserError(
            "is there already and is not an empty folder", where=folder.path, next="Choose a new folder for the run with -o."
        )


def refuse_changed(file: Path, digest: str, recorded: object) -> None:
    """Raises: UserError where a file's digest is not the one recorded when the run began; None: none was recorded."""
    if recorded not in (None, digest):
        raise UserError(
            "has changed since this run began, so it cannot go on as it was",
            where=file,
            next="Undo the change; or train anew from it into another folder: unet train experiment.yaml -o FOLDER.",
        )


@contextmanager
def alone_in(folder: RunFolder) -> Iterator[None]:
    """Makes the folder and keeps other trainings out of it; the system lets go when the process ends, however it ends.

    Raises: UserError where another process is training there.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder.path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UserError(
            "another process is training there", where=folder.path, next="Wait for it, or choose another folder with -o."
        ) from error
    except OSError:  # a network disk without locks: as before
        pass
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def begun(folder: Folder, write: Callable[[Folder], None]) -> Iterator[None]:
    """A new run folder, kept from other trainings while the block lasts.

    It has its name from the moment it is whole: of a process that is killed before, nothing is left that looks like a run.

    Args:
        folder: absent or empty. One that is there, perhaps a mounted disk, stays and is filled.
        write: what makes it whole, called with the place where it is to be written.
    Raises: UserError where another training has taken the name, or the place cannot be written.
    """
    made = replace(folder, path=folder.path if folder.path.exists() else temporary_beside(folder.path, ""))
    with writing_into(folder), alone_in(made):  # the lock is the folder's own, and stays when it gets its name
        try:
            refuse_occupied(folder)  # again, now that nobody else can begin here
            write(made)
            if made.path != folder.path:
                _give_name(made.path, folder)
        except (UserError, OSError):
            shutil.rmtree(made.path, ignore_errors=True)
            raise
        yield


@contextmanager
def gone_unless_learned(folder: RunFolder, *runs: RunFolder) -> Iterator[None]:
    """Removes the folder where data, budget or disk end the block and none of its runs has a checkpoint to go on from.

    Args:
        runs: the folder itself, where that is one.
    """
    try:
        yield
    except (UserError, OSError):
        if not any(run.last.is_file() for run in runs):
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


def _give_name(made: Path, folder: RunFolder) -> None:
    try:
        made.rename(folder.path)
    except OSError:
        refuse_occupied(folder)
        raise


@contextmanager
def writing_into(folder: RunFolder) -> Iterator[None]:
    """A disk that is full or may not be written to is one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in PLACE_ERRORS:
            raise
        what = f"cannot be written ({error.strerror})"
        raise UserError(
            what, where=error.filename or folder.path, next="Make room, or choose another place with -o."
        ) from error
