"""Physical cores by what Linux tells of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from elucidiff.launch.machine import physical_cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four cores of two threads each."""
    for cpu in range(8):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    return tmp_path


def test_threads_of_one_core_count_once(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert physical_cores(machine, machine / "none") == 4
    for usable, cores in (({0, 4}, 1), ({0, 1, 5}, 2), ({3}, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, usable=usable: usable)
        assert physical_cores(machine, machine / "none") == cores


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 4), ("200000 100000", 2), ("20000 100000", 1), ("900000 100000", 4), ("", 4)]
)
def test_a_container_has_what_it_is_given(machine: Path, quota: str, cores: int) -> None:
    (machine / "cpu.max").write_text(f"{quota}\n")
    assert physical_cores(machine, machine / "cpu.max") == cores


def test_a_system_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    assert physical_cores(tmp_path, tmp_path / "none") == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert physical_cores(tmp_path, tmp_path / "none") == 6
