"""A job, and what one process does it with."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from elucidiff.sampling.jobs.folder import JobFolder
from elucidiff.sampling.jobs.job import Job
from elucidiff.sampling.loop import Step
from elucidiff.sampling.sampler import SampleResult


@dataclass(frozen=True)
class Task:
    """What a process has to know to do its part of a job.

    Attributes:
        job: what is drawn.
        denoiser: D, ready on its device.
        device: where to compute.
        about: what else to tell in ``job.json``, JSON-able.
        notes: lines for whoever starts the job, such as warnings.
        guide: the worse model of autoguidance, likewise ready; None without.
    """

    job: Job
    denoiser: Callable[..., Tensor]
    device: torch.device
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    guide: Callable[..., Tensor] | None = None

    def folder(self, path: Path) -> JobFolder:
        """Where the samples of this job go."""
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

    def draw(
        self,
        seeds: Sequence[int],
        labels: Tensor | Literal["uniform"] | None,
        callback: Callable[[Step], object],
    ) -> SampleResult:
        """Samples for some of the seeds; see :meth:`.Sampler.run`. Whoever made the job has looked at its labels."""
        return self.job.sampler.run(
            self.denoiser,
            seeds,
            labels,
            any_class=True,
            batch_size=self.job.batch_size,
            callback=callback,
            device=self.device,
            guide=self.guide,
        )
