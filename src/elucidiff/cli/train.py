"""``elucidiff train PRESET``: train a denoiser on a data set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from elucidiff.cli.arguments import parse
from elucidiff.cli.images import write_picture
from elucidiff.cli.progress import Progress
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.figures.style import is_picture, mosaic
from elucidiff.sampling.sampler import Sampler, to_uint8
from elucidiff.training import Callbacks, TrainingConfig, TrainingResult, train
from elucidiff.training import Progress as Standing
from elucidiff.training.presets import PRESETS, preset


@dataclass(frozen=True)
class Options:
    """Train a denoiser. Every setting of the preset is a flag; what is not given keeps the preset's value."""

    config: Annotated[TrainingConfig, tyro.conf.arg(name="")]
    run_dir: Path | None = None
    """Run folder (runs/PRESET): config.yaml, metrics.jsonl, TensorBoard events, checkpoints/, model/, samples/."""
    resume: bool = False
    """Go on from the newest checkpoint in the run folder."""


def run(arguments: Sequence[str]) -> int:
    """Train; see ``Options``. Ctrl-C and SIGTERM save a checkpoint first, and exit with 130 and 0."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    config = TrainingConfig.load(name) if name.endswith((".yaml", ".yml")) else preset(name)
    options = parse(Options, rest, prog=f"elucidiff train {name}", default=Options(config))
    run_dir = options.run_dir or Path("runs") / Path(name).stem
    with Progress("training", options.config.duration_images, "images") as bar:
        result = train(options.config, run_dir, resume=options.resume, callbacks=Watch(bar))
    loss = "" if result.loss is None else f", loss {result.loss:.4f}"
    print(
        f"{result.images_seen:,} images in {result.seconds:,.0f} s{loss}; model in {run_dir / 'model'}",
        file=sys.stderr,
    )
    return stopped(result, "the same command with --resume goes on from here")


def stopped(result: TrainingResult, how_to_go_on: str) -> int:
    """The exit code after training: 0, also after SIGTERM, or 130 after Ctrl-C; says how to go on after either."""
    if result.interrupted is None:
        return 0
    print(f"stopped by {result.interrupted}, all work is saved; {how_to_go_on}", file=sys.stderr)
    return 130 if result.interrupted == "SIGINT" else 0


class Watch(Callbacks):
    """Shows how a run goes, and draws a preview at every checkpoint from always the same seeds.

    Args:
        bar: where progress is shown.
        samples: images in a preview.
    """

    def __init__(self, bar: Progress, samples: int = 40) -> None:
        self._bar, self._samples = bar, samples

    def on_progress(self, progress: Standing) -> None:
        """See :class:`Callbacks`."""
        loss = "" if progress.loss is None else f"loss {progress.loss:.4f}"
        self._bar.reach(progress.images_seen, loss, progress.fraction)

    def on_checkpoint(self, model: Denoiser, images_seen: int, run_dir: Path) -> None:
        """See :class:`Callbacks`. With classes, every column is one."""
        if not is_picture(model.sample_shape):
            return
        classes = model.label_dim
        labels = torch.arange(self._samples) % classes if classes else None
        x = Sampler().run(model, range(self._samples), labels).x
        columns = classes if 1 < classes <= self._samples else 8
        sheet = mosaic(np.asarray(to_uint8(x).cpu()), columns, zoom=2)
        write_picture(run_dir / "samples" / f"{images_seen:012d}.png", sheet)


def _usage() -> str:
    width = max(map(len, PRESETS))
    rows = "\n".join(f"  {name:<{width}}  {entry.result}" for name, entry in PRESETS.items())
    return (
        "usage: elucidiff train PRESET [--field value ...] [--run-dir DIR] [--resume]\n\n"
        f"presets (or the path of a config.yaml):\n{rows}\n\n"
        "--data PATH trains a preset on your own data: a folder, zip, array or imported set.\n"
        "`elucidiff train PRESET --help` lists every field."
    )
