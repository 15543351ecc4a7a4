"""Processes that are really spawned: the same bytes, one error for all, and none that outlives the work."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor

from elucidiff.sampling.jobs import Task, run_job
from tests.sampling.jobs.test_running import Burst
from tests.sampling.jobs.tiny import Heard, Shrink, contents, task


def alike(index: int | None) -> Task:
    return task("0-199", output="zip")


def bursting(index: int | None) -> Task:
    """Process 1 alone is bad, so the other has to be ended."""
    return task("0-99999", labels=torch.tensor([2]), denoiser=Burst() if index == 1 else Shrink())


class Deadly(Shrink):
    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return x


class Broken(Shrink):
    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        raise RuntimeError("out of memory\nand more")


def killed(index: int | None) -> Task:
    return task("0-99999", denoiser=Deadly() if index == 1 else Shrink())


def broken(index: int | None) -> Task:
    return task("0-99999", denoiser=Broken() if index == 1 else Shrink())


def test_two_processes_write_what_one_does(tmp_path: Path) -> None:
    run_job(alike, tmp_path / "one", processes=1)
    outcome = run_job(alike, tmp_path / "two", processes=2)
    assert outcome is not None
    assert (outcome.done, outcome.drawn) == (200, 200)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert "begins in 2 processes" in (tmp_path / "two" / "log.txt").read_text()
    assert not spawned()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "error", "says"),
    [
        (bursting, ValueError, "gave values that are not finite at step"),
        (killed, ChildProcessError, "process elucidiff-1 was killed by signal 9"),
        (broken, ChildProcessError, "a sampling process failed: RuntimeError: out of memory"),
    ],
)
def test_the_failure_of_one_ends_all(tmp_path: Path, prepare: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        run_job(prepare, tmp_path / "job", processes=2)  # type: ignore[arg-type]
    assert not spawned()
    if prepare is not killed:
        assert not list((tmp_path / "job").glob(".*"))
    assert says in (tmp_path / "job" / "log.txt").read_text()


@pytest.mark.slow
def test_a_signal_ends_all_and_the_rest_is_done_by_one(tmp_path: Path) -> None:
    heard = Heard(30, lambda: os.kill(os.getpid(), signal.SIGINT))
    outcome = run_job(alike, tmp_path / "job", processes=2, callbacks=heard)
    assert outcome is not None
    assert outcome.interrupted == "SIGINT"
    assert 0 < outcome.done < 200
    assert not spawned()
    run_job(alike, tmp_path / "job", processes=1)
    run_job(alike, tmp_path / "one", processes=1)
    assert contents(tmp_path / "job") == contents(tmp_path / "one")


def spawned() -> list[psutil.Process]:
    """Processes of the pool that are still there; the servers that other tests and Python itself start may stay."""
    children = psutil.Process().children()
    return [child for child in children if "multiprocessing.spawn" in " ".join(child.cmdline())]
