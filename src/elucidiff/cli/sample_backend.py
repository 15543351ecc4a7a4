"""Which backend computes the networks of ``elucidiff sample``: settled once for all that do the same job."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from elucidiff.denoisers.backends import BACKENDS, Backend, Choice, choose, require_compiler, with_backend
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.launch.coordination import is_main_process
from elucidiff.sampling.jobs import Task
from elucidiff.sampling.jobs.folder import job_begun_in
from elucidiff.sampling.nfe import count_evaluations

if TYPE_CHECKING:
    from elucidiff.cli.sample import Options


@dataclass
class BackendSetting:
    """What the first process of a machine settles. It is handed on to those that it starts, which go by it.

    Attributes:
        scratch: folder for exported networks, so that one process exports them for all.
        backend: None until it is settled.
    """

    scratch: Path
    backend: Backend | None = None

    def apply(self, options: Options, task: Task) -> Task:
        """The task with its networks computed by the backend, which becomes a part of what the job is.

        Under auto a job that was begun keeps its backend. A new one gets what suits the amount of work, or eager if
        that turns out to be impossible here.

        Args:
            options: what was asked for.
            task: with the denoisers as they were loaded.

        Raises:
            ValueError: the backend cannot compute the networks here, or the folder holds another job.
            OSError: the folder cannot be read.
        """
        if self.backend is not None:
            return self._with(self.backend, task)
        kept = None if options.backend != "auto" or options.overwrite else _begun_with(options.out)
        notes: tuple[str, ...] = ()
        if options.backend != "auto":
            backend: Backend = options.backend
        elif kept is not None:
            backend = kept
        else:
            choice = _chosen(task)
            backend, notes = choice.backend, (f"backend {choice.backend}: {choice.why}",)
        if not options.overwrite:
            # Before seconds or minutes are spent.
            _named(backend, task).folder(options.out).refuse_strangers()
        try:
            if backend == "compile":
                require_compiler(task.device)
                if is_main_process():
                    print("compiling the network: this takes minutes", file=sys.stderr)
            made = self._with(backend, task)
        except ValueError as error:
            if kept is not None:
                raise ValueError(f"{options.out} was begun with the backend {kept}: {error}") from error
            if options.backend != "auto":
                raise
            notes += (f"backend eager instead: {error}",)
            backend, made = "eager", self._with("eager", task)
        self.backend = backend
        return replace(made, notes=(*notes, *made.notes))

    def _with(self, backend: Backend, task: Task) -> Task:
        def ready(denoiser: DenoiserModule, name: str) -> DenoiserModule:
            file = self.scratch / f"{name}.onnx"
            return with_backend(denoiser, backend, batch_sizes=_batch_sizes(task), file=file)

        with task.computing():  # the code is made for a number of threads
            denoiser = ready(task.denoiser, "model")
            guide = None if task.guide is None else ready(task.guide, "guide")
        return replace(_named(backend, task), denoiser=denoiser, guide=guide)


def _chosen(task: Task) -> Choice:
    """The backend for a new job."""
    job, denoiser = task.job, task.denoiser
    guided = job.sampler.guided(denoiser, task.guide)
    evaluations = len(job.seeds) * count_evaluations(job.sampler.prepare(guided), guided)
    return choose(denoiser, evaluations, job.device, job.threads)


def _named(backend: Backend, task: Task) -> Task:
    """The task of a job that is done with this backend and no other."""
    return replace(task, job=replace(task.job, facts={**task.job.facts, "backend": backend}))


def _begun_with(out: Path) -> Backend | None:
    begun = (job_begun_in(out) or {}).get("backend")
    return next((backend for backend in BACKENDS if backend == begun), None)


def _batch_sizes(task: Task) -> list[int]:
    """Of all batches that come: classifier-free guidance has both of its branches in one."""
    sampler, size = task.job.sampler, task.job.batch_size
    guidance = sampler.guidance
    if guidance is None or guidance.weight == 0 or task.guide is not None:
        return [size]
    everywhere = guidance.sigma_min <= 0 and guidance.sigma_max == math.inf
    return [2 * size] if everywhere else [size, 2 * size]
