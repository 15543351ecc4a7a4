"""DDPM (Ho et al. 2020) and DDIM (Song et al. 2020) as the libraries of discrete-time models run them.

They walk over x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps at some of the times that a network was trained for. Where
x_0 is clipped they go on with the epsilon that belongs to the clipped x_0, as a solver of ours on the clipped D does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from elucidiff.interop.home_sampling import Draw

Predict = Callable[[Tensor, int], tuple[Tensor, Tensor]]
Variance = Callable[[int, Tensor], float | Tensor]


def linear_betas(count: int) -> Tensor:
    """1e-4 to 0.02 for a thousand times (Ho et al. 2020), and as much noise for another number of them."""
    scale = 1000 / count
    return torch.linspace(1e-4 * scale, 0.02 * scale, count, dtype=torch.float64)


def alpha_bars_of(betas: Tensor) -> Tensor:
    """The products of 1 - beta."""
    return (1 - betas).cumprod(0)


def betas_of(bar: Callable[[Tensor], Tensor], count: int, *, most: float = 0.999) -> Tensor:
    """beta_j = 1 - bar((j + 1) / M) / bar(j / M), at most ``most``, float64 (M,)."""
    times = torch.arange(count + 1, dtype=torch.float64) / count
    bars = bar(times)
    return (1 - bars[1:] / bars[:-1]).clamp(0.0, most)


def cosine_bar(t: Tensor, s: float = 0.008) -> Tensor:
    """cos(pi / 2 (t + s) / (1 + s))^2 (Nichol and Dhariwal 2021, Eq. 17)."""
    return torch.cos((t + s) / (1 + s) * math.pi / 2).square()


def sigmoid_bar(t: Tensor, start: float = -3.0, end: float = 3.0, tau: float = 1.0) -> Tensor:
    """A sigmoid of t between ``start`` and ``end``, stretched to go from 1 to 0 (Jabri et al. 2022)."""
    low, high = (torch.sigmoid(torch.tensor(value / tau, dtype=t.dtype)) for value in (start, end))
    return (high - torch.sigmoid((t * (end - start) + start) / tau)) / (high - low)


def ddim(predict: Predict, x: Tensor, bars: Tensor, eta: float, draw: Draw | None) -> Tensor:
    """DDIM over the visited times (Song et al. 2020, Eq. 12), down to abar 1.

    Args:
        predict: x_0 as it is to be used, clipped or not, for x_t at a visited time, by its number; the second part of
            its answer is not used.
        x: x_t at the first time.
        bars: abar at the visited times, rising, float64 (N,).
        eta: 0 for the deterministic one, 1 for DDPM's variance.
        draw: the noise of each step; needed for eta > 0.
    """
    for index, (bar, following) in enumerate(_pairs(bars)):
        x0, _ = predict(x, index)
        epsilon = (x - math.sqrt(bar) * x0) / math.sqrt(1 - bar)
        std = eta * math.sqrt((1 - following) / (1 - bar) * (1 - bar / following))
        x = math.sqrt(following) * x0 + math.sqrt(max(1 - following - std**2, 0.0)) * epsilon
        if std > 0 and draw is not None:
            x = x + std * draw(index)
    return x


def ancestral(predict: Predict, x: Tensor, bars: Tensor, variance: Variance, draw: Draw) -> Tensor:
    """DDPM over the visited times (Ho et al. 2020, Algorithm 2), without noise at the last.

    Args:
        predict: x_0 as it is to be used, and what the network learned of the variance.
        x: x_t at the first time.
        bars: abar at the visited times, rising, float64 (N,).
        variance: of a step, by its number and what the network learned.
        draw: the noise of each step.
    """
    for index, (bar, following) in enumerate(_pairs(bars)):
        x0, learned = predict(x, index)
        beta = 1 - bar / following
        mean = beta * math.sqrt(following) / (1 - bar) * x0 + (1 - following) * math.sqrt(1 - beta) / (1 - bar) * x
        if index == len(bars) - 1:
            return mean
        x = mean + torch.as_tensor(variance(index, learned)).sqrt().to(x) * draw(index)
    return x


def large_variance(bars: Tensor) -> Variance:
    """beta of the chain of visited times."""
    pairs = _pairs(bars)
    return lambda index, _: 1 - pairs[index][0] / pairs[index][1]


def small_variance(bars: Tensor) -> Variance:
    """The posterior variance beta (1 - abar_next) / (1 - abar)."""
    pairs = _pairs(bars)
    return lambda index, _: (1 - pairs[index][0] / pairs[index][1]) * (1 - pairs[index][1]) / (1 - pairs[index][0])


def learned_variance(bars: Tensor) -> Variance:
    """Between the two above in log space, as the network says in [-1, 1] (Nichol and Dhariwal 2021, Eq. 15)."""
    large, small = large_variance(bars), small_variance(bars)

    def between(index: int, learned: Tensor) -> Tensor:
        share = (learned + 1) / 2
        return (share * math.log(large(index, learned)) + (1 - share) * math.log(small(index, learned))).exp()

    return between


def _pairs(bars: Tensor) -> list[tuple[float, float]]:
    """abar at each visited time, and at the next, which is 1 after the last."""
    listed: list[float] = bars.tolist()
    return list(zip(listed, [*listed[1:], 1.0], strict=True))
