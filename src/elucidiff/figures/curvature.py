"""Solutions of the ODE on a line, over the density of the noisy data (Karras et al. 2022, Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from elucidiff.design import schedules
from elucidiff.evaluation.curvature import Paths, paths
from elucidiff.figures.base import SILENT, MeasuredFigure, Numbers, ProgressBar
from elucidiff.figures.style import GREY, INK, VERMILION, new_figure, quiet
from elucidiff.parts import part

NAME = "curvature"
_ROWS = ("whole", "near")
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def draw(panels: Mapping[str, Sequence[Paths]]) -> Figure:
    """A column for each schedule, with the same solutions in two windows: all noise levels, and those near the data.

    Below each panel stands by how many degrees its solutions turn, on average, when the panel is drawn as a square.

    Args:
        panels: title -> the two windows.
    """
    figure = new_figure(3.0 * len(panels) + 0.6, 6.4)
    rows = figure.subplots(2, len(panels), squeeze=False)
    for column, (title, windows) in enumerate(panels.items()):
        for row, window in enumerate(windows):
            axes = rows[row][column]
            _panel(axes, window)
            if column == 0:
                what = "near the data" if row else "all noise levels"
                axes.set_ylabel(f"scaled position $x(t)$, {what}", fontsize=9)
        rows[0][column].set_title(title, fontsize=11, color=INK)
    figure.supxlabel("lines: solutions of the ODE; blue: density of the noisy data", fontsize=9, color=GREY)
    return figure


def numbers(panels: Mapping[str, Sequence[Paths]], command: str) -> Numbers:
    """The same as numbers to keep."""
    arrays = {
        f"{title}/{row}/{name}": np.asarray(values, dtype=np.float32 if name == "density" else np.float64)
        for title, windows in panels.items()
        for row, window in zip(_ROWS, windows, strict=True)
        for name, values in asdict(window).items()
    }
    turning = {title: [float(window.turning.mean()) for window in windows] for title, windows in panels.items()}
    return Numbers(NAME, command, {"titles": list(panels), "turning": turning}, arrays)


def _panel(axes: Axes, window: Paths) -> None:
    # Where the data are points, the density next to them may fall between the heights.
    highest = np.maximum(window.density.max(axis=0, keepdims=True), np.finfo(np.float32).tiny)
    shown = window.density / highest
    axes.pcolormesh(
        window.even_time, window.heights, shown, cmap="Blues", vmin=0, vmax=1.6, shading="nearest", rasterized=True
    )
    for path in window.x:
        axes.plot(window.time, path, color=VERMILION, linewidth=0.9)
    axes.set_xlim(window.time[0], window.time[-1])
    axes.set_ylim(-window.extent, window.extent)
    # Times of equal spacing, told by their noise levels: the schedules' times themselves have different units.
    times = window.time[0] + np.asarray(_TICKS) * (window.time[-1] - window.time[0])
    levels = np.interp(times, window.time, window.sigma)
    axes.set_xticks(times, [_short(float(level)) for level in levels])
    axes.set_xlabel(
        f"noise level $\\sigma(t)$ at evenly spaced $t$\nturns by {window.turning.mean():.0f}° on average",
        fontsize=9, color=INK,
    )  # fmt: skip
    quiet(axes)
    axes.grid(False)
    axes.tick_params(labelsize=8, colors=GREY)


def _short(sigma: float) -> str:
    return f"{sigma:.0f}" if sigma >= 9.5 else f"{sigma:.1f}" if sigma >= 0.05 else "0"


@part("figure", "curvature")
@dataclass(frozen=True)
class CurvatureFigure(MeasuredFigure):
    """Solutions of the ODE of VP, VE and EDM for data on a line, in closed form, and by how much they turn (Karras et
    al. 2022, Fig. 3)."""

    summary: ClassVar[str] = "how much the ODE of VP, VE and EDM bends (Fig. 3)"
    title: ClassVar[str] = "How much the ODE bends"
    alternative: ClassVar[str] = "Curves of the ODE over densities, for three schedules"

    means: tuple[float, ...] = (-1.0, 1.0)
    """The data: points, or the middles of Gaussians."""
    std: float = 0.0
    """Standard deviation of these Gaussians; 0 for points."""
    sigma_max: float = 25.0
    """Highest noise level of the upper row."""
    near: float = 1.0
    """Highest noise level of the lower row."""

    def measure(self, command: str, progress: ProgressBar = SILENT) -> Numbers:
        """Solve."""
        every = {"VP": schedules.VP(), "VE": schedules.VE(), "EDM": schedules.EDM()}
        panels = {
            name: [
                paths(schedule, means=self.means, std=self.std, sigma_max=top) for top in (self.sigma_max, self.near)
            ]
            for name, schedule in every.items()
        }
        return numbers(panels, command)

    @classmethod
    def redraw(cls, kept: Numbers) -> Figure:
        """The figure from numbers that were kept."""

        def paths(title: str, row: str) -> Paths:
            found: dict[str, Any] = {
                entry.name: kept.arrays[f"{title}/{row}/{entry.name}"] for entry in fields(Paths)
            }
            return Paths(**(found | {"extent": float(found["extent"])}))

        return draw({title: [paths(title, row) for row in _ROWS] for title in kept.facts["titles"]})

    @classmethod
    def explain(cls, kept: Numbers) -> str:
        """A paragraph for a report."""
        turns = ", ".join(f"{whole[0]:.0f}° with {name}" for name, whole in kept.facts["turning"].items())
        return f"""
            Solutions of the probability-flow ODE for data on a line, over the density of the noisy data (Karras et
            al. 2022, Fig. 3): a solver's steps are straight, so what bends is what they miss. Drawn as a square,
            the upper panels' solutions turn by {turns} on average.
            """
