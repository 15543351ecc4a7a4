"""Choices that a job makes by itself: the backend, the batch size, the shards and the processes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from elucidiff.denoisers.backends import BACKENDS, Backend, Choice, choose, require_compiler, with_backend
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.design.schedules import EDM
from elucidiff.devices import wait_for, widest_type
from elucidiff.launch.coordination import notice_board
from elucidiff.launch.machine import MemoryTaken, available_memory, physical_cores
from elucidiff.sampling.jobs.folder import job_begun_in
from elucidiff.sampling.jobs.worker import Task
from elucidiff.sampling.loop import Step, count_evaluations
from elucidiff.sampling.ode import probability_flow
from elucidiff.sampling.seeds import begin

_MOST_A_STEP = 8
"""No fewer network evaluations than a step takes, under guidance."""

Asked = Literal["auto"] | Backend


@dataclass
class BackendSetting:
    """A choice of the first process of a machine. It is handed on to those that it starts, which go by it.

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
    if denoiser.known_labels.field:
        return Choice("eager", "the others do not know conditions that are fields")
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


LARGEST = 4096
"""The largest batch that is tried."""

_TIE = 1.03
_CALLS, _CANDIDATE_S, _ALL_S = 2, 0.25, 30.0
_SHARE = 0.5  # of the memory that is left


@dataclass(frozen=True)
class BatchSize:
    """A choice, and what it was chosen of.

    Attributes:
        size: samples in each call of the network.
        rates: samples through the network in a second, in one process, for each size that was tried.
        ended: why no larger one was tried.
    """

    size: int
    rates: Mapping[int, float]
    ended: str

    def __str__(self) -> str:
        tried = ", ".join(f"{rate:,.{0 if rate >= 10 else 2}f} with {size}" for size, rate in self.rates.items())
        return f"batch size {self.size}: one process evaluates {tried} in a second; {self.ended}"


def fastest_batch_size(task: Task, processes: int) -> BatchSize:
    """Measure calls of the denoiser on 1, 2, 4, ... samples, for some seconds, and take the fastest size.

    Fastest is what does all of the job in the least time: a batch that is not full costs as much as one that is, and
    processes that have no batch left wait for the others. Of sizes within 3% the smallest is taken. Larger ones are
    tried as long as they gain, and as twice the memory that the last one took is less than half of what is left.

    Each time is the shortest of several calls, in one process. With others beside it each is slower, but not their
    order by much.

    Args:
        task: what is to be done; its batch size does not matter.
        processes: how many will do it.

    Raises:
        ValueError: a single sample does not fit into the memory of an accelerator.
    """
    call, taken, memory = _caller(task), _taken(task.device), _memory(task.device, processes)
    samples = len(task.job.seeds)
    enough = math.ceil(samples / processes)
    seconds: dict[int, float] = {}
    begun, size, ended = time.monotonic(), 1, ""
    with torch.no_grad(), task.computing():
        while not ended:
            try:
                call(size)  # the first call of a size takes longer
                seconds[size] = _shortest(call, size)
            except torch.OutOfMemoryError:
                ended = f"{size} do not fit into the memory"
                break
            ended = _ended(seconds, enough, time.monotonic() - begun, taken() / memory)
            size *= 2
        if not seconds:
            raise ValueError(f"a single sample does not fit into the memory of {task.device}: use --device cpu")

        def whole(size: int) -> float:
            return math.ceil(math.ceil(samples / size) / processes) * seconds[size]

        # What was close is measured once more: the machine may have been busy in between.
        for close in [size for size in seconds if whole(size) < 1.2 * min(map(whole, seconds))]:
            seconds[close] = min(seconds[close], _shortest(call, close))
    chosen = next(size for size in seconds if whole(size) <= _TIE * min(map(whole, seconds)))
    return BatchSize(chosen, {size: size / each for size, each in seconds.items()}, ended)


