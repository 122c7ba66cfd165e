"""What this process has used so far: memory and time. Knows nothing of networks."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """The most memory that this process held since the object was made.

    Linux can forget an earlier peak. Elsewhere the peak is that of the whole process: never too small. (`ru_maxrss` is not
    asked on Linux: a new process inherits it from the one that started it.)
    """

    def __init__(self) -> None:
        with suppress(OSError):
            FORGET.write_text("5", encoding="ascii")  # see `man 5 proc`: resets the high-water mark

    def bytes(self) -> int:
        return peak_bytes()


def peak_bytes() -> int:
    """The most that was resident since the process began, or Linux was made to forget; mapped files included."""
    if STATUS.is_file():
        lines = STATUS.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int:
    """What is resident now."""
    return int(psutil.Process().memory_info().rss)


def age_s() -> float:
    """Seconds since the process began: a command's budget counts Python and imports, too."""
    return time.time() - psutil.Process().create_time()


def private_bytes_of_children() -> int:
    """What the processes started by this one hold and share with nobody."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += int(child.memory_full_info().uss)
        except psutil.Error:  # it has just ended, or may not be asked
            continue
    return total
