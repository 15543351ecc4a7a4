"""Bends of the probability-flow ODE, in one dimension and in closed form (Karras et al. 2022, Fig. 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr
from torch import Tensor

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design.schedules import Schedule
from elucidiff.design.values import check_range
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
