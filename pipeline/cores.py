"""How many cores this process may use. Knows nothing of networks."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # "QUOTA PERIOD" in microseconds, or "max PERIOD"


def usable_cores() -> int:
    """The share of a scheduler, a container or `taskset`, not the whole machine: more threads than cores are slow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if CGROUP_QUOTA.is_file():
        quota, _, period = CGROUP_QUOTA.read_text(encoding="ascii").partition(" ")
        if quota.isdecimal() and period.strip().isdecimal():
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores
