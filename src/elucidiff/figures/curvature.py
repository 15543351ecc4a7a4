"""Solutions of the ODE on a line, over the density of the noisy data (Karras et al. 2022, Fig. 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtr
from torch import Tensor

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design import schedules
from elucidiff.design.schedules import Schedule
from elucidiff.design.values import check_range
from elucidiff.figures.base import SILENT, MeasuredFigure, Numbers, ProgressBar
from elucidiff.figures.style import GREY, INK, VERMILION, new_figure, quiet
from elucidiff.parts import part
from elucidiff.sampling.ode import probability_flow

Array = npt.NDArray[np.float64]

_BISECTIONS = 64
_EXTENT = 3.0  # the box that turning is measured in: so many standard deviations to each side, where x is widest


@dataclass(frozen=True)
class Paths:
    """Solutions of the ODE for data that are a mixture of equal Gaussians on a line.

    Attributes:
        time: increasing, denser where noise levels are low, ``(T,)``.
        sigma: the noise level at each time, ``(T,)``.
        x: scaled positions of equally likely solutions, the lowest first, ``(P, T)``.
        turning: by how many degrees each solution turns on its way in all, if time is drawn as long as x is high,
            ``(P,)``. A straight line has 0, whatever its slope.
        extent: x is drawn from ``-extent`` to ``extent``: three times the largest standard deviation.
        even_time: times that are evenly spaced, ``(E,)``.
        heights: evenly spaced positions, ``(H,)``.
        density: p(x; t) at those, ``(H, E)``.
    """

    time: Array
    sigma: Array
    x: Array
    turning: Array
    extent: float
    even_time: Array
    heights: Array
    density: Array


def paths(
    schedule: Schedule,
    *,
    means: Sequence[float] = (-1.0, 1.0),
    std: float = 0.0,
    sigma_min: float = 0.002,
    sigma_max: float = 25.0,
    count: int = 16,
    resolution: int = 400,
) -> Paths:
    """Follow the ODE of a schedule (Karras et al. 2022, Eq. 4) exactly.

    On a line no two solutions cross, so each keeps its quantile: the share of the samples below it is the same at all
    times. At noise level sigma that share is mean_k Phi((z - mu_k) / sqrt(std^2 + sigma^2)), which is solved for
    z = x / s by bisection. Slopes are those of the ODE itself, with the exact denoiser.

    Args:
        schedule: sigma(t) and s(t).
        means: of the Gaussians.
        std: of each; 0 for data that are these points alone.
        sigma_min: lowest noise level, in units of the data.
        sigma_max: highest noise level.
        count: number of solutions.
        resolution: number of evenly spaced times, and of as many more at evenly spaced ln(sigma).

    Raises:
        ValueError: a range is upside down, or the schedule does not reach it.
    """
    check_range(sigma_min, sigma_max)
    first, last = (float(schedule.time(sigma)) for sigma in (sigma_min, sigma_max))
    if not math.isfinite(first) or not math.isfinite(last) or not first < last:
        raise ValueError(f"{type(schedule).__name__} does not reach noise levels from {sigma_min} to {sigma_max}")
    even = torch.linspace(first, last, resolution, dtype=torch.float64)
    levels = torch.logspace(math.log10(sigma_min), math.log10(sigma_max), resolution, dtype=torch.float64)
    time = torch.from_numpy(np.union1d(even.numpy(), schedule.time(levels).clamp(first, last).numpy()))
    shares = (np.arange(count) + 0.5) / count
    z = torch.from_numpy(_quantiles(shares, np.asarray(means, dtype=np.float64), std, schedule.sigma(time).numpy()))
    x = schedule.scale(time) * z

    points = torch.tensor(means, dtype=torch.float64)[:, None, None]
    denoiser = GaussianMixture(points, torch.full_like(points, std**2), torch.ones(len(points)))
    widths = schedule.scale(time) * (denoiser.covariance.squeeze() + schedule.sigma(time).square()).sqrt()
    extent = _EXTENT * float(widths.max())
    slope = _slopes(denoiser, schedule, x, time) * (last - first) / (2 * extent)
    turning = slope.atan().diff(dim=1).abs().sum(1).rad2deg()

    heights = torch.linspace(-extent, extent, resolution, dtype=torch.float64)
    columns = [
        (denoiser.log_prob(heights[:, None, None] / scale, sigma) - scale.log()).exp()
        for sigma, scale in zip(schedule.sigma(even), schedule.scale(even), strict=True)
    ]
    return Paths(
        time=time.numpy(),
        sigma=schedule.sigma(time).numpy(),
        x=x.numpy(),
        turning=turning.numpy(),
        extent=extent,
        even_time=even.numpy(),
        heights=heights.numpy(),
        density=torch.stack(columns, dim=1).numpy(),
    )


def _slopes(denoiser: GaussianMixture, schedule: Schedule, x: Tensor, time: Tensor) -> Tensor:
    """dx/dt at the points ``(P, T)`` of all solutions."""
    states, times = x.reshape(-1, 1, 1), time.repeat(len(x))
    ode = probability_flow(denoiser, schedule, states, None, None)
    return ode.velocity(states, times, ode.denoise(states, times)).reshape(x.shape)


def _quantiles(shares: Array, means: Array, std: float, sigma: Array) -> Array:
    """The z ``(P, T)`` below which there are these shares ``(P,)`` of the samples at each noise level ``(T,)``."""
    width = np.sqrt(std**2 + sigma**2)
    reach = 10 * width + np.abs(means).max()
    low, high = np.tile(-reach, (len(shares), 1)), np.tile(reach, (len(shares), 1))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        below = ndtr((middle[..., None] - means) / width[:, None]).mean(-1) < shares[:, None]
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2)


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
