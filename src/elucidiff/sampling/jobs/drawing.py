"""From the seeds of a shard to the contents of its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from elucidiff.denoisers.known_labels import known_labels
from elucidiff.sampling.jobs.drawn import Drawn, Label, file_name
from elucidiff.sampling.jobs.encoding import encoded
from elucidiff.sampling.jobs.job import Shard
from elucidiff.sampling.jobs.task import Task
from elucidiff.sampling.sampler import SampleResult

_TOGETHER = 64


def drawn(task: Task, shard: Shard, pause: Callable[[], object]) -> Iterator[Drawn]:
    """Draw the samples of a shard in order, a few at a time.

    Args:
        task: how.
        shard: which.
        pause: called after every step of the solver; what it raises ends the drawing.

    Raises:
        ValueError: a sample is not finite.
    """
    job = task.job
    # Several chunks at a time: step noise and solver arithmetic are cheaper for many samples than for few.
    together = max(job.batch_size, _TOGETHER // job.batch_size * job.batch_size)
    for start in range(0, len(shard.seeds), together):
        seeds = shard.seeds[start : start + together]
        labels = job.labels_of(shard.start + start, shard.start + start + len(seeds))
        result = task.draw(seeds, labels, lambda step: pause())
        contents = encoded(result.x.cpu(), job.pictures)
        evaluations = torch.as_tensor(result.nfe).expand(len(seeds)).tolist()
        for row in zip(seeds, contents, evaluations, _labels(result, task.denoiser), strict=True):
            seed, content, nfe, (label, name) = row
            yield Drawn(file_name(seed, job.suffix), content, seed, nfe, label, name)


def _labels(result: SampleResult, denoiser: Any) -> list[tuple[Label | None, str]]:
    """What to write of the label of each sample, and the name of its class, if it has one."""
    if result.labels is None:
        return [(None, "")] * len(result.seeds)
    rows, known = result.labels.expand(len(result.seeds), -1), known_labels(denoiser)
    if known.kind == "vectors":
        return [(row, "") for row in rows.tolist()]
    numbers = known.numbers_of(rows)
    return [(number, known.name(known.place(number)) if known.names else "") for number in numbers]
