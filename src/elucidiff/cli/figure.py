"""``elucidiff figure NAME``: one figure, as PNG and SVG; one that is measured leaves its numbers beside them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import tyro
from matplotlib.figure import Figure

from elucidiff.cli import figure_measured, figure_results, figure_samples
from elucidiff.cli.common.arguments import listed, parse
from elucidiff.figures import (
    ablation_bars,
    churn_heat_map,
    curvature,
    loss_per_sigma,
    quality_against_nfe,
    repeated_churn,
    saved,
    step_errors,
    strips,
)
from elucidiff.figures.numbers import Numbers, read_numbers
from elucidiff.figures.style import save
from elucidiff.suggest import suggestion


class Drawn(Protocol):
    """Options of a figure that is drawn from what there is."""

    @property
    def out(self) -> Path: ...

    def draw(self) -> Figure: ...


class Measured(Protocol):
    """Options of a figure whose numbers have to be measured."""

    @property
    def out(self) -> Path: ...

    def measure(self, command: str) -> Numbers: ...


@dataclass(frozen=True)
class Saved:
    """A figure once more, from the numbers that were kept when it was measured."""

    numbers: tyro.conf.Positional[Path]
    """The .npz file that `elucidiff figure` wrote."""
    out: Path = Path("figure.png")
    """File to write; an SVG goes beside it."""

    def draw(self) -> Figure:
        """Read and draw."""
        return saved.redraw(read_numbers(self.numbers))


DRAWN: dict[str, type[Drawn]] = {
    "trajectory": figure_samples.Trajectory,
    "steps": figure_samples.Steps,
    "grid": figure_samples.Grid,
    quality_against_nfe.NAME: figure_results.QualityAgainstNfe,
    churn_heat_map.NAME: figure_results.ChurnHeatMap,
    ablation_bars.NAME: figure_results.AblationBars,
    "saved": Saved,
}
MEASURED: dict[str, type[Measured]] = {
    curvature.NAME: figure_measured.Curvature,
    strips.NAME: figure_measured.Strips,
    step_errors.NAME: figure_measured.StepErrors,
    loss_per_sigma.NAME: figure_measured.LossPerSigma,
    repeated_churn.NAME: figure_measured.RepeatedChurn,
}
FIGURES: dict[str, str] = {
    "trajectory": "samples on their way from noise",
    "steps": "where samplers spend their steps",
    "grid": "the images of a sample folder",
    "curvature": "how much the ODE of VP, VE and EDM bends (Fig. 3)",
    "strips": "noisy images, and what denoisers make of them (Fig. 1)",
    "step-errors": "the error of single steps, and the best rho (Fig. 13)",
    "loss-per-sigma": "the loss at each noise level, and where training looks (Fig. 5)",
    "repeated-churn": "what churn does to images in the long run (App. E.1)",
    "quality-against-nfe": "curves from `elucidiff curve` (Figs. 2 and 4)",
    "churn-heat-map": "settings of churn, from `elucidiff search` or a grid",
    "ablation-bars": "bars from `elucidiff ablate`",
    "saved": "a figure once more, from the numbers it left",
}
"""What each figure shows, in a few words."""


def run(arguments: Sequence[str]) -> int:
    """Draw one figure and name the files."""
    if not arguments or arguments[0] in ("-h", "--help"):
        usage = f"usage: elucidiff figure NAME [options]\n\n{listed(FIGURES)}"
        print(f"{usage}\n\n`elucidiff figure NAME --help` explains each.")
        return 0 if arguments else 2
    name = arguments[0]
    if name not in FIGURES:
        raise ValueError(f"unknown figure {name!r}; {suggestion(name, FIGURES)}")
    prog = f"elucidiff figure {name}"
    if name in DRAWN:
        options = parse(DRAWN[name], arguments[1:], prog=prog)
        files = save(options.draw(), options.out)
    else:
        asked = parse(MEASURED[name], arguments[1:], prog=prog)
        kept = asked.measure(shlex.join(["elucidiff", "figure", *arguments]))
        files = [*save(saved.redraw(kept), asked.out), kept.save(asked.out.with_suffix(".npz"))]
    for path in files:
        print(path)
    return 0
