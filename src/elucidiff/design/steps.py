"""Time-step discretizations: sigma_0 > ... > sigma_(N-1), followed by sigma_N = 0 (Karras et al. 2022, Table 1).

Every function returns noise levels in float64 on the CPU, shape (N + 1,), the last of them 0. Turn them into the
solver's time with ``schedule.time(sigmas)``. A single step is one from sigma_max to 0. All raise ValueError for fewer
than one step or a range that is not 0 < sigma_min < sigma_max < infinity, and TypeError for what are no numbers.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from elucidiff.design import iddpm as iddpm_table
from elucidiff.design import schedules
from elucidiff.design.values import check_integer, check_positive, check_range

_LARGE_RHO = 1e3


class Steps(Protocol):
    """A discretization: number of steps and range of noise levels to noise levels (n + 1,)."""

    def __call__(self, n: int, sigma_min: float = ..., sigma_max: float = ...) -> Tensor:
        """Noise levels from ``sigma_max`` down to ``sigma_min``, then 0."""
        ...


def karras(n: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
    """sigma_i = (smax^(1/rho) + i/(N-1) (smin^(1/rho) - smax^(1/rho)))^rho (Karras et al. 2022, Eq. 5).

    Args:
        n: number of steps N.
        sigma_min: the last noise level before 0, in units of the data.
        sigma_max: the first noise level.
        rho: 1 spaces the levels evenly, larger values crowd them at low noise, smaller ones at high noise. 3
            equalises the truncation error of the steps, 5 to 10 sample best (App. D.1).

    Raises:
        ValueError: as for all steps, or rho is not positive and finite.
    """
    check_positive(rho=rho)
    i = _fractions(n, sigma_min, sigma_max)
    if 1 <= rho <= _LARGE_RHO:
        high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
        levels = (high + i * (low - high)) ** rho
        # Over ranges of dozens of orders of magnitude the difference leaves nothing of the lowest level.
        lost = (i == 1) & ((levels - sigma_min).abs() > 1e-6 * sigma_min)
        return _with_zero(torch.where(lost, sigma_min, levels))
    # The same in logarithms: powers of 1 / rho leave the range of numbers for a small rho, and for a large one all
    # come to 1, where differences are lost. Its limits are sigma_max up to the last step, and equal ratios.
    log_ratio = torch.tensor(math.log(sigma_min / sigma_max), dtype=torch.float64)
    levels = sigma_max * (rho * (i * (log_ratio / rho).expm1()).log1p()).exp()
    return _with_zero(torch.where(i == 1, sigma_min, levels))


def vp_times(n: int, epsilon_s: float = 1e-3) -> Tensor:
    """The time grid t_i = 1 + i/(N-1) (epsilon_s - 1) of Song et al. 2021 for their VP SDE, float64 (N,)."""
    _check_count(n)
    if not 0 < epsilon_s < 1:
        raise ValueError(f"epsilon_s is {epsilon_s}: it must lie between 0 and 1")
    return 1 + _evenly(n) * (epsilon_s - 1)


def vp(n: int, sigma_min: float | None = None, sigma_max: float | None = None, epsilon_s: float = 1e-3) -> Tensor:
    """sigma_i = sigma(t_i) at the times of :func:`vp_times` (Karras et al. 2022, Table 1, column "VP").

    sigma(t) is the VP schedule fitted to the range, so that sigma(1) = sigma_max and sigma(epsilon_s) = sigma_min.

    Args:
        n: number of steps N.
        sigma_min: the last noise level before 0; by default sigma(epsilon_s) of ``schedules.VP()``.
        sigma_max: the first noise level; by default sigma(1) of ``schedules.VP()``.
        epsilon_s: the smallest time, between 0 and 1.

    Raises:
        ValueError: as for all steps, epsilon_s does not lie between 0 and 1, or the range is so narrow that the noise
            levels at these times do not decrease.
    """
    times = vp_times(n, epsilon_s)
    original = schedules.VP()
    low = float(original.sigma(epsilon_s)) if sigma_min is None else sigma_min
    high = float(original.sigma(1.0)) if sigma_max is None else sigma_max
    fitted = schedules.VP.fit(low, high, epsilon_s)
    if fitted.beta_min + fitted.beta_d < 0:
        raise ValueError(
            f"vp steps from sigma_max = {high:g} to sigma_min = {low:g} with epsilon_s = {epsilon_s:g} would not "
            "decrease: choose a wider range, a larger epsilon_s, or karras steps"
        )
    return _with_zero(fitted.sigma(times))


def ve(n: int, sigma_min: float = 0.02, sigma_max: float = 100.0) -> Tensor:
    """sigma_i^2 = smax^2 (smin^2 / smax^2)^(i/(N-1)) (Karras et al. 2022, Table 1, column "VE").

    The squares are the times of the VE schedule, sigma = sqrt(t). This is :func:`log_uniform` with the range that
    Song et al. 2021 use.

    Args:
        n: number of steps N.
        sigma_min: the last noise level before 0, in units of the data.
        sigma_max: the first noise level.

    Raises:
        ValueError: as for all steps.
    """
    return log_uniform(n, sigma_min, sigma_max)


def iddpm(
    n: int,
    sigma_min: float = 0.002,
    sigma_max: float = 81.0,
    m: int = 1000,
    c1: float = 0.001,
    c2: float = 0.008,
) -> Tensor:
    """sigma_i = u_j, j spaced evenly over the part of the iDDPM table in range (Karras et al. 2022, Table 1 and C.3).

    Indices are rounded, ties to even. If N exceeds the number of table entries in range, entries repeat.

    Args:
        n: number of steps N.
        sigma_min: smallest noise level considered, in units of the data.
        sigma_max: largest noise level considered.
        m: length M of the table; see :func:`elucidiff.design.iddpm.noise_levels`, also for c1 and c2.
        c1: bound of the table.
        c2: offset of the table.

    Raises:
        ValueError: as for all steps, a bad table, or no table entry within the range.
    """
    _check_count(n)
    check_range(sigma_min, sigma_max)
    table = iddpm_table.noise_levels(m, c1, c2)
    table = table[(table >= sigma_min) & (table <= sigma_max)]
    if not table.numel():
        raise ValueError(f"no level of the iDDPM table lies between {sigma_min} and {sigma_max}: widen the range")
    indices = torch.arange(n, dtype=torch.float64) * ((table.numel() - 1) / max(n - 1, 1))
    return _with_zero(table[indices.round().long()])


def log_uniform(n: int, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Tensor:
    """sigma_i = smax (smin / smax)^(i/(N-1)): equal ratios.

    Args:
        n: number of steps N.
        sigma_min: the last noise level before 0, in units of the data.
        sigma_max: the first noise level.

    Raises:
        ValueError: as for all steps.
    """
    i = _fractions(n, sigma_min, sigma_max)
    return _with_zero(sigma_max * (sigma_min / sigma_max) ** i)


NAMES: dict[str, Steps] = {"karras": karras, "vp": vp, "ve": ve, "iddpm": iddpm, "log_uniform": log_uniform}
"""The discretizations by name."""


def _fractions(n: int, sigma_min: float, sigma_max: float) -> Tensor:
    """i / (N - 1) for i = 0 ... N - 1, after the checks that all discretizations share."""
    _check_count(n)
    check_range(sigma_min, sigma_max)
    return _evenly(n)


def _evenly(n: int) -> Tensor:
    """From 0 to 1 in ``n`` numbers; 0 alone for one."""
    return torch.arange(n, dtype=torch.float64) / max(n - 1, 1)


def _check_count(n: int) -> None:
    check_integer(n=n)
    if n < 1:
        raise ValueError(f"{n} sampling steps are too few: use at least 1")


def _with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])
