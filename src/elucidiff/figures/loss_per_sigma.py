"""Loss against noise level, with the distribution that training draws from (after Karras et al. 2022, Fig. 5a)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from elucidiff.figures.numbers import Numbers
from elucidiff.figures.style import GREY, LINES, PALETTE, PURPLE, new_figure, quiet

NAME = "loss-per-sigma"


def draw(
    sigma: npt.NDArray[np.float64],
    loss: Mapping[str, npt.NDArray[np.float64]],
    density: npt.NDArray[np.float64],
    *,
    suggested: npt.NDArray[np.float64] | None = None,
    lowest: float | None = None,
) -> Figure:
    """Curves of the weighted loss, above the density of ln(sigma) in training.

    Args:
        sigma: noise levels, ``(K,)``, in units of the data.
        loss: name -> mean of lambda(sigma) |D(y + n; sigma) - y|^2 per pixel at each level, ``(K,)``.
        density: p_train as a density over ln(sigma), ``(K,)``.
        suggested: the same of another distribution, drawn as a line over it.
        lowest: where the axis of the loss ends; curves may leave the picture there. None: below all.
    """
    figure = new_figure(7.0, 4.2)
    curves, noise = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    for colour, line, (name, values) in zip(PALETTE, LINES, loss.items(), strict=False):
        curves.plot(sigma, values, color=colour, linestyle=line, label=name, linewidth=1.8)
    curves.set(xscale="log", yscale="log", ylabel=r"loss per pixel, $\lambda(\sigma)\,|D - y|^2$")
    curves.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    curves.yaxis.set_major_formatter(ScalarFormatter())
    curves.yaxis.set_minor_locator(NullLocator())
    if lowest is not None:
        curves.set_ylim(lowest, 1.5 * max(float(values.max()) for values in loss.values()))
    # Above the axes: there is no corner that curves of every data set leave free.
    curves.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=2)
    noise.fill_between(sigma, density, color=GREY, alpha=0.35, linewidth=0, label="as trained")
    if suggested is not None:
        noise.plot(sigma, suggested, color=PURPLE, linewidth=1.4, label="suggested")
        noise.legend(frameon=False, fontsize=8, loc="upper right")
    noise.set(xlabel=r"noise level $\sigma$ (units of the data)", ylabel=r"$p_{\mathrm{train}}$", yticks=[])
    noise.set_ylim(bottom=0)
    for axes in (curves, noise):
        quiet(axes)
    return figure


def numbers(
    sigma: npt.NDArray[np.float64],
    loss: Mapping[str, npt.NDArray[np.float64]],
    density: npt.NDArray[np.float64],
    command: str,
) -> Numbers:
    """The same as numbers to keep."""
    arrays = {"sigma": sigma, "density": density, **{f"loss/{name}": values for name, values in loss.items()}}
    return Numbers(NAME, command, {"curves": list(loss)}, arrays)


def redraw(kept: Numbers) -> Figure:
    """The figure from numbers that were kept."""
    loss = {name: kept.arrays[f"loss/{name}"] for name in kept.facts["curves"]}
    return draw(kept.arrays["sigma"], loss, kept.arrays["density"])
