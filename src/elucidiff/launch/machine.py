"""Cores and memory: how much this process may use, and what it has taken."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def physical_cores(topology: Path = _TOPOLOGY, quota: Path = _QUOTA) -> int:
    """Physical cores that this process may use: two threads of a core share its arithmetic units, and count once.

    Args:
        topology: where Linux tells which threads share a core. Elsewhere all that the system counts are cores.
        quota: where a container is told how much time it may take on all cores together.
    """
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = (_read(topology / f"cpu{cpu}" / "topology" / "thread_siblings_list") or str(cpu) for cpu in usable)
    cores = len(set(siblings))
    time, _, period = _read(quota).strip().partition(" ")
    if time.isdigit() and period.isdigit():
        cores = min(cores, round(int(time) / int(period)))
    return max(1, cores)


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
    """Bytes that this process takes more than when this was made: its peak since then; 0 if nobody tells."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            (_PROC / "self" / "clear_refs").write_text("5")  # the peak begins anew
        self._before = _field(_PROC / "self" / "status", "VmRSS") or 0

    @property
    def peak(self) -> int:
        """See the class."""
        return max(0, (_field(_PROC / "self" / "status", "VmHWM") or 0) - self._before)


def _left(group: Path, limit: str, usage: str, cache: str) -> int | None:
    """The memory that a control group leaves; files that are kept in memory meanwhile give way."""
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


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4  # malloc.h
_NEVER, _TOP_PAD, _LARGE = -1, 64 * 2**20, 2**20


def keep_freed_memory() -> bool:
    """Have glibc's allocator keep what this process frees until the process ends; whether that was done.

    No block is mapped on its own any more (M_MMAP_MAX 0), the heap never shrinks (M_TRIM_THRESHOLD -1), and it grows
    by 64 MiB more than is needed (M_TOP_PAD). These are settings of the whole process, so a program calls this for
    itself, and a library does not; forked processes inherit it. The peak of memory hardly changes, but the process
    stays there.

    Nothing is done where there is another C library or allocator (jemalloc, tcmalloc), and none of it where whoever
    started the process has settled it: by a variable ``MALLOC_...``, as for glibc and jemalloc, or by one of
    ``GLIBC_TUNABLES`` named ``glibc.malloc...``.
    """
    # One without the others is slower than none: each stops glibc from adapting its thresholds by itself.
    return _allocate_with({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _NEVER, _M_TOP_PAD: _TOP_PAD})


def give_back_freed_memory() -> bool:
    """Have glibc's allocator give back every block of 1 MiB and more as soon as it is freed; whether that was done.

    Left alone, it raises the size from which blocks are mapped on their own (M_MMAP_THRESHOLD) up to 32 MiB as such
    blocks are freed, and what lies in the heap below a block that stays is never given back: work in many passes over
    large pieces then takes up to half as much again, and how much depends on chance. For a program that reads much
    and computes little; the reservations of :func:`keep_freed_memory` hold here, too.
    """
    return _allocate_with({_M_MMAP_THRESHOLD: _LARGE})


def _allocate_with(settings: Mapping[int, int]) -> bool:
    if not _is_glibc() or _is_settled():
        return False
    libc = ctypes.CDLL("libc.so.6")
    # All tensors come from posix_memalign. (Of malloc some programs have an address of their own.)
    if _address(ctypes.CDLL(None).posix_memalign) != _address(libc.posix_memalign):
        return False
    return all(libc.mallopt(name, value) == 1 for name, value in settings.items())


def _is_glibc() -> bool:
    return "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})


def _is_settled() -> bool:
    return any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    )


def _address(function: Any) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value
