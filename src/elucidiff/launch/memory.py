"""How much memory there is, and how much this process has taken, as Linux tells it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def available_memory(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int | None:
    """Bytes that processes may still take without others being swapped out or killed; None if nobody tells.

    Args:
        proc: where Linux tells of the machine and its processes.
        cgroup: where a container is told how much it may take, in version 2 of control groups or in version 1.
    """
    left = [
        value
        for value in (
            _field(proc / "meminfo", "MemAvailable"),
            _left(cgroup, "memory.max", "memory.current", "inactive_file"),
            _left(cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        )
        if value is not None
    ]
    return max(0, min(left)) if left else None


class MemoryTaken:
    """What this process takes more than when this was made: its peak since then, in bytes; 0 if nobody tells."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            (_PROC / "self" / "clear_refs").write_text("5")  # the peak begins anew
        self._before = _field(_PROC / "self" / "status", "VmRSS") or 0

    @property
    def peak(self) -> int:
        """See the class."""
        return max(0, (_field(_PROC / "self" / "status", "VmHWM") or 0) - self._before)


def _left(group: Path, limit: str, usage: str, cache: str) -> int | None:
    """What a control group leaves; files that are kept in memory meanwhile give way."""
    most, used = (_read(group / name).strip() for name in (limit, usage))
    if not (most.isdigit() and used.isdigit()):
        return None
    gives_way = re.search(rf"^{cache} (\d+)$", _read(group / "memory.stat"), re.MULTILINE)
    return int(most) - int(used) + (int(gives_way[1]) if gives_way else 0)


def _field(file: Path, name: str) -> int | None:
    """A field in kB, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", _read(file), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
