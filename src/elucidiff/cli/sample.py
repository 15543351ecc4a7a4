"""``elucidiff sample MODEL``: draw samples from a trained model, every design choice a flag."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.progress import Progress, code_after
from elucidiff.cli.common.samples import write_sheet
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.data.npy import read_npy
from elucidiff.launch.coordination import failing_once, is_main_process
from elucidiff.sampling.jobs import Callbacks, Job, Outcome, draw_samples
from elucidiff.sampling.jobs.outputs import file_name


@dataclass(frozen=True)
class Options:
    """Draw samples from a trained model: a few into a folder, or millions into shards, in one process or many.

    What was begun and stopped or killed goes on with the same command.

    Examples::

        elucidiff sample runs/demo/model --seeds 0-63 --grid
        elucidiff sample runs/demo/model --labels 3 --table vp --n 256 --solver heun
    """

    HELP_TITLE: ClassVar[str] = "what to draw"

    model: tyro.conf.Positional[Path]
    """A model folder, a model of another library, or your own code, package.module:function."""
    seeds: str | None = None
    """Seeds, one sample each, such as 0-63,70 (0-63; with --condition as many as these take)."""
    labels: str | None = None
    """Classes, taken in turn, by number or name: 3, or 0-9, or cat,dog; or a label vector, 0.3,0.7
    (--labels=-0.3,0.7 if it begins with a minus), or a .npy of rows. Left out: each seed draws its own, classes as
    often as the training data had them (uniform: equally often)."""
    any_class: bool = False
    """Take --labels even if the training data had no image of that class."""
    condition: str | None = None
    """What to make samples for, of a model trained with --condition: a picture, a .npy of fields, or a folder or data
    set of them, taken in turn; of a model of downsample:4, grayscale or the like also whole pictures."""
    per_condition: int | None = None
    """Samples for each (1), in place of --seeds."""
    init: Path | None = None
    """A picture, or .npy in the model's units, to begin at; each seed makes a variation (SDEdit)."""
    strength: float | None = None
    """Share of the steps that are taken from --init on (0.5): the higher, the less is left of it."""
    out: Path = Path("samples")
    """Folder to write to. If the same job was begun there, it goes on."""
    overwrite: bool = False
    """Write into a folder that already holds samples."""
    format: Literal["folder", "subfolders", "zip", "tar"] = "folder"
    """A file a seed, and samples.json; or shards: sub-folders, zip archives (both with labels as for training), or
    WebDataset tars."""
    shard_size: int | None = None
    """Samples in a shard (about 1000)."""
    processes: str = "auto"
    """Processes to start on this machine. auto: a physical core each where that saves time, one on accelerators. With
    --device cuda each takes a GPU of its own."""
    threads: int = 1
    """Threads of each process on a CPU. More are faster if there are fewer batches than cores, but change a sample's
    last bits."""
    grid: bool = False
    """Also write grid.png, all samples in one image: a column for each of --labels or conditions, or about
    square. Signals are drawn as lines, volumes by their central slices."""
    batch_size: str = "16"
    """Samples in one call of the network, which changes their last bits. auto measures for some seconds which number
    is fastest here, says it, and keeps it for the whole job."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    backend: Literal["auto", "eager", "compile", "onnx"] = "auto"
    """What computes the network: PyTorch (eager), code that it compiles for minutes first, or ONNX Runtime, which
    takes seconds to begin and `pip install elucidiff[onnx]`. auto chooses by the amount of work, and says what. It
    changes a sample's last bits."""
    latents: bool = False
    """Of a model of latents: keep these, as .npy, instead of decoding them."""

    sampling: Annotated[SamplingChoices, tyro.conf.arg(name="")] = field(default_factory=SamplingChoices)


def run(arguments: Sequence[str]) -> int:
    """Draw the samples; see ``Options``. Ctrl-C and SIGTERM end it soon, with 130 and 0; the same command goes on.

    Started by torchrun or ``accelerate launch``, the processes share the work, and the first alone tells about it;
    only of a mistake tells the one that finds it first.
    """
    try:
        with failing_once():
            options = parse(Options, arguments, prog="elucidiff sample")
            if options.grid and options.format != "folder":
                raise ValueError(
                    f"--grid shows the files of --format folder: leave it out, or --format {options.format}"
                )
            with _Shown(options.grid) as shown:
                outcome = draw_samples(
                    options.model,
                    options.out,
                    options.seeds,
                    sampler=options.sampling.choice(options.model),
                    labels=options.labels,
                    any_class=options.any_class,
                    condition=options.condition,
                    per_condition=options.per_condition,
                    guide=options.sampling.guide,
                    init=options.init,
                    strength=options.strength,
                    output=options.format,
                    shard_size=options.shard_size,
                    processes=_number("processes", options.processes),
                    threads=options.threads,
                    batch_size=_number("batch-size", options.batch_size) or "auto",
                    device=options.device,
                    backend=options.backend,
                    latents=options.latents,
                    overwrite=options.overwrite,
                    callbacks=shown if is_main_process() else None,
                )
            return 0 if outcome is None else _tell(options, outcome)
    except ConnectionAbortedError:
        return 2


def _number(flag: str, text: str) -> int | None:
    """The number that was given; None for auto."""
    if text == "auto":
        return None
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"--{flag} is {text!r}, but must be a number, or auto") from None
    if number < 1:
        raise ValueError(f"--{flag} is {number}, but must be at least 1, or auto")
    return number


def _tell(options: Options, outcome: Outcome) -> int:
    """Say what there is, and return the exit code."""
    job = outcome.folder.job
    if outcome.interrupted:
        print(
            f"stopped by {outcome.interrupted}, {outcome.done:,} of {len(job.seeds):,} samples are in {options.out}; "
            f"the same command{' without --overwrite' if options.overwrite else ''} goes on from here",
            file=sys.stderr,
        )
        return code_after(outcome.interrupted)
    if outcome.drawn:
        how = f"{outcome.drawn / max(outcome.seconds, 1e-9):.1f} a second, {outcome.nfe:g} evaluations each"
    else:
        how = f"all were there, {outcome.nfe:g} evaluations each"
    print(f"{len(job.seeds)} samples in {options.out} ({how})")
    if not job.pictures:
        print(f"each a {outcome.folder.about['values']}")
    return 0


def _write_grid(out: Path, job: Job) -> None:
    """All samples in one image, from their files: some may have been drawn by others, or earlier."""
    files = [out / file_name(seed, job.suffix) for seed in job.seeds]
    if job.pictures:
        samples = torch.stack([_read_picture(file) for file in files])
    else:
        samples = torch.from_numpy(np.stack([read_npy(file, str(file)) for file in files]))
    asked = max(len(given) if isinstance(given, Tensor) else 0 for given in (job.labels, job.conditions))
    columns = asked if asked > 1 else max(1, round(len(files) ** 0.5))
    write_sheet(out / "grid.png", samples, columns)


def _read_picture(file: Path) -> Tensor:
    """(C, H, W), uint8."""
    with Image.open(file) as image:
        pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


class _Shown(Callbacks):
    """Shows how a job goes, from the first word about it on."""

    def __init__(self, grid: bool) -> None:
        self._grid = grid
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

    def on_drawn(self, outcome: Outcome) -> None:
        """See :class:`Callbacks`."""
        if self._grid:
            _write_grid(outcome.folder.path, outcome.folder.job)
