"""What ``elucidiff sample`` does with its options: check them, have the samples drawn, and tell what was done."""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import elucidiff
from elucidiff.cli.common.images import write_sheet
from elucidiff.cli.common.inputs import read_npy
from elucidiff.cli.common.labels import labels_or_uniform
from elucidiff.cli.common.progress import Progress
from elucidiff.cli.common.units import makes_pictures, range_advice, units
from elucidiff.cli.sample_backend import BackendSetting
from elucidiff.cli.sample_batch import batch_size_for
from elucidiff.data.scaling import to_unit
from elucidiff.devices import choose_device
from elucidiff.launch.coordination import is_main_process
from elucidiff.launch.own_device import own_device
from elucidiff.sampling.jobs import Callbacks, Job, Outcome, Task, run_job, shard_size_for
from elucidiff.sampling.jobs.listing import write_label_table, write_listing
from elucidiff.sampling.jobs.outputs import file_name
from elucidiff.sampling.seeds import parse_seeds

if TYPE_CHECKING:
    from elucidiff.cli.sample import Options
    from elucidiff.denoisers.preconditioned import Denoiser


def draw(options: Options) -> int:
    """Draw the samples, and return the exit code: 0, also after SIGTERM, or 130 after Ctrl-C.

    Raises:
        ValueError: something of what was asked for is wrong, or does not fit the rest.
        OSError: something cannot be read or written.
    """
    with _Watch() as watch, tempfile.TemporaryDirectory(prefix="elucidiff-") as scratch:
        processes = _processes(options.processes)
        # Measured with the backend eager: another may take minutes for every size that is tried.
        trial = functools.partial(task_for, options, BackendSetting(Path(scratch), "eager"))
        size = batch_size_for(options, processes, trial)
        outcome = run_job(
            functools.partial(task_for, options, BackendSetting(Path(scratch)), size),
            options.out,
            processes=processes,
            overwrite=options.overwrite,
            callbacks=watch if is_main_process() else None,
        )
    if outcome is None:
        return 0
    if outcome.interrupted:
        total = len(outcome.folder.job.seeds)
        print(
            f"stopped by {outcome.interrupted}, {outcome.done:,} of {total:,} samples are in {options.out}; "
            f"the same command{' without --overwrite' if options.overwrite else ''} goes on from here",
            file=sys.stderr,
        )
        return 130 if outcome.interrupted == "SIGINT" else 0
    _finish(options, outcome)
    return 0


def task_for(options: Options, setting: BackendSetting, batch_size: int, index: int | None) -> Task:
    """What one process has to do; everything is checked here, before anything is written.

    Args:
        options: what was asked for.
        setting: what the first process has settled.
        batch_size: samples in each call of the network.
        index: the number of the process on its machine; None if it is the only one.

    Raises:
        ValueError: something of what was asked for is wrong, or does not fit the rest.
        OSError: something cannot be read.
    """
    seeds = parse_seeds(options.seeds)
    sampler = options.sampler()
    device = choose_device(options.device) if index is None else own_device(options.device, index)
    loose = options.format == "folder"
    if loose and options.shard_size is not None:
        raise ValueError(
            "--shard-size would have no effect with --format folder: leave it out, or choose another format"
        )
    if options.grid and not loose:
        raise ValueError(f"--grid shows the files of --format folder: leave it out, or --format {options.format}")
    denoiser, guide = options.denoiser(device), options.guide_model(device)
    # Refuses guidance that the models are not made for, and a range that they do not know.
    sigmas = sampler.sigmas(sampler.guided(denoiser, guide)).tolist()
    if options.shard_size is None:
        shard_size = shard_size_for(options.format, len(seeds), batch_size)
    else:
        shard_size = options.shard_size
    job = Job(
        sampler,
        seeds,
        _labels(options, denoiser, len(seeds)),
        batch_size=batch_size,
        threads=options.threads,
        device=device.type,
        pictures=makes_pictures(denoiser),
        output=options.format,
        shard_size=shard_size,
        facts=options.facts(),
    )
    about: dict[str, Any] = {
        "elucidiff": elucidiff.__version__,
        "torch": torch.__version__,
        "model": str(options.model),
        **({} if guide is None else {"guide": str(options.sampling.guide)}),
        "sigmas": sigmas,
    }
    if not job.pictures:
        about["values"] = f"float32 .npy array of shape {denoiser.sample_shape}, {units(denoiser)}"
    advice = range_advice(sampler, denoiser)
    task = Task(job, denoiser, device, about, notes=(advice,) if advice else (), guide=guide)
    return setting.apply(options, task)


def _labels(options: Options, denoiser: Denoiser, seeds: int) -> Tensor | Literal["uniform"] | None:
    labels = labels_or_uniform(options.labels, denoiser, any_class=options.any_class)
    if isinstance(labels, Tensor) and str(options.labels).endswith(".npy") and seeds % len(labels):
        raise ValueError(
            f"--labels {options.labels} holds {len(labels)} labels for {seeds} seeds: give one a seed, or a number "
            "that divides them, to be taken in turn"
        )
    return labels


def _processes(asked: str) -> int | None:
    if asked == "auto":
        return None
    try:
        return int(asked)
    except ValueError:
        raise ValueError(f"--processes is {asked!r}, but must be a number, or auto") from None


def _finish(options: Options, outcome: Outcome) -> None:
    """Write what tells about all samples, and say what there is."""
    folder, job = outcome.folder, outcome.folder.job
    total = folder.evaluations()
    mean = total / len(job.seeds)
    if options.grid:
        _write_grid(options, job)
    if options.format == "folder":
        about = {
            **folder.about,
            "sampler": job.sampler.to_plain(),
            "batch_size": job.batch_size,
            "threads": job.threads,
            "device": job.device,
            "backend": job.facts["backend"],
            "seconds": round(outcome.seconds, 3),
            "nfe": {"per_sample_mean": mean, "total": total},
        }
        write_listing(folder, about)
    elif options.format == "subfolders":
        write_label_table(folder)
    if outcome.drawn:
        how = f"{outcome.drawn / max(outcome.seconds, 1e-9):.1f} a second, {mean:g} evaluations each"
    else:
        how = f"all were there, {mean:g} evaluations each"
    print(f"{len(job.seeds)} samples in {options.out} ({how})")
    if not job.pictures:
        print(f"each a {folder.about['values']}")


def _write_grid(options: Options, job: Job) -> None:
    """All samples in one image, from their files: some may have been drawn by others, or earlier."""
    files = [options.out / file_name(seed, job.suffix) for seed in job.seeds]
    if job.pictures:
        x = torch.stack([to_unit(_read_picture(file)) for file in files])
    else:
        x = torch.stack([torch.from_numpy(read_npy(file, str(file))) for file in files])
    asked = len(job.labels) if isinstance(job.labels, Tensor) else 0
    columns = asked if asked > 1 else max(1, round(len(files) ** 0.5))
    write_sheet(options.out / "grid.png", x, columns, pictures=job.pictures)


def _read_picture(file: Path) -> Tensor:
    """(C, H, W), uint8."""
    with Image.open(file) as image:
        pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


class _Watch(Callbacks):
    """Shows how a job goes, from the first word about it on."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def on_note(self, text: str) -> None:
        """See :class:`Callbacks`."""
        if self._bar is not None:
            self._bar.say(text)
        else:
            print(text, file=sys.stderr)

    def on_progress(self, done: int, total: int) -> None:
        """See :class:`Callbacks`."""
        if self._bar is None:
            self._bar = Progress("sampling", total, "images").__enter__()
        self._bar.reach(done)
