"""Samples of a model into a folder, from one call: what ``elucidiff sample`` does."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import elucidiff
from elucidiff.data.latents import Latent
from elucidiff.data.scaling import scaling_of
from elucidiff.denoisers import opening
from elucidiff.denoisers.base import AnyDenoiser
from elucidiff.devices import choose_device, own_device
from elucidiff.launch.coordination import NoticeBoard, notice_board
from elucidiff.launch.interrupt import Interrupt, StoppedError
from elucidiff.launch.output_folder import held
from elucidiff.sampling.editing import Edit
from elucidiff.sampling.given import GivenFields, fields_asked_for, labels_or_uniform, read_given
from elucidiff.sampling.grid import makes_pictures, range_advice
from elucidiff.sampling.jobs.automatic import (
    Asked,
    BackendSetting,
    batch_size_for,
    processes_worthwhile,
    shard_size_for,
)
from elucidiff.sampling.jobs.folder import LISTING, Job, JobFolder
from elucidiff.sampling.jobs.outputs import LABELS, write_label_table, write_listing
from elucidiff.sampling.jobs.process_pool import work_in_pool, work_launched
from elucidiff.sampling.jobs.worker import Event, Task, work
from elucidiff.sampling.sampler import Sampler, SamplerChoice
from elucidiff.sampling.seeds import SeedRanges, seed_ranges

Prepare = Callable[[int | None], Task]
GivenField = str | os.PathLike[str] | Tensor | npt.NDArray[Any]

_SEEDS = "0-63"


class Callbacks:
    """Listeners to a job; these do nothing, override what you need."""

    def on_progress(self, done: int, total: int) -> None:
        """So many of all samples are drawn, those of earlier sessions included."""

    def on_note(self, text: str) -> None:
        """Something is worth a line."""

    def on_drawn(self, outcome: Outcome) -> None:
        """All samples are there; what is written now belongs to the job, which is not finished if this fails."""


@dataclass(frozen=True)
class Outcome:
    """The end of a job, as known to the process that was asked to do it (process 0, if a launcher started many).

    Attributes:
        folder: of the job.
        done: samples that are there, whole and recorded.
        drawn: samples drawn in this session.
        seconds: time that this session took.
        interrupted: ``"SIGINT"`` or ``"SIGTERM"`` if that ended it before all was done.
        nfe: network evaluations of a sample, on average; NaN if it was ended early.
    """

    folder: JobFolder
    done: int
    drawn: int
    seconds: float
    interrupted: str | None
    nfe: float = float("nan")


def draw_samples(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    seeds: str | Sequence[int] | None = None,
    *,
    sampler: SamplerChoice = None,
    labels: str | Tensor | Sequence[Any] | None = None,
    any_class: bool = False,
    condition: GivenField | None = None,
    per_condition: int | None = None,
    guide: str | os.PathLike[str] | None = None,
    init: str | os.PathLike[str] | None = None,
    strength: float | None = None,
    output: str = "folder",
    shard_size: int | None = None,
    processes: int | None = 1,
    threads: int = 1,
    batch_size: int | Literal["auto"] = 16,
    device: str = "auto",
    backend: Asked = "auto",
    latents: bool = False,
    overwrite: bool = False,
    callbacks: Callbacks | None = None,
) -> Outcome | None:
    """Draw samples from a model into a folder, from a few to many millions; what was stopped goes on.

    The files depend on the model, the seeds and the choices alone, not on the number of processes or sessions.

    Example::

        from elucidiff.sampling.jobs import draw_samples

        outcome = draw_samples("runs/demo/model", "samples", range(64), sampler="ipndm:order=3 steps=karras:n=12")
        outcome.done, outcome.folder.path

    Args:
        model: a model folder, or what else :func:`elucidiff.load` opens.
        out: the folder to write to; see :class:`.JobFolder`.
        seeds: one sample each, a text such as "0-63,70" or numbers (0-63; with conditions as many as these take).
        sampler: how to draw, see :data:`.SamplerChoice` (the paper's, unless the model says otherwise).
        labels: names, numbers or rows, taken in turn; None lets each seed draw its own, "uniform" all equally often.
        any_class: take classes that the training data did not have.
        condition: of a model that makes samples for conditions: a picture, a ``.npy`` of one ``(C, *spatial)`` or of
            several ``(K, C, *spatial)``, a folder, a data set, or such values, in the units of the training data;
            taken in turn.
        per_condition: samples for each (1), in place of ``seeds``.
        guide: folder of the worse model of autoguidance.
        init: a picture, or an ``.npy`` array in the units of the data, to begin at instead of at pure noise.
        strength: share of the steps that are then taken (0.5): see :class:`.Edit`.
        output: one of :data:`.OUTPUTS`.
        shard_size: samples in a shard; not for "folder".
        processes: how many to start; None for what is worthwhile. Those import the program that calls this, so its
            beginning has to be under ``if __name__ == "__main__"``.
        threads: of each process on a CPU.
        batch_size: samples in one call of the network; "auto" measures for some seconds which is fastest.
        device: where to compute.
        backend: what computes the network; see :func:`.with_backend`.
        latents: of a model of latents, write these instead of the pictures that they stand for.
        overwrite: forget what is in the folder.
        callbacks: who is told how it goes.

    Returns:
        How it ended; None in a process that is not the first of those that a launcher started.

    Raises:
        ValueError: something of what was asked for is wrong or does not fit the rest, or the folder holds other work.
        OSError: something cannot be read or written.
    """
    order = Order(
        Path(model), Path(out), None if seeds is None else seed_ranges(seeds), sampler, labels, any_class,
        None if guide is None else Path(guide), None if init is None else Path(init), strength, output, shard_size,
        threads, device, backend, latents, overwrite, condition, per_condition,
    )  # fmt: skip
    callbacks = callbacks or Callbacks()
    with tempfile.TemporaryDirectory(prefix="elucidiff-") as scratch:
        # Measured with the backend eager: another may take minutes for every size that is tried.
        trial = functools.partial(order.task, BackendSetting(Path(scratch), "eager"))
        size = batch_size_for(order.out, batch_size, processes, trial, callbacks.on_note, overwrite=overwrite)
        setting = BackendSetting(Path(scratch), note=callbacks.on_note)
        prepare = functools.partial(order.task, setting, size)
        outcome = run_job(prepare, order.out, processes=processes, overwrite=overwrite, callbacks=callbacks)
    if outcome is not None and outcome.interrupted is None:
        callbacks.on_drawn(outcome)
        _tell_of_all(outcome)
    return outcome


@dataclass(frozen=True)
class Order:
    """An order for samples, as they were asked for; see :func:`draw_samples`. Every process makes its task of it."""

    model: Path
    out: Path
    seeds: SeedRanges | None
    sampler: SamplerChoice
    labels: str | Tensor | Sequence[Any] | None
    any_class: bool
    guide: Path | None
    init: Path | None
    strength: float | None
    output: str
    shard_size: int | None
    threads: int
    device: str
    backend: Asked
    latents: bool
    overwrite: bool
    condition: GivenField | None
    per_condition: int | None

    def task(self, setting: BackendSetting, batch_size: int, index: int | None) -> Task:
        """The task of one process; everything is checked here, before anything is written.

        Args:
            setting: what the first process has settled.
            batch_size: samples in each call of the network.
            index: the number of the process on its machine; None if it is the only one.

        Raises:
            ValueError: something of what was asked for is wrong, or does not fit the rest.
            OSError: something cannot be read.
        """
        device = choose_device(self.device) if index is None else own_device(self.device, index)
        if self.output == "folder" and self.shard_size is not None:
            raise ValueError(
                "--shard-size would have no effect with --format folder: leave it out, or choose another format"
            )
        denoiser = opening.load(self.model, device)
        _decode_or_not(denoiser, keep=self.latents)
        guide = None if self.guide is None else opening.load_guide(self.guide, self.model, device)
        sampler = Sampler.chosen(self.sampler, denoiser)
        # Refuses guidance that the models are not made for, and a range that they do not know.
        sigmas = sampler.sigmas(sampler.guided(denoiser, guide))
        edit, edited = self._edit(denoiser)
        if edit is not None:
            sigmas = edit.sigmas(sigmas)
        fields = self._fields(denoiser)
        seeds = self._seeds(0 if fields is None else len(fields.names))
        models = {"model": self.model, "guide": self.guide}
        shard_size = self.shard_size
        if shard_size is None:
            shard_size = shard_size_for(self.output, len(seeds), batch_size)
        job = Job(
            sampler,
            seeds,
            self._labels(denoiser, len(seeds)),
            batch_size=batch_size,
            threads=self.threads,
            device=device.type,
            pictures=makes_pictures(denoiser),
            output=self.output,
            shard_size=shard_size,
            conditions=None if fields is None else fields.values,
            condition_names=() if fields is None else fields.names,
            facts={name: opening.checksum(path) for name, path in models.items() if path is not None} | edited,
        )
        about: dict[str, Any] = {
            "elucidiff": elucidiff.__version__,
            "torch": torch.__version__,
            **{name: str(path) for name, path in (models | {"init": self.init}).items() if path is not None},
            "sigmas": sigmas.tolist(),
        }
        if not job.pictures:
            scaling = scaling_of(denoiser)
            dtype = str(scaling.data_dtype).removeprefix("torch.")
            shape = scaling.data_shape(denoiser.sample_shape)
            about["values"] = f"{dtype} .npy array of shape {shape}, {scaling.units}"
        advice = range_advice(sampler.sigmas(denoiser), denoiser)
        notes = (f"warning: {advice}",) if advice else ()
        task = Task(job, denoiser, device, about, notes, guide, edit)
        return setting.apply(self.backend, task, self.out, overwrite=self.overwrite)

    def _edit(self, denoiser: AnyDenoiser) -> tuple[Edit | None, dict[str, Any]]:
        """The picture to begin at, and what decides the samples of it."""
        if self.init is None:
            if self.strength is not None:
                raise ValueError("--strength would have no effect without --init: leave it out, or name a picture")
            return None, {}
        given = read_given(self.init, denoiser)
        edit = Edit(given) if self.strength is None else Edit(given, self.strength)
        try:
            edit.check(denoiser.sample_shape, 1)
        except ValueError as error:
            raise ValueError(f"--init {self.init}: {error}") from None
        digest = hashlib.sha256(np.ascontiguousarray(given.numpy()).data).hexdigest()
        return edit, {"init": digest, "strength": edit.strength}

    def _fields(self, denoiser: AnyDenoiser) -> GivenFields | None:
        """The conditions of a model that makes samples for some."""
        if self.condition is None:
            denoiser.known_labels.check_given(None)
            if self.per_condition is not None:
                raise ValueError("--per-condition would have no effect without --condition: leave it out")
            return None
        return fields_asked_for(self.condition, denoiser)

    def _seeds(self, conditions: int) -> SeedRanges:
        """The seeds asked for, or as many as there are samples for conditions."""
        if self.seeds is not None:
            if self.per_condition is not None:
                raise ValueError("--seeds and --per-condition both say how many samples there are: give one of them")
            return self.seeds
        count = 1 if self.per_condition is None else self.per_condition
        if count < 1:
            raise ValueError(f"--per-condition is {count}, but must be at least 1")
        return seed_ranges(range(conditions * count) if conditions else _SEEDS)

    def _labels(self, denoiser: AnyDenoiser, seeds: int) -> Tensor | Literal["uniform"] | None:
        labels = labels_or_uniform(self.labels, denoiser, any_class=self.any_class)
        if isinstance(labels, Tensor) and str(self.labels).endswith(".npy") and seeds % len(labels):
            raise ValueError(
                f"--labels {self.labels} holds {len(labels)} labels for {seeds} seeds: give one a seed, or a number "
                "that divides them, to be taken in turn"
            )
        return labels


def _decode_or_not(denoiser: AnyDenoiser, *, keep: bool) -> None:
    """Let samples of latents be decoded or kept; whether they can be decoded is found before work starts."""
    scaling = scaling_of(denoiser)
    if isinstance(scaling, Latent):
        if keep:
            denoiser.facts["data"]["scaling"]["decoded"] = False
        else:
            scaling.open()
    elif keep:
        raise ValueError("--latents is about models of latents, and this one is none: leave it out")


def _tell_of_all(outcome: Outcome) -> None:
    """Write what tells about all samples."""
    folder, job = outcome.folder, outcome.folder.job
    if job.output == "folder":
        total = folder.evaluations()
        about = {
            **folder.about,
            "sampler": job.sampler.to_plain(),
            "batch_size": job.batch_size,
            "threads": job.threads,
            "device": job.device,
            "backend": job.facts["backend"],
            "seconds": round(outcome.seconds, 3),
            "nfe": {"per_sample_mean": total / len(job.seeds), "total": total},
        }
        write_listing(folder.path / LISTING, about, folder.entries())
        folder.forget_records()
    elif job.output == "subfolders":
        write_label_table(folder.path / LABELS, folder.labelled_files())


def run_job(
    prepare: Prepare,
    path: str | os.PathLike[str],
    *,
    processes: int | None = None,
    overwrite: bool = False,
    callbacks: Callbacks | None = None,
) -> Outcome | None:
    """Draw the samples of a job that are not there yet.

    The same job can be begun, stopped (by the first SIGINT or SIGTERM, or by a kill) and gone on with in any number
    of processes, as long as the folder is the same: the files are the same to the bit. Where a launcher has started
    the processes, all of them call this.

    Args:
        prepare: makes the task; called once in every process, with the number of the process on its machine if there
            are several, else with None. With more than one process it has to be importable by the others.
        path: folder of the job. It gets ``job.json``, ``log.txt``, ``records/`` and the samples; see
            :class:`.JobFolder` and :mod:`.outputs`.
        processes: how many to start on this machine; None starts what is worthwhile, see
            :func:`.processes_worthwhile`. Not where a launcher has started some.
        overwrite: forget what is in the folder.
        callbacks: who is told how it goes.

    Returns:
        How it ended; None in a process that is not the first.

    Raises:
        ValueError: the folder holds something else, a sample is not finite, ``prepare`` refuses; or the processes do
            not have all the same job.
        OSError: something could not be written. What was written before is intact, and the same call goes on.
    """
    board, task, folder = _ready(prepare, Path(path), processes, overwrite)
    callbacks = callbacks or Callbacks()
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt(echoes=board is not None))
        stack.enter_context(task.computing())
        if board is not None and board.rank > 0:
            board.from_main()
            work_launched(board, task, folder.path, lambda event: None, interrupt)
            return None
        stack.enter_context(held(folder.path))
        started = time.monotonic()
        monitor, count = _begin(board, task, folder, processes, overwrite, callbacks)
        shards, stopped = itertools.count(), None
        try:
            if board is not None:
                stopped = work_launched(board, task, folder.path, monitor, interrupt)
            elif count > 1:
                work_in_pool(prepare, folder.path, count, lambda: next(shards), monitor, interrupt.stop_if_asked)
            else:
                work(task, folder, lambda: next(shards), monitor, interrupt.stop_if_asked)
        except StoppedError as error:
            stopped = error.signal
        except (ValueError, OSError) as error:
            with contextlib.suppress(OSError):  # the disk may be full
                folder.log(f"failed: {error}")
            raise
        return _end(folder, monitor.drawn, time.monotonic() - started, stopped)


def _ready(
    prepare: Prepare, path: Path, processes: int | None, overwrite: bool
) -> tuple[NoticeBoard | None, Task, JobFolder]:
    """The task, and what else is known before anything is written; everything that can be wrong is found here."""
    if processes is not None and processes < 1:
        raise ValueError(f"--processes is {processes}, but must be at least 1, or auto")
    board = notice_board()
    board = None if board is None or board.count == 1 else board
    if board is not None and processes is not None:
        raise ValueError(f"a launcher started {board.count} processes: leave --processes out")
    several = board is not None or (processes or 1) > 1
    task = prepare(int(os.environ.get("LOCAL_RANK", "0")) if several else None)
    folder = task.folder(path)
    if (board is None or board.rank == 0) and not overwrite:
        folder.check()
    if board is not None:
        board.refuse_differences(task.job.identity())
        board.meet()  # nothing is written before all have found everything right
    return board, task, folder


def _begin(
    board: NoticeBoard | None,
    task: Task,
    folder: JobFolder,
    processes: int | None,
    overwrite: bool,
    callbacks: Callbacks,
) -> tuple[Monitor, int]:
    """Make the folder ready; who keeps count, and how many processes work."""
    total = len(task.job.seeds)
    for note in task.notes:
        callbacks.on_note(note)
    before = folder.begin(overwrite)
    if board is not None:
        board.from_main()
    elif processes is None:
        processes = processes_worthwhile(task, total - before)
    count = board.count if board is not None else min(processes or 1, task.job.shards)
    how = f"{'goes on' if before else 'begins'} in {count} process{'es' if count > 1 else ''}"
    folder.log(f"{how}: {before} of {total} samples are there; seeds {task.job.seeds}")
    if before:
        callbacks.on_note(f"going on: {before:,} of {total:,} samples are there")
    return Monitor(folder, before, callbacks), count


def _end(folder: JobFolder, drawn: int, seconds: float, stopped: str | None) -> Outcome:
    """Note how it ended."""
    done, total = folder.recorded(), len(folder.job.seeds)
    if stopped is None:
        folder.finish()
        folder.log(f"finished: {total} samples")
    else:
        folder.log(f"stopped by {stopped}: {done} of {total} samples are there")
    nfe = folder.evaluations() / total if stopped is None else float("nan")
    return Outcome(folder, done, drawn, seconds, stopped, nfe)


class Monitor:
    """Keeps count of a job, its log, and its listeners.

    Args:
        folder: of the job, for its log.
        before: samples of earlier sessions.
        callbacks: the listeners.

    Attributes:
        drawn: samples drawn in this session.
    """

    def __init__(self, folder: JobFolder, before: int, callbacks: Callbacks) -> None:
        self.drawn = 0
        self._folder, self._before, self._callbacks = folder, before, callbacks
        self.progress()

    def __call__(self, event: Event) -> None:
        """Something happened."""
        shard = f"shard {event.shard} ({event.samples} samples)"
        if event.kind == "samples":
            self.drawn += event.samples
            self.progress()
        elif event.kind == "written":
            self._folder.log(f"{shard} written: {event.text}")
        elif event.kind == "damaged":
            self._before -= event.samples
            self._folder.log(f"{shard} is drawn again: {event.text}")
            self._callbacks.on_note(f"shard {event.shard} is drawn again: {event.text}")

    def progress(self) -> None:
        """Tell how far the job is."""
        self._callbacks.on_progress(self._before + self.drawn, len(self._folder.job.seeds))
