"""The work of every process of a job: take a shard, see whether it is there, else draw and write it; and so on."""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from elucidiff.data.scaling import scaling_of
from elucidiff.denoisers.base import DenoiserModule, as_denoiser
from elucidiff.networks.fields import split
from elucidiff.sampling.editing import Edit
from elucidiff.sampling.jobs.folder import Job, JobFolder
from elucidiff.sampling.jobs.outputs import Label, SampleFile, encoded, file_name
from elucidiff.sampling.loop import SampleResult


@dataclass(frozen=True)
class Task:
    """All that a process has to know to do its part of a job.

    Attributes:
        job: what is drawn.
        denoiser: D, ready on its device.
        device: where to compute.
        about: what else to tell in ``job.json``, JSON-able.
        notes: lines for whoever starts the job, such as warnings.
        guide: the worse model of autoguidance, likewise ready; None without.
        edit: a picture to begin at; None for pure noise.
    """

    job: Job
    denoiser: DenoiserModule
    device: torch.device
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    guide: DenoiserModule | None = None
    edit: Edit | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "denoiser", as_denoiser(self.denoiser))
        if self.guide is not None:
            object.__setattr__(self, "guide", as_denoiser(self.guide))

    def folder(self, path: Path) -> JobFolder:
        """The folder of this job."""
        return JobFolder(path, self.job, self.about)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Compute with as many threads as the job says; on an accelerator that does not matter."""
        before = torch.get_num_threads()
        if self.device.type == "cpu":
            torch.set_num_threads(self.job.threads)
        try:
            with warnings.catch_warnings():
                # The notes are the place to say that a range does not suit the data, once and not in every process.
                warnings.filterwarnings("ignore", message="sigma goes from")
                yield
        finally:
            torch.set_num_threads(before)

    @property
    def draw(self) -> Callable[..., SampleResult]:
        """Draws the samples of some seeds with some labels; see :meth:`.Sampler.run`."""
        return functools.partial(
            self.job.sampler.run,
            self.denoiser,
            any_class=True,  # whoever made the job has looked at its labels
            batch_size=self.job.batch_size,
            device=self.device,
            guide=self.guide,
            edit=self.edit,
        )


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
    job = task.job
    while (index := take()) < job.shards:
        pause()
        shard = job.shard(index)
        fault = folder.fault(shard)
        if fault is None:
            continue
        if fault != "missing":
            tell(Event("damaged", index, len(shard.seeds), fault))
        begun = time.monotonic()
        with folder.writing(shard) as writer:
            for start in range(0, len(shard.seeds), job.together):
                seeds = shard.seeds[start : start + job.together]
                labels = job.labels_of(shard.start + start, shard.start + start + len(seeds))
                result = task.draw(seeds, labels, callback=lambda step: pause())
                names = [job.condition_name(shard.start + start + place) for place in range(len(seeds))]
                writer.write(_files(task, result, names))
                tell(Event("samples", index, len(seeds)))
        nfe = sum(writer.nfe) / len(writer.nfe)
        told = f"{nfe:g} evaluations each, {time.monotonic() - begun:.1f} s, sha256 {writer.record['sha256']}"
        tell(Event("written", index, len(shard.seeds), told))


def _files(task: Task, result: SampleResult, conditions: Sequence[str]) -> Iterator[SampleFile]:
    """The files of samples that were drawn together."""
    contents = encoded(scaling_of(task.denoiser).to_data(result.x.cpu()))
    evaluations = result.nfe_each.tolist()
    labels = _labels(result, task.denoiser)
    for row in zip(result.seeds, contents, evaluations, labels, conditions, strict=True):
        seed, content, nfe, (label, name), condition = row
        yield SampleFile(file_name(seed, task.job.suffix), content, seed, nfe, label, name, condition)


def _labels(result: SampleResult, denoiser: DenoiserModule) -> list[tuple[Label | None, str]]:
    """The label of each sample, as it is written, and the name of its class, if it has one."""
    known = denoiser.known_labels
    given = split(result.labels)[1]
    if given is None or known.kind == "conditions":
        return [(None, "")] * len(result.seeds)
    rows = given.expand(len(result.seeds), -1)
    if known.kind == "vectors":
        return [(row, "") for row in rows.tolist()]
    numbers = known.numbers_of(rows)
    return [(number, known.name(known.place(number)) if known.names else "") for number in numbers]
