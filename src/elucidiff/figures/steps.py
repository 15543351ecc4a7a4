"""Noise levels of samplers against the step index (Karras et al. 2022, Table 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, ScalarFormatter

from elucidiff.design.steps import Karras
from elucidiff.figures.base import FigurePart
from elucidiff.figures.style import GREY, PALETTE, new_figure, quiet
from elucidiff.parts import part
from elucidiff.sampling import table
from elucidiff.sampling.sampler import parse_choice


def draw(sigmas: Mapping[str, npt.NDArray[np.float64]]) -> Figure:
    """Two panels: the noise levels of each discretisation, and how large a factor each step removes.

    Args:
        sigmas: name -> decreasing noise levels ``(N + 1,)``, the last 0 (left out: it has no
            place on a log axis).

    Raises:
        ValueError: a discretisation has a single step, which leaves nothing to compare.
    """
    for name, values in sigmas.items():
        if int((values > 0).sum()) < 2:
            raise ValueError(f"a figure of {name} steps needs more than one of them: choose n of at least 2")
    figure = new_figure(9.0, 3.6)
    levels, factors = figure.subplots(1, 2)
    for colour, (name, values) in zip(PALETTE, sigmas.items(), strict=False):
        positive = values[values > 0]
        marker = "o" if len(positive) <= 40 else None
        levels.plot(np.arange(len(positive)), positive, marker=marker, markersize=3.5, color=colour, label=name)
        factors.plot(
            positive[:-1], positive[:-1] / positive[1:], marker=marker, markersize=3.5, color=colour, label=name
        )
    levels.set(xlabel="step $i$", ylabel=r"noise level $\sigma_i$ (units of the data)", yscale="log")
    levels.xaxis.set_major_locator(MaxNLocator(integer=True))
    levels.set_title("Noise level before each step (0 after the last)", fontsize=10, loc="left")
    factors.set(
        xlabel=r"noise level $\sigma_i$ (units of the data)",
        ylabel=r"$\sigma_i\;/\;\sigma_{i+1}$",
        xscale="log",
        yscale="log",
    )
    factors.invert_xaxis()
    factors.yaxis.set_major_locator(LogLocator(base=2))
    factors.yaxis.set_major_formatter(ScalarFormatter())
    factors.yaxis.set_minor_locator(NullLocator())
    factors.set_title("How much noise one step removes", fontsize=10, loc="left")
    for axes in (levels, factors):
        quiet(axes)
    if len(sigmas) > 1:
        levels.legend(frameon=False, fontsize=9, labelcolor=GREY)
    return figure


@part("figure", "steps")
@dataclass(frozen=True)
class StepsFigure(FigurePart):
    """Noise levels of samplers by step: the four columns of Table 1, or any others."""

    summary: ClassVar[str] = "where samplers spend their steps"
    alternative: ClassVar[str] = "Noise levels by step, and the factor that each step removes"

    n: int = 18
    """Number of steps, of those that do not say theirs."""
    steps: tuple[str, ...] = ()
    """Compare these instead of the columns of the table, such as karras:rho=3 karras:rho=7 log_uniform."""

    def draw(self) -> Figure:
        """Compute and draw."""
        if self.steps:
            levels = {text: parse_choice("steps", text, Karras(self.n)).within() for text in self.steps}
        else:
            titles = {"vp": "VP", "ve": "VE", "iddpm": "iDDPM + DDIM", "edm": "EDM"}
            levels = {titles[name]: design.steps(self.n) for name, design in table.NAMES.items()}
        return draw({name: sigmas.numpy() for name, sigmas in levels.items()})
