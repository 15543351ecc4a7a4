"""Which backend computes the networks of a sampling job: settled once for all that do the same job."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from elucidiff.denoisers.backends import BACKENDS, Backend, Choice, choose, require_compiler, with_backend
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.sampling.jobs.folder import job_begun_in
from elucidiff.sampling.jobs.worker import Task
from elucidiff.sampling.nfe import count_evaluations

_MOST_A_STEP = 8
"""No fewer network evaluations than a step takes, under guidance."""

Asked = Literal["auto"] | Backend


@dataclass
class BackendSetting:
    """What the first process of a machine settles. It is handed on to those that it starts, which go by it.

    Attributes:
        scratch: folder for exported networks, so that one process exports them for all.
        backend: None until it is settled.
        note: is told what takes long; stays in the first process.
    """

    scratch: Path
    backend: Backend | None = None
    note: Callable[[str], None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "note": None}

    def apply(self, asked: Asked, task: Task, out: Path, *, overwrite: bool = False) -> Task:
        """The task with its networks computed by the backend, which becomes a part of what the job is.

        Under auto a job that was begun keeps its backend. A new one gets what suits the amount of work, or eager if
        that turns out to be impossible here.

        Args:
            asked: the backend that was asked for, or "auto".
            task: with the denoisers as they were loaded.
            out: folder of the job.
            overwrite: whether what is there will be forgotten.

        Raises:
            ValueError: the backend cannot compute the networks here, or the folder holds another job.
            OSError: the folder cannot be read.
        """
        if self.backend is not None:
            return self._with(self.backend, task)
        kept = None if asked != "auto" or overwrite else _begun_with(out)
        notes: tuple[str, ...] = ()
        if asked != "auto":
            backend: Backend = asked
        elif kept is not None:
            backend = kept
        else:
            choice = _chosen(task)
            backend, notes = choice.backend, (f"backend {choice.backend}: {choice.why}",)
        if not overwrite:
            # Before seconds or minutes are spent.
            _named(backend, task).folder(out).check()
        try:
            if backend == "compile":
                require_compiler(task.device)
                if self.note is not None:
                    self.note("compiling the network: this takes minutes")
            made = self._with(backend, task)
        except ValueError as error:
            if kept is not None:
                raise ValueError(f"{out} was begun with the backend {kept}: {error}") from error
            if asked != "auto":
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
    samples, steps = len(job.seeds), len(job.sampler.sigmas(guided)) - 1
    unsettled = job.sampler.restarts is not None or job.sampler.solver.adaptive
    return choose(
        denoiser,
        lambda: samples * count_evaluations(job.sampler.prepare(guided), guided),
        job.device,
        job.threads,
        at_most=math.inf if unsettled else samples * steps * _MOST_A_STEP,
    )


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
