"""How many cores engines may use."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(cpus: Path = _CPUS, quota: Path = _QUOTA) -> int:
    """Return the physical cores that this process may use; inference gains nothing by more.

    A container's quota counts too: more threads than it allows would be stopped all at once.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
    cores = len({_siblings(cpus, cpu) for cpu in allowed})
    return min(cores, _allowed(quota) or cores)


def _siblings(cpus: Path, cpu: int) -> str:
    """Name the core of a CPU, of which hyper-threading makes two."""
    try:
        text = (cpus / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except (OSError, ValueError):
        return str(cpu)
    return text.strip()


def _allowed(quota: Path) -> int | None:
    try:
        limit, period = quota.read_text(encoding="ascii").split()
        return ceil(int(limit) / int(period))
    except (OSError, ValueError):  # "max": no limit
        return None
