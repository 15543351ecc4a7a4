"""Noise tables of discrete-time models: iDDPM's, and those that libraries make of a few settings.

The latter are float32 there, and networks were trained with those numbers. So they are made in float32 here too, and
everything that follows is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.design.values import check_positive

MOST_LEVELS = 100_000
"""Levels of a table, which is computed one after the other: a hundred times those of published networks."""


def iddpm_levels(
    m: int = 1000,
    c1: float = 0.001,
    c2: float = 0.008,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The iDDPM table u_0 > u_1 > ... > u_M = 0 of noise levels, in units of the data.

    u_(j-1) = sqrt((u_j^2 + 1) / max(abar_(j-1) / abar_j, c1) - 1) with abar_j = sin^2(pi/2 j / (M (c2 + 1))).

    abar is evaluated in float32 on the CPU whatever ``dtype`` is, and only the recursion runs in ``dtype``: this is
    how the tables of published networks and of the paper's experiments came about, and rounding abar differently
    moves the lowest levels by up to 5e-4 of their value. The table is computed once and kept; do not write into it.

    Args:
        m: number of levels M above 0.
        c1: lower bound of the ratio of neighbouring abar, which keeps u_0 finite.
        c2: offset of the cosine schedule.
        dtype: type of the recursion and of the result.
        device: where the result is wanted.

    Returns:
        The table, shape (m + 1,).

    Raises:
        ValueError: m outside 1..100,000, c1 outside (0, 1), or c2 not positive.
    """
    check_iddpm(m, c1, c2)
    return _iddpm_levels(m, c1, c2, dtype, torch.device(device))


def check_iddpm(m: int, c1: float, c2: float) -> None:
    """Raise ValueError where the table does not exist."""
    if not isinstance(m, int) or not 1 <= m <= MOST_LEVELS:
        raise ValueError(f"m is {m}: the iDDPM table needs at least one noise level, and at most {MOST_LEVELS}")
    if not 0 < c1 < 1:
        raise ValueError(f"c1 is {c1}: it must lie between 0 and 1")
    check_positive(c2=c2)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # the kept table may first be asked for while sampling and then serve training
def _iddpm_levels(m: int, c1: float, c2: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return _iddpm_levels(m, c1, c2, dtype, torch.device("cpu")).to(device)
    abar = (0.5 * math.pi * torch.arange(m + 1) / m / (c2 + 1)).sin().square()
    ratios = (abar[:-1] / abar[1:]).clip(min=c1)
    u = torch.zeros(m + 1, dtype=dtype)
    for j in range(m, 0, -1):
        u[j - 1] = ((u[j].square() + 1) / ratios[j - 1] - 1).sqrt()
    return u


Array = npt.NDArray[np.float64]
Betas = Literal["linear", "scaled_linear", "squaredcos_cap_v2", "exp", "sigmoid"]
Spacing = Literal["leading", "trailing", "linspace"]


def alpha_bars(
    schedule: str,
    start: float,
    end: float,
    count: int,
    trained: Sequence[float] | None = None,
    *,
    zero_terminal_snr: bool = False,
) -> Array:
    """The table of alpha-bars, (T,): cumulative products of 1 - beta.

    Args:
        schedule: ``linear``, ``scaled_linear`` (linear in sqrt(beta)), ``squaredcos_cap_v2`` (Nichol and Dhariwal
            2021, Eq. 17, with beta at most 0.999), ``exp`` (alpha-bar exp(-12 t)) or ``sigmoid``.
        start: first beta; not used by ``squaredcos_cap_v2`` and ``exp``.
        end: last beta.
        count: T.
        trained: betas in place of a schedule.
        zero_terminal_snr: shift and scale sqrt(alpha-bar) so that it ends at 0 (Lin et al. 2023, Algorithm 1).

    Raises:
        ValueError: an unknown schedule, or betas that make no noise table.
    """
    if not (0 <= start <= 1 and 0 <= end <= 1):
        raise ValueError(f"beta_start and beta_end are {start:g} and {end:g}, but must lie between 0 and 1")
    if trained is not None:
        betas = torch.tensor(list(trained), dtype=torch.float32)
    elif schedule == "linear":
        betas = torch.linspace(start, end, count, dtype=torch.float32)
    elif schedule == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, count, dtype=torch.float32).square()
    elif schedule == "squaredcos_cap_v2":
        betas = _betas_of(lambda t: math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2, count)
    elif schedule == "exp":
        betas = _betas_of(lambda t: math.exp(-12 * t), count)
    elif schedule == "sigmoid":
        betas = torch.sigmoid(torch.linspace(-6, 6, count)) * (end - start) + start
    else:
        raise ValueError(f"beta_schedule is {schedule!r}, but must be one of {', '.join(get_args(Betas))}")
    if not len(betas) or not bool(((betas > 0) & (betas < 1)).all()):
        raise ValueError("the betas must lie between 0 and 1")
    if zero_terminal_snr:
        root = torch.cumprod(1 - betas, 0).sqrt()
        first, last = root[0].clone(), root[-1].clone()
        bars = ((root - last) * (first / (first - last))).square()
        betas = 1 - torch.cat([bars[:1], bars[1:] / bars[:-1]])
    table: Array = torch.cumprod(1 - betas, 0).double().numpy()
    return table


def _betas_of(alpha_bar: Callable[[float], float], count: int) -> torch.Tensor:
    ratios = [1 - alpha_bar((i + 1) / count) / alpha_bar(i / count) for i in range(count)]
    return torch.tensor([min(beta, 0.999) for beta in ratios], dtype=torch.float32)


def sigmas_of(bars: Array) -> Array:
    """Noise levels of alpha-bars: sqrt((1 - abar) / abar), in float32."""
    single = bars.astype(np.float32)
    with np.errstate(divide="ignore"):
        sigmas: Array = np.sqrt((1 - single) / single).astype(np.float64)
    return sigmas


def spaced_times(spacing: Spacing, last: int, total: int, steps: int, offset: int, extra: int = 0) -> Array:
    """Times to visit, decreasing, (steps,).

    Args:
        spacing: ``trailing`` starts at last - 1; ``leading`` ends at ``offset``; ``linspace`` starts at last - 1 and
            ends at 0, in fractions of a time.
        last: one more than the highest time.
        total: number of times T of the table, by which ``trailing`` spaces.
        steps: N.
        offset: added to ``leading`` times.
        extra: points that are made beyond N, and left out at the end, by ``leading`` and ``linspace``.
    """
    points = steps + extra
    if spacing == "linspace":
        times: Array = np.linspace(0.0, last - 1.0, points)[::-1]
    elif spacing == "leading":
        times = np.arange(points, dtype=np.float64)[::-1] * (last // points) + offset
    else:
        times = np.arange(float(last), 0.0, -total / steps, dtype=np.float64).round() - 1.0
    # Rounding may make one more, which would stand before the first time of the table.
    return np.ascontiguousarray(times[:steps], dtype=np.float64)
