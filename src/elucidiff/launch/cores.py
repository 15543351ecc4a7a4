"""How many processes a machine computes at once."""

from __future__ import annotations

import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def physical_cores(topology: Path = _TOPOLOGY, quota: Path = _QUOTA) -> int:
    """Physical cores that this process may use: two threads of a core share its arithmetic units, and count once.

    Args:
        topology: where Linux tells which threads share a core. Elsewhere all that the system counts are cores.
        quota: where a container is told how much time it may take on all cores together.
    """
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = len({_read(topology / f"cpu{cpu}" / "topology" / "thread_siblings_list") or str(cpu) for cpu in usable})
    time, _, period = _read(quota).partition(" ")
    if time.isdigit() and period.isdigit():
        cores = min(cores, round(int(time) / int(period)))
    return max(1, cores)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
