"""The noise levels of iDDPM (Nichol and Dhariwal 2021) as Karras et al. 2022 (Table 1 and App. C.3) rewrite them."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from elucidiff.design.values import check_positive

MOST_LEVELS = 100_000
"""Levels of a table, which is computed one after the other: a hundred times those of published networks."""


def noise_levels(
    m: int = 1000,
    c1: float = 0.001,
    c2: float = 0.008,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The table u_0 > u_1 > ... > u_M = 0 of noise levels, in units of the data.

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
    check(m, c1, c2)
    return _noise_levels(m, c1, c2, dtype, torch.device(device))


def check(m: int, c1: float, c2: float) -> None:
    """Raise ValueError where the table does not exist."""
    if not isinstance(m, int) or not 1 <= m <= MOST_LEVELS:
        raise ValueError(f"m is {m}: the iDDPM table needs at least one noise level, and at most {MOST_LEVELS}")
    if not 0 < c1 < 1:
        raise ValueError(f"c1 is {c1}: it must lie between 0 and 1")
    check_positive(c2=c2)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # the kept table may first be asked for while sampling and then serve training
def _noise_levels(m: int, c1: float, c2: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return _noise_levels(m, c1, c2, dtype, torch.device("cpu")).to(device)
    abar = (0.5 * math.pi * torch.arange(m + 1) / m / (c2 + 1)).sin().square()
    ratios = (abar[:-1] / abar[1:]).clip(min=c1)
    u = torch.zeros(m + 1, dtype=dtype)
    for j in range(m, 0, -1):
        u[j - 1] = ((u[j].square() + 1) / ratios[j - 1] - 1).sqrt()
    return u
