"""Processes that a launcher started share a job; threads stand in for them here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from elucidiff.launch.coordination import NoticeBoard
from elucidiff.sampling.jobs import process_pool as launched
from elucidiff.sampling.jobs import run_job
from elucidiff.sampling.jobs.process_pool import work_launched
from elucidiff.sampling.jobs.worker import Event, Task
from tests.sampling.jobs.test_running import Burst
from tests.sampling.jobs.tiny import contents, task


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launched, "_LOOK_S", 0.001)


def together(folder: Path, tasks: list[Task], tell: Callable[[Event], object], interrupts: list[Any]) -> list[Any]:
    """What each of them returns or raises."""
    tasks[0].folder(folder).begin(overwrite=False)
    store = dist.HashStore()
    boards = [NoticeBoard(store, rank, len(tasks)) for rank in range(len(tasks))]
    ended: list[Any] = [None] * len(tasks)

    def call(rank: int) -> None:
        try:
            told = tell if rank == 0 else lambda event: pytest.fail("only the first hears")
            ended[rank] = work_launched(boards[rank], tasks[rank], folder, told, interrupts[rank])
        except Exception as error:
            boards[rank].first_to_fail()
            ended[rank] = error

    threads = [threading.Thread(target=call, args=(rank,)) for rank in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return ended


def quiet(count: int) -> list[Any]:
    return [SimpleNamespace(received=None) for _ in range(count)]


@pytest.mark.parametrize("count", [2, 3])
def test_each_shard_is_done_once_and_the_first_hears_of_all(tmp_path: Path, count: int) -> None:
    run_job(lambda index: task(), tmp_path / "alone")
    events: list[Event] = []
    ended = together(tmp_path / "together", [task() for _ in range(count)], events.append, quiet(count))
    assert ended == [None] * count
    assert sorted(event.shard for event in events if event.kind == "written") == list(range(10))
    assert sum(event.samples for event in events if event.kind == "samples") == 100
    alone = contents(tmp_path / "alone")
    assert {**contents(tmp_path / "together"), "job.json": b""} == {**alone, "job.json": b""}


def test_a_signal_to_one_stops_all(tmp_path: Path) -> None:
    run_job(lambda index: task(), tmp_path / "alone")
    interrupts = quiet(2)

    def tell(event: Event) -> None:
        if event.kind == "written":
            interrupts[1].received = "SIGTERM"

    assert together(tmp_path / "job", [task(), task()], tell, interrupts) == ["SIGTERM"] * 2
    done = task().folder(tmp_path / "job").recorded()
    assert 10 <= done < 100
    assert together(tmp_path / "job", [task()] * 3, lambda event: None, quiet(3)) == [None] * 3
    assert {**contents(tmp_path / "job"), "job.json": b""} == {**contents(tmp_path / "alone"), "job.json": b""}


def test_a_failure_of_one_ends_all(tmp_path: Path) -> None:
    labels = torch.tensor([2])
    failing = task(denoiser=Burst(), labels=labels)
    # The first is slow, so that there is something left for the other to fail at.
    ended = together(tmp_path / "job", [task(labels=labels), failing], lambda event: time.sleep(0.1), quiet(2))
    assert isinstance(ended[0], ConnectionAbortedError)
    assert "gave values that are not finite" in str(ended[1])
