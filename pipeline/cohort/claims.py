"""Who works on a series: a lock that the system takes back when its process ends, however that happens. Knows no scans."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claimed(file: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process holds the lock as long as the block lasts; the file is there only while somebody does.

    Args:
        file: its folder is made. What a killed process leaves of it is no lock: the system's is gone.
        wait: until it is free, instead of going on without.
    """
    handle = _locked(file, wait=wait)
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        file.unlink(missing_ok=True)  # while it is held: whoever has opened it already finds another one under the name
        os.close(handle)


def _locked(file: Path, *, wait: bool) -> int | None:
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is(handle, file):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # removed by the one before us while we waited for it: locked is a file without a name


def _is(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False
