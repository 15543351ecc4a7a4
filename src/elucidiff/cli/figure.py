"""``elucidiff figure NAME``: one figure, as PNG and SVG; one that is measured leaves its numbers beside them."""

from __future__ import annotations

import dataclasses
import inspect
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import tyro
from matplotlib.figure import Figure

import elucidiff
from elucidiff.cli.common.progress import Progress
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.cli.common.verbs import Actions
from elucidiff.denoisers.opening import load_guide
from elucidiff.figures import trajectory
from elucidiff.figures.base import MeasuredFigure, figures, read_numbers, redraw
from elucidiff.figures.style import save
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import parse_seeds


@dataclass(frozen=True)
class Trajectory:
    """Samples on their way from noise: the state x above D(x; sigma).

    Examples::

        elucidiff figure trajectory runs/demo/model --seeds 0-3 --n 18 --out trajectory.png
    """

    model: tyro.conf.Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    seeds: str = "0-2"
    """Seeds, one pair of rows each."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    out: Path = Path("trajectory.png")
    """File to write; an SVG goes beside it."""

    sampling: Annotated[SamplingChoices, tyro.conf.arg(name="")] = field(default_factory=SamplingChoices)

    def draw(self) -> Figure:
        """Sample and draw."""
        chosen, guide = self.sampling.choice(self.model), self.sampling.guide
        seeds = parse_seeds(self.seeds)
        denoiser = elucidiff.load(self.model, self.device)
        guided_by = None if guide is None else load_guide(guide, self.model, denoiser.device)
        return trajectory.draw_run(denoiser, Sampler.chosen(chosen, denoiser), seeds, guided_by)


class Drawn(Protocol):
    """Options of a figure that is no part."""

    @property
    def out(self) -> Path: ...

    def draw(self) -> Figure: ...


@dataclass(frozen=True)
class Saved:
    """A figure once more, from the numbers that were kept when it was measured.

    Examples::

        elucidiff figure saved runs/demo/figures/loss-per-sigma.npz --out again.png
    """

    numbers: tyro.conf.Positional[Path]
    """The .npz file that `elucidiff figure` wrote."""
    out: Path = Path("figure.png")
    """File to write; an SVG goes beside it."""

    def draw(self) -> Figure:
        """Read and draw."""
        return redraw(read_numbers(self.numbers))


# A trajectory has the flags of sampling, which a part cannot have.
_OTHERS: dict[str, tuple[type[Drawn], str]] = {
    "trajectory": (Trajectory, "samples on their way from noise"),
    "saved": (Saved, "a figure once more, from the numbers it left"),
}


def shown() -> dict[str, str]:
    """The contents of each figure, in a few words; plugins' are among them."""
    others = {name: what for name, (_, what) in _OTHERS.items()}
    return {**others, **{name: each.summary for name, each in figures().items()}}


_FOOTER = """\
Examples:
  elucidiff figure trajectory runs/demo/model --seeds 0-3
  elucidiff figure loss-per-sigma runs/demo/model --out loss-per-sigma.png

`elucidiff figure FIGURE --help` explains each."""


def run(arguments: Sequence[str]) -> int:
    """Draw one figure and name the files."""
    hint = "one of your own needs its module: --plugin MODULE"
    actions = Actions("elucidiff figure", "figure", shown(), footer=_FOOTER, hint=hint)
    name, rest = actions.choose(arguments)
    if name in _OTHERS:
        options = actions.parse(_OTHERS[name][0], name, rest)
        files = save(options.draw(), options.out)
    else:
        asked = actions.parse(_with_out(name), name, rest)
        if isinstance(asked.figure, MeasuredFigure):
            kept = asked.figure.measure(shlex.join(["elucidiff", "figure", *arguments]), Progress)
            files = [*save(redraw(kept), asked.out), kept.save(asked.out.with_suffix(".npz"))]
        else:
            files = [*save(asked.figure.draw(), asked.out)]
    for path in files:
        print(path)
    return 0


def pages() -> dict[str, type[Any]]:
    """The options of each figure."""
    return {name: _OTHERS[name][0] if name in _OTHERS else _with_out(name) for name in shown()}


def _with_out(name: str) -> type[Any]:
    """The options of a figure: its fields, and where to write it."""
    figure = figures()[name]
    beside = "an SVG and the numbers (.npz) go" if issubclass(figure, MeasuredFigure) else "an SVG goes"
    out = Annotated[Path, tyro.conf.arg(help=f"File to write; {beside} beside it.")]
    options = dataclasses.make_dataclass(
        "Options",
        [("figure", Annotated[figure, tyro.conf.arg(name="")]), ("out", out, Path(f"{name}.png"))],
        frozen=True,
    )
    options.__doc__ = inspect.getdoc(figure)
    return options
