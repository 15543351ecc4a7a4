"""Samples of a model into a folder, from one call: what ``elucidiff sample`` does."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import elucidiff
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.devices import choose_device
from elucidiff.launch.coordination import notice_board
from elucidiff.launch.cores import physical_cores
from elucidiff.launch.own_device import own_device
from elucidiff.sampling.jobs.backend import Asked, BackendSetting
from elucidiff.sampling.jobs.batch_size import fastest_batch_size, shard_size_for
from elucidiff.sampling.jobs.folder import job_begun_in
from elucidiff.sampling.jobs.job import Job
from elucidiff.sampling.jobs.listing import write_label_table, write_listing
from elucidiff.sampling.jobs.running import Callbacks, Outcome, run_job
from elucidiff.sampling.jobs.worker import Task
from elucidiff.sampling.label_choice import labels_or_uniform
from elucidiff.sampling.ranges import range_advice
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import SeedRanges, seed_ranges
from elucidiff.sampling.units import makes_pictures, units

_ANY = 16


def draw_samples(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    seeds: str | Sequence[int] = "0-63",
    *,
    sampler: Sampler | str | None = None,
    labels: str | Tensor | Sequence[Any] | None = None,
    any_class: bool = False,
    guide: str | os.PathLike[str] | None = None,
    output: str = "folder",
    shard_size: int | None = None,
    processes: int | None = 1,
    threads: int = 1,
    batch_size: int | Literal["auto"] = 16,
    device: str = "auto",
    backend: Asked = "auto",
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
        model: a model folder.
        out: the folder to write to; see :class:`.JobFolder`.
        seeds: one sample each, a text such as "0-63,70" or numbers.
        sampler: how to draw, an object or a text (the paper's).
        labels: names, numbers or rows, taken in turn; None lets each seed draw its own, "uniform" all equally often.
        any_class: take classes that the training data did not have.
        guide: folder of the worse model of autoguidance.
        output: one of :data:`.OUTPUTS`.
        shard_size: samples in a shard; not for "folder".
        processes: how many to start; None for what is worthwhile. Those import the program that calls this, so its
            beginning has to be under ``if __name__ == "__main__"``.
        threads: of each process on a CPU.
        batch_size: samples in one call of the network; "auto" measures for some seconds which is fastest.
        device: where to compute.
        backend: what computes the network; see :func:`.with_backend`.
        overwrite: forget what is in the folder.
        callbacks: who is told how it goes.

    Returns:
        How it ended; None in a process that is not the first of those that a launcher started.

    Raises:
        ValueError: something of what was asked for is wrong or does not fit the rest, or the folder holds other work.
        OSError: something cannot be read or written.
    """
    choices = Sampler() if sampler is None else Sampler.parse(sampler) if isinstance(sampler, str) else sampler
    order = Order(
        Path(model), Path(out), seed_ranges(seeds), choices, labels, any_class,
        None if guide is None else Path(guide), output, shard_size, threads, device, backend, overwrite,
    )  # fmt: skip
    callbacks = callbacks or Callbacks()
    with tempfile.TemporaryDirectory(prefix="elucidiff-") as scratch:
        # Measured with the backend eager: another may take minutes for every size that is tried.
        trial = functools.partial(order.task, BackendSetting(Path(scratch), "eager"))
        size = batch_size_for(order, batch_size, processes, trial, callbacks)
        setting = BackendSetting(Path(scratch), note=callbacks.on_note)
        prepare = functools.partial(order.task, setting, size)
        outcome = run_job(prepare, order.out, processes=processes, overwrite=overwrite, callbacks=callbacks)
    if outcome is not None and outcome.interrupted is None:
        callbacks.on_drawn(outcome)
        _tell_of_all(outcome)
    return outcome


