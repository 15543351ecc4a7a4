"""Memory by what Linux tells of the machine, of a container and of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elucidiff.launch.machine import available_memory

MIB = 2**20
PEAKS = """
from elucidiff.launch.machine import MemoryTaken
b"x" * (200 * 2**20)
taken = MemoryTaken()
print(taken.peak)
b"x" * (100 * 2**20)
print(taken.peak)
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "meminfo").write_text("MemTotal:  16384 kB\nMemFree:  1024 kB\nMemAvailable:  8192 kB\n")
    return tmp_path


def test_the_machine_alone(proc: Path) -> None:
    assert available_memory(proc, proc / "none") == 8 * MIB
    assert available_memory(proc / "none", proc / "none") is None


@pytest.mark.parametrize(
    ("folder", "limit", "usage", "cache"),
    [
        (".", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_container_has_what_it_is_given(proc: Path, folder: str, limit: str, usage: str, cache: str) -> None:
    group = proc / "cgroup" / folder
    group.mkdir(parents=True)
    (group / usage).write_text(f"{5 * MIB}\n")
    (group / "memory.stat").write_text(f"anon {3 * MIB}\n{cache} {2 * MIB}\nactive_file 7\n")
    # What files take in memory gives way.
    for most, left in ((6 * MIB, 3 * MIB), (2 * MIB, 0), (100 * MIB, 8 * MIB), ("max", 8 * MIB)):
        (group / limit).write_text(f"{most}\n")
        assert available_memory(proc, proc / "cgroup") == left


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_process_knows_its_peak() -> None:
    """In a process of its own, whose allocator gives back what is free: a test may have had this one keep it."""
    told = subprocess.run([sys.executable, "-c", PEAKS], check=True, capture_output=True, text=True).stdout.split()
    before, after = (int(peak) for peak in told)
    assert before < 20 * MIB, "what was before does not count"
    assert after == pytest.approx(100 * MIB, rel=0.2), "though it is free again"
