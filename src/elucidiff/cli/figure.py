"""``elucidiff figure NAME``: one figure, as PNG and SVG; one that is measured leaves its numbers beside them."""

from __future__ import annotations

import dataclasses
import inspect
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import tyro
from matplotlib.figure import Figure

from elucidiff.cli import figure_results, figure_samples
from elucidiff.cli.common.dispatch import Actions
from elucidiff.cli.common.progress import Progress
from elucidiff.figures import ablation_bars, churn_heat_map, quality_against_nfe
from elucidiff.figures.measured import figures, redraw
from elucidiff.figures.numbers import read_numbers
from elucidiff.figures.style import save


class Drawn(Protocol):
    """Options of a figure that is drawn from what there is."""

    @property
    def out(self) -> Path: ...

    def draw(self) -> Figure: ...


@dataclass(frozen=True)
class Saved:
    """A figure once more, from the numbers that were kept when it was measured."""

    numbers: tyro.conf.Positional[Path]
    """The .npz file that `elucidiff figure` wrote."""
    out: Path = Path("figure.png")
    """File to write; an SVG goes beside it."""

    def draw(self) -> Figure:
        """Read and draw."""
        return redraw(read_numbers(self.numbers))


DRAWN: dict[str, type[Drawn]] = {
    "trajectory": figure_samples.Trajectory,
    "steps": figure_samples.Steps,
    "grid": figure_samples.Grid,
    quality_against_nfe.NAME: figure_results.QualityAgainstNfe,
    churn_heat_map.NAME: figure_results.ChurnHeatMap,
    ablation_bars.NAME: figure_results.AblationBars,
    "saved": Saved,
}
_SHOWN: dict[str, str] = {
    "trajectory": "samples on their way from noise",
    "steps": "where samplers spend their steps",
    "grid": "the images of a sample folder",
    quality_against_nfe.NAME: "curves from `elucidiff curve` (Figs. 2 and 4)",
    churn_heat_map.NAME: "settings of churn, from `elucidiff search` or a grid",
    ablation_bars.NAME: "bars from `elucidiff ablate`",
    "saved": "a figure once more, from the numbers it left",
}


def shown() -> dict[str, str]:
    """What each figure shows, in a few words; plugins' are among them."""
    return {**_SHOWN, **{name: each.summary for name, each in figures().items()}}


def run(arguments: Sequence[str]) -> int:
    """Draw one figure and name the files."""
    hint = "one of your own needs its module: --plugin MODULE"
    actions = Actions("elucidiff figure", "figure", shown(), hint=hint)
    name, rest = actions.choose(arguments)
    if name in DRAWN:
        options = actions.parse(DRAWN[name], name, rest)
        files = save(options.draw(), options.out)
    else:
        asked = actions.parse(_with_out(name), name, rest)
        kept = asked.figure.measure(shlex.join(["elucidiff", "figure", *arguments]), Progress)
        files = [*save(redraw(kept), asked.out), kept.save(asked.out.with_suffix(".npz"))]
    for path in files:
        print(path)
    return 0


def _with_out(name: str) -> type[Any]:
    """The options of a measured figure: its fields, and where to write it."""
    figure = figures()[name]
    out = Annotated[Path, tyro.conf.arg(help="File to write; an SVG and the numbers (.npz) go beside it.")]
    options = dataclasses.make_dataclass(
        "Options",
        [("figure", Annotated[figure, tyro.conf.arg(name="")]), ("out", out, Path(f"{name}.png"))],
        frozen=True,
    )
    options.__doc__ = inspect.getdoc(figure)
    return options
