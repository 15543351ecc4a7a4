"""The most memory that a process has held."""

from __future__ import annotations

from pathlib import Path


def peak_memory() -> int:
    """Bytes that this process has held at once since it was started.

    ``ru_maxrss`` counts what the process that started it held, too, and that of the tests is large.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