def _ended(seconds: Mapping[int, float], enough: int, spent: float, filled: float) -> str:
    """Why no larger size is worth trying; empty if one is."""
    size = max(seconds)
    rates = [each / seconds[each] for each in seconds]
    if size >= enough:
        return "more is not to be drawn"
    if size >= LARGEST:
        return "larger ones are not tried"
    if len(rates) > 3 and max(rates[-2:]) < _TIE * max(rates[:-2]):
        return "larger ones gain nothing"
    if spent + 2 * (1 + _CALLS) * seconds[size] > _ALL_S:
        return "larger ones take too long to try"
    if 2 * filled > _SHARE:
        return "larger ones might need more than half of the memory"
    return ""


def _caller(task: Task) -> Callable[[int], None]:
    """A function that evaluates the denoiser once for so many samples, as a solver does, and waits for it."""
    job = task.job
    denoiser = job.sampler.guided(task.denoiser, task.guide)
    sigmas = job.sampler.sigmas(denoiser)[:-1].float()
    # Where guidance evaluates most networks.
    sigma = float(sigmas[int(denoiser.evaluations(sigmas).argmax())])
    beginning = begin(denoiser, job.seeds[:1], job.labels_of(0, 1), None, task.device, any_class=True)
    x = beginning.latents.to(widest_type(task.device))

    def call(size: int) -> None:
        samples = (x * sigma).expand(size, *x.shape[1:]).contiguous()
        probability_flow(denoiser, EDM(), samples, beginning.labels, size).denoise(samples, sigma)
        wait_for(task.device)

    return call


def _shortest(call: Callable[[int], None], size: int) -> float:
    """Seconds of the shortest of some calls."""
    begun = time.monotonic()
    seconds: list[float] = []
    while len(seconds) < _CALLS or time.monotonic() - begun < _CANDIDATE_S:
        start = time.perf_counter()
        call(size)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _taken(device: torch.device) -> Callable[[], int]:
    """A function that tells how much memory this process has taken at most since now, in bytes."""
    if device.type != "cuda":
        memory = MemoryTaken()
        return lambda: memory.peak
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    return lambda: torch.cuda.max_memory_allocated(device) - before


def _memory(device: torch.device, processes: int) -> float:
    """Bytes that are left for each process; infinite if nobody tells."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    left = available_memory() if device.type == "cpu" else None
    return math.inf if left is None else left / processes


START_S = 5.0
"""Seconds that it takes to start processes: each imports PyTorch and reads the model."""

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
        task.draw(seeds, job.labels_of(0, len(seeds)), callback=look)
    except _SeenError:
        return seconds[-1] / len(seconds) * (len(job.sampler.sigmas(task.denoiser)) - 1)
    return seconds[-1]


def batch_size_for(
    out: Path,
    asked: int | Literal["auto"],
    processes: int | None,
    prepare: Callable[[int, int | None], Task],
    note: Callable[[str], None],
    *,
    overwrite: bool = False,
) -> int:
    """The batch size of a job: the number that was asked for or, under auto, what is fastest.

    A job that was begun keeps its own. For a new one the first process measures, and the others wait for its word,
    since samples depend on the batch size in their last bits.

    Args:
        out: folder of the job.
        asked: a number, or "auto".
        processes: how many will be started on this machine; None if that is not settled.
        prepare: the task for a batch size, and for the number of a process on its machine or None.
        note: is told what was found.
        overwrite: whether what is in the folder will be forgotten.

    Raises:
        ValueError: something of what was asked for is wrong, or the folder holds something else.
        OSError: something cannot be read.
    """
    if asked != "auto":
        return asked
    board = notice_board()
    if board is not None and board.rank > 0:
        return int(board.from_main())
    begun = None if overwrite else job_begun_in(out)
    size = (begun or {}).get("batch_size")
    if not isinstance(size, int):
        count = processes if board is None else board.count
        task = prepare(16, None if (count or 1) == 1 else int(os.environ.get("LOCAL_RANK", "0")))
        if not overwrite:
            task.folder(out).check()
        cores = physical_cores() if task.device.type == "cpu" else 1
        found = fastest_batch_size(task, count or cores)
        note(str(found))
        size = found.size
    if board is not None:
        board.from_main(str(size))
    return size
