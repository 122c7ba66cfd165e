"""How many cores this process may use. Knows nothing of networks."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # "QUOTA PERIOD" in microseconds, or "max PERIOD"
SHARE = "UNET_CORES"


def usable_cores() -> int:
    """The share of a scheduler, a container or `taskset`, not the whole machine: more threads than cores are slow.

    UNET_CORES in the environment takes less of it: several processes that share the cores each get their part.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if CGROUP_QUOTA.is_file():
        quota, _, period = CGROUP_QUOTA.read_text(encoding="ascii").partition(" ")
        if quota.isdecimal() and period.strip().isdecimal():
            cores = min(cores, max(1, int(quota) // int(period)))
    own = os.environ.get(SHARE, "")
    return min(cores, int(own)) if own.isdecimal() and int(own) > 0 else cores


def take_cores(count: int) -> None:
    """From here on this process and its children use so many: what counts cores is told, and the libraries that do so alone.

    To be called before torch and numpy are imported.
    """
    os.environ[SHARE] = str(count)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(count)
