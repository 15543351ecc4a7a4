"""What every process of a job does: take a shard, see whether it is there, else draw and write it; and so on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from elucidiff.sampling.jobs.drawing import drawn
from elucidiff.sampling.jobs.drawn import Drawn
from elucidiff.sampling.jobs.folder import JobFolder
from elucidiff.sampling.jobs.job import Shard
from elucidiff.sampling.jobs.task import Task

_TELL_S = 0.5


@dataclass(frozen=True)
class Event:
    """Something that a process tells about its work.

    Attributes:
        kind: ``samples`` were drawn; a shard was found ``damaged``, and is drawn again; or it was ``written``.
        shard: which.
        samples: how many.
        text: more about it.
    """

    kind: Literal["samples", "damaged", "written"]
    shard: int
    samples: int
    text: str = ""


def work(
    task: Task,
    folder: JobFolder,
    take: Callable[[], int],
    tell: Callable[[Event], object],
    pause: Callable[[], object],
) -> None:
    """Do shards as long as there are any.

    Args:
        task: what to do.
        folder: where.
        take: the number of the next shard that nobody has taken; any larger number if there is none.
        tell: is told what happens.
        pause: called after every step of the solver, and between shards; ends the work by :class:`StoppedError`.

    Raises:
        ValueError: a sample is not finite.
        OSError: a shard could not be written.
        StoppedError: ``pause`` did. The shard at hand is dropped, those that were written remain.
    """
    while (index := take()) < task.job.shards:
        pause()
        shard = task.job.shard(index)
        fault = folder.fault(shard)
        if fault is None:
            continue
        if fault != "missing":
            tell(Event("damaged", index, len(shard.seeds), fault))
        begun = time.monotonic()
        record = folder.write(shard, _counted(task, shard, tell, pause))
        nfe = record["nfe"]["total"] / record["samples"]
        told = f"{nfe:g} evaluations each, {time.monotonic() - begun:.1f} s, sha256 {record['sha256']}"
        tell(Event("written", index, len(shard.seeds), told))


def _counted(
    task: Task, shard: Shard, tell: Callable[[Event], object], pause: Callable[[], object]
) -> Iterator[Drawn]:
    """The samples, and now and then word of how many there were."""
    count, said = 0, time.monotonic()
    for sample in drawn(task, shard, pause):
        yield sample
        count += 1
        if time.monotonic() - said > _TELL_S:
            tell(Event("samples", shard.index, count))
            count, said = 0, time.monotonic()
    if count:
        tell(Event("samples", shard.index, count))
