"""``elucidiff train PRESET``: train a denoiser on a data set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from elucidiff import parts
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.progress import Progress
from elucidiff.cli.common.samples import write_sheet
from elucidiff.cli.common.verbs import listed
from elucidiff.data.standard_sets import NAMES
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design.steps import Karras
from elucidiff.launch.coordination import failing_once, is_main_process
from elucidiff.sampling.grid import makes_pictures, range_for
from elucidiff.sampling.sampler import Sampler
from elucidiff.training import Callbacks, TrainingConfig, TrainingResult, train
from elucidiff.training import Progress as Standing
from elucidiff.training.config import PARTS
from elucidiff.training.presets import PRESETS, preset


@dataclass(frozen=True)
class Options:
    """Train a denoiser. Every setting of the preset is a flag; what is not given keeps the preset's value. Parts can
    be exchanged whole: --network, --augment, --preconditioning, --objective and --lr-decay take NAME or
    NAME:SETTING=VALUE,... (`elucidiff parts network` lists them), and the flags below are then those of the part."""

    config: Annotated[TrainingConfig, tyro.conf.arg(name="")]
    sigma_data: float | None = None
    """Standard deviation of the data, in units of the noise levels, for preconditioning and objective."""
    p_mean: float | None = None
    """Mean of ln(sigma) in training: --objective.p-mean."""
    p_std: float | None = None
    """Standard deviation of ln(sigma) in training: --objective.p-std."""
    run_dir: Path | None = None
    """Run folder (runs/PRESET): config.yaml, metrics.jsonl, TensorBoard events, checkpoints/, model/, samples/."""
    resume: bool = False
    """Go on from the newest checkpoint in the run folder."""

    def settings(self) -> TrainingConfig:
        """All settings.

        Raises:
            ValueError: a flag is of no use beside the others, or its value is out of range.
        """
        given = {"sigma_data": self.sigma_data, "objective.p_mean": self.p_mean, "objective.p_std": self.p_std}
        return self.config.with_settings({name: value for name, value in given.items() if value is not None})


def run(arguments: Sequence[str]) -> int:
    """Train; see ``Options``. Ctrl-C and SIGTERM save a checkpoint first, and exit with 130 and 0.

    Started by torchrun or ``accelerate launch``, the processes train together, and the first alone tells about it;
    only of a mistake tells the one that finds it first.
    """
    try:
        with failing_once():
            return _run(arguments)
    except ConnectionAbortedError:
        return 2


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    config = TrainingConfig.load(name) if name.endswith((".yaml", ".yml")) else preset(name)
    config, rest = _with_parts(config, rest)
    options = parse(Options, rest, prog=f"elucidiff train {name}", default=Options(config))
    config = options.settings()
    _refuse_missing_data(name, config.data)
    run_dir = options.run_dir or Path("runs") / Path(name).stem
    if not is_main_process():
        return exit_code(train(config, run_dir, resume=options.resume))
    with Progress("training", config.duration_images, "images") as bar:
        result = train(config, run_dir, resume=options.resume, callbacks=Watch(bar))
    loss = "" if result.loss is None else f", loss {result.loss:.4f}"
    print(
        f"{result.images_seen:,} images in {result.seconds:,.0f} s{loss}; model in {run_dir / 'model'}",
        file=sys.stderr,
    )
    return stopped(result, "the same command with --resume goes on from here")


def _with_parts(config: TrainingConfig, arguments: Sequence[str]) -> tuple[TrainingConfig, list[str]]:
    """The settings with the parts that are spelled whole, and the arguments that are left.

    They come first wherever they stand: which other flags there are depends on them.
    """
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        flag, equals, text = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in PARTS:
            rest.append(argument)
            continue
        text = text if equals else next(waiting, "")
        if not text or text.startswith("--"):
            raise ValueError(f"{flag} needs a part, NAME or NAME:SETTING=VALUE,...")
        config = replace(config, **{name: parts.parse(PARTS[name], text)})
    return config, rest


def _refuse_missing_data(name: str, data: str) -> None:
    """Some of the paper's data sets have to be brought along."""
    if name in PRESETS and data == PRESETS[name].config.data and data not in NAMES and not Path(data).exists():
        raise FileNotFoundError(
            f"the data set of the preset {name} cannot be fetched: say where you have it with --data PATH, a folder "
            "or zip of images, an array, or a set from `elucidiff data import`"
        )


def stopped(result: TrainingResult, how_to_go_on: str) -> int:
    """The exit code after training, see :func:`exit_code`; says how to go on if a signal stopped it."""
    if result.interrupted is not None:
        print(f"stopped by {result.interrupted}, all work is saved; {how_to_go_on}", file=sys.stderr)
    return exit_code(result)


def exit_code(result: TrainingResult) -> int:
    """0, also after SIGTERM, or 130 after Ctrl-C."""
    return 130 if result.interrupted == "SIGINT" else 0


class Watch(Callbacks):
    """Shows how a run goes, and draws a preview at every checkpoint from always the same seeds.

    Args:
        bar: where progress is shown.
        samples: images in a preview.
    """

    def __init__(self, bar: Progress, samples: int = 40) -> None:
        self._bar, self._samples = bar, samples

    def on_note(self, text: str) -> None:
        """See :class:`Callbacks`."""
        self._bar.say(text)

    def on_progress(self, progress: Standing) -> None:
        """See :class:`Callbacks`."""
        loss = "" if progress.loss is None else f"loss {progress.loss:.4f}"
        self._bar.reach(progress.images_seen, loss, progress.fraction)

    def on_checkpoint(self, model: Denoiser, images_seen: int, run_dir: Path) -> None:
        """See :class:`Callbacks`. A preview that cannot be drawn or written is no reason to end a run."""
        try:
            self._preview(model, run_dir / "samples" / f"{images_seen:012d}.png")
        except Exception as error:
            self._bar.say(f"warning: there is no preview after {images_seen:,} images: {error}")

    def _preview(self, model: Denoiser, path: Path) -> None:
        """Every column is one of the classes that were trained, or a label from the data."""
        known = model.known_labels
        classes = len(known.trained) if known.kind == "classes" and known.dim else 0
        labels = None
        if classes:
            places = torch.tensor(list(known.trained))[torch.arange(self._samples) % classes]
            labels = torch.nn.functional.one_hot(places, known.dim).float()
        low, high = range_for(model.sigma_data)
        x = Sampler(Karras(sigma_min=low, sigma_max=high)).run(model, range(self._samples), labels).x
        columns = classes if 1 < classes <= self._samples else 8
        write_sheet(path, x, columns, pictures=makes_pictures(model))


def _usage() -> str:
    rows = listed({name: entry.result for name, entry in PRESETS.items()})
    return (
        "usage: elucidiff train PRESET [--field value ...] [--run-dir DIR] [--resume]\n\n"
        f"presets (or the path of a config.yaml):\n{rows}\n\n"
        "--data PATH trains a preset on your own data: a folder, zip, array or imported set.\n"
        "`elucidiff train PRESET --help` lists every field."
    )
