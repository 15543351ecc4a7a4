"""The batch size that is chosen, by a clock that only the network moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from elucidiff.denoisers.guided import Guidance
from elucidiff.sampling import Sampler
from elucidiff.sampling.jobs import automatic, fastest_batch_size
from tests.sampling.jobs.tiny import Shrink, task


class Clock:
    """Seconds pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic


class Timed(Shrink):
    """A network that takes some seconds for a batch, the first time of each size ten times as long."""

    label_dropout = 0.1

    def __init__(self, clock: Clock, seconds: Callable[[int], float]) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds
        self.batches: list[int] = []
        self.levels: set[float] = set()

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        self.clock.now += self.seconds(len(x)) * (1 if len(x) in self.batches else 10)
        self.batches.append(len(x))
        self.levels.update(torch.as_tensor(sigma).flatten().tolist())
        return super().forward(x, sigma, labels)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(automatic, "time", made)
    monkeypatch.setattr(automatic, "available_memory", lambda: None)
    return made


def test_of_what_is_equally_fast_the_smallest(clock: Clock) -> None:
    """With 1 ms a call and 0.1 ms a sample, 256 samples in a batch take 4% longer each than all in one."""
    network = Timed(clock, lambda size: 0.001 + 0.0001 * size)
    found = fastest_batch_size(task("0-99999", network), 1)
    best = 0.0001 + 0.001 / max(found.rates)
    within = [size for size in found.rates if 0.0001 + 0.001 / size <= 1.03 * best]
    assert found.size == within[0] == 256
    assert list(found.rates) == [2**k for k in range(len(found.rates))]
    assert found.rates[64] == pytest.approx(64 / (0.001 + 0.0064))
    assert found.ended == "larger ones gain nothing"
    assert str(found).startswith("batch size 256: one process evaluates 909 with 1, 1,667 with 2, ")


@pytest.mark.parametrize(
    ("seeds", "processes", "size"),
    [
        ("0-19", 1, 32),  # one call of 32 takes less time than two of 16
        ("0-19", 2, 16),
        ("0-63", 4, 16),  # 64 at once would leave three without work
        ("7", 1, 1),
        ("0-99999", 1, 4096),
    ],
)
def test_what_does_the_whole_job_soonest(clock: Clock, seeds: str, processes: int, size: int) -> None:
    """Twice the size costs next to nothing."""
    found = fastest_batch_size(task(seeds, Timed(clock, lambda size: 0.001 + 1e-7 * size)), processes)
    assert found.size == size
    assert found.ended == ("larger ones are not tried" if size == 4096 else "more is not to be drawn")


def test_processes_that_wait_count(clock: Clock) -> None:
    """Four processes do ten batches of 4 in 3 x 0.05 s, five of 8 in 2 x 0.09 s; a single process prefers these."""
    network = Timed(clock, lambda size: 0.01 + 0.01 * size)
    assert fastest_batch_size(task("0-39", network), 4).size == 2  # 5 x 0.03 s, as much as with 4
    assert fastest_batch_size(task("0-39", network), 1).size == 8


def test_slow_networks_are_not_tried_for_long(clock: Clock) -> None:
    found = fastest_batch_size(task("0-99999", Timed(clock, lambda size: 0.5 * size**0.5)), 1)
    assert found.ended == "larger ones take too long to try"
    assert found.size == max(found.rates)
    assert clock.now < 60


def test_what_does_not_fit_an_accelerator(clock: Clock) -> None:
    def seconds(size: int) -> float:
        if size > limit:
            raise torch.OutOfMemoryError
        return 0.001

    limit = 8
    found = fastest_batch_size(task("0-999", Timed(clock, seconds)), 1)
    assert (found.size, found.ended) == (8, "16 do not fit into the memory")
    limit = 0
    with pytest.raises(ValueError, match="a single sample does not fit into the memory of cpu"):
        fastest_batch_size(task("0-999", Timed(clock, seconds)), 1)


def test_half_of_the_memory_is_left(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of 8 takes 8 MiB, so one of 16 might take a quarter of 64 MiB, and one of 32 a half."""
    network = Timed(clock, lambda size: 0.001)
    monkeypatch.setattr(automatic, "_taken", lambda device: lambda: max(network.batches) * 2**20)
    monkeypatch.setattr(automatic, "available_memory", lambda: 64 * 2**20)
    for processes, size in ((1, 32), (2, 16), (64, 1)):
        network.batches.clear()
        found = fastest_batch_size(task("0-999", network), processes)
        assert max(found.rates) == found.size == max(network.batches) == size
        assert found.ended == "larger ones might need more than half of the memory"


def test_what_is_measured_is_what_sampling_does(clock: Clock) -> None:
    """Guided where guidance acts, with the job's threads, which are put back."""
    threads: set[int] = set()

    def seconds(size: int) -> float:
        threads.add(torch.get_num_threads())
        return 0.001

    network = Timed(clock, seconds)
    sampler = Sampler(steps="karras:n=9", solver="euler", guidance=Guidance(weight=2.0, sigma_min=0.3, sigma_max=2.0))
    before = torch.get_num_threads()
    choices: dict[str, Any] = {"sampler": sampler, "threads": before + 1}
    found = fastest_batch_size(task("0-99", network, **choices), 1)
    assert set(network.batches) == {2 * size for size in found.rates}, "both branches in one batch"
    [level] = network.levels
    assert 0.3 < level <= 2.0
    assert threads == {before + 1}
    assert torch.get_num_threads() == before


def test_on_a_real_clock_by_real_memory() -> None:
    found = fastest_batch_size(task("0-31"), 2)
    assert list(found.rates) == [1, 2, 4, 8, 16]
    assert found.size in found.rates
