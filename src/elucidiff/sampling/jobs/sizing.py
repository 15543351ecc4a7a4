"""How many processes are worth starting, and how many samples make a shard."""

from __future__ import annotations

import time

from elucidiff.launch.cores import physical_cores
from elucidiff.sampling.jobs.task import Task
from elucidiff.sampling.loop import Step

START_S = 5.0
"""What it takes to start processes: each imports PyTorch and reads the model."""

_SMALL_JOB, _SHARD = 1024, 1000


class _SeenError(Exception):
    """Enough steps were timed."""


def shard_size_for(output: str, samples: int, batch_size: int) -> int:
    """Samples in a shard: 1000 in archives and sub-folders. In one folder, where nobody sees shards, a few batches.

    Args:
        output: see :data:`.OUTPUTS`.
        samples: in the whole job. A small one has shards of one batch, so that there is one for every process.
        batch_size: samples in each call of the denoiser, which a shard has whole numbers of.

    Raises:
        ValueError: the batch size is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch size is {batch_size}, but must be at least 1")
    if output == "folder":
        return batch_size if samples <= _SMALL_JOB else max(batch_size, 64 // batch_size * batch_size)
    return -(-_SHARD // batch_size) * batch_size


def processes_worthwhile(task: Task, samples: int) -> int:
    """As many processes as a machine has physical cores, if that saves more time than they take to start.

    On an accelerator it is 1. On a CPU the first steps of a batch are timed: which choice is made has no influence on
    the samples.

    Args:
        task: what is to be done.
        samples: that are yet to be drawn.
    """
    job = task.job
    most = min(physical_cores(), -(-samples // job.shard_size))
    if task.device.type != "cpu" or most < 2:
        return 1
    seconds = _seconds_a_batch(task) * -(-samples // job.batch_size)
    return most if seconds - seconds / most > 2 * START_S else 1


def _seconds_a_batch(task: Task) -> float:
    job, begun = task.job, time.monotonic()
    seconds: list[float] = []

    def look(step: Step) -> None:
        seconds.append(time.monotonic() - begun)
        if len(seconds) == 3:
            raise _SeenError

    seeds = job.seeds[: job.batch_size]
    try:
        task.draw(seeds, job.labels_of(0, len(seeds)), look)
    except _SeenError:
        return seconds[-1] / len(seconds) * (len(job.sampler.sigmas(task.denoiser)) - 1)
    return seconds[-1]