@dataclass(frozen=True)
class Order:
    """What is to be drawn, as it was asked for; see :func:`draw_samples`. Every process makes its task of it."""

    model: Path
    out: Path
    seeds: SeedRanges
    sampler: Sampler
    labels: str | Tensor | Sequence[Any] | None
    any_class: bool
    guide: Path | None
    output: str
    shard_size: int | None
    threads: int
    device: str
    backend: Asked
    overwrite: bool

    def task(self, setting: BackendSetting, batch_size: int, index: int | None) -> Task:
        """What one process has to do; everything is checked here, before anything is written.

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
        opening = elucidiff.interop.opening  # by its public name: formats are above sampling
        denoiser = elucidiff.load(self.model, device)
        guide = None if self.guide is None else opening.load_guide(self.guide, self.model, device)
        # Refuses guidance that the models are not made for, and a range that they do not know.
        sigmas = self.sampler.sigmas(self.sampler.guided(denoiser, guide))
        models = {"model": self.model, "guide": self.guide}
        shard_size = self.shard_size
        if shard_size is None:
            shard_size = shard_size_for(self.output, len(self.seeds), batch_size)
        job = Job(
            self.sampler,
            self.seeds,
            self._labels(denoiser),
            batch_size=batch_size,
            threads=self.threads,
            device=device.type,
            pictures=makes_pictures(denoiser),
            output=self.output,
            shard_size=shard_size,
            facts={name: opening.checksum(path) for name, path in models.items() if path is not None},
        )
        about: dict[str, Any] = {
            "elucidiff": elucidiff.__version__,
            "torch": torch.__version__,
            **{name: str(path) for name, path in models.items() if path is not None},
            "sigmas": sigmas.tolist(),
        }
        if not job.pictures:
            about["values"] = f"float32 .npy array of shape {denoiser.sample_shape}, {units(denoiser)}"
        advice = range_advice(self.sampler.sigmas(denoiser), denoiser)
        task = Task(job, denoiser, device, about, notes=(f"warning: {advice}",) if advice else (), guide=guide)
        return setting.apply(self.backend, task, self.out, overwrite=self.overwrite)

    def _labels(self, denoiser: Denoiser) -> Tensor | Literal["uniform"] | None:
        labels, seeds = labels_or_uniform(self.labels, denoiser, any_class=self.any_class), len(self.seeds)
        if isinstance(labels, Tensor) and str(self.labels).endswith(".npy") and seeds % len(labels):
            raise ValueError(
                f"--labels {self.labels} holds {len(labels)} labels for {seeds} seeds: give one a seed, or a number "
                "that divides them, to be taken in turn"
            )
        return labels


def batch_size_for(
    order: Order,
    asked: int | Literal["auto"],
    processes: int | None,
    prepare: Callable[[int, int | None], Task],
    callbacks: Callbacks,
) -> int:
    """The batch size of a job: the number that was asked for or, under auto, what is fastest.

    A job that was begun keeps its own. For a new one the first process measures, and the others wait for its word,
    since samples depend on the batch size in their last bits.

    Args:
        order: what is to be drawn.
        asked: a number, or "auto".
        processes: how many will be started on this machine; None if that is not settled.
        prepare: the task for a batch size, and for the number of a process on its machine or None.
        callbacks: are told what was found.

    Raises:
        ValueError: something of what was asked for is wrong, or the folder holds something else.
        OSError: something cannot be read.
    """
    if asked != "auto":
        return asked
    board = notice_board()
    if board is not None and board.rank > 0:
        return int(board.from_main())
    begun = None if order.overwrite else job_begun_in(order.out)
    size = (begun or {}).get("batch_size")
    if not isinstance(size, int):
        count = processes if board is None else board.count
        task = prepare(_ANY, None if (count or 1) == 1 else int(os.environ.get("LOCAL_RANK", "0")))
        if not order.overwrite:
            task.folder(order.out).check()
        cores = physical_cores() if task.device.type == "cpu" else 1
        found = fastest_batch_size(task, count or cores)
        callbacks.on_note(str(found))
        size = found.size
    if board is not None:
        board.from_main(str(size))
    return size


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
        write_listing(folder, about)
    elif job.output == "subfolders":
        write_label_table(folder)
