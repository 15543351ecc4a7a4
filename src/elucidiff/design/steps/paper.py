"""The spacings of Karras et al. 2022, Table 1, and equal ratios: functions, and parts of the same names."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.design import schedules
from elucidiff.design.noise_tables import check_iddpm, iddpm_levels
from elucidiff.design.steps.base import Spaced, check_count, evenly, fractions, with_zero
from elucidiff.design.values import check_positive, check_range
from elucidiff.parts import part, setting

_LARGE_RHO = 1e3


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

    >>> import elucidiff as ed
    >>> ed.steps.karras(4, 0.002, 80).round(decimals=3).tolist()
    [80.0, 9.723, 0.47, 0.002, 0.0]
    """
    check_positive(rho=rho)
    i = fractions(n, sigma_min, sigma_max)
    if 1 <= rho <= _LARGE_RHO:
        high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
        levels = (high + i * (low - high)) ** rho
        # Over ranges of dozens of orders of magnitude the difference leaves nothing of the lowest level.
        lost = (i == 1) & ((levels - sigma_min).abs() > 1e-6 * sigma_min)
        return with_zero(torch.where(lost, sigma_min, levels))
    # The same in logarithms: powers of 1 / rho leave the range of numbers for a small rho, and for a large one all
    # come to 1, where differences are lost. Its limits are sigma_max up to the last step, and equal ratios.
    log_ratio = torch.tensor(math.log(sigma_min / sigma_max), dtype=torch.float64)
    levels = sigma_max * (rho * (i * (log_ratio / rho).expm1()).log1p()).exp()
    return with_zero(torch.where(i == 1, sigma_min, levels))


def vp_times(n: int, epsilon_s: float = 1e-3) -> Tensor:
    """The time grid t_i = 1 + i/(N-1) (epsilon_s - 1) of Song et al. 2021 for their VP SDE, float64 (N,).

    >>> import elucidiff as ed
    >>> [round(float(t), 6) for t in ed.steps.vp_times(3)]
    [1.0, 0.5005, 0.001]
    """
    check_count(n)
    if not 0 < epsilon_s < 1:
        raise ValueError(f"epsilon_s is {epsilon_s}: it must lie between 0 and 1")
    return 1 + evenly(n) * (epsilon_s - 1)


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

    >>> import elucidiff as ed
    >>> len(ed.steps.vp(10, 0.002, 80))
    11
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
    return with_zero(fitted.sigma(times))


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

    >>> import elucidiff as ed
    >>> ed.steps.ve(3, 0.02, 100).round(decimals=3).tolist()
    [100.0, 1.414, 0.02, 0.0]
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
        m: length M of the table; see :func:`elucidiff.design.noise_tables.iddpm_levels`, also for c1 and c2.
        c1: bound of the table.
        c2: offset of the table.

    Raises:
        ValueError: as for all steps, a bad table, or no table entry within the range.

    >>> import elucidiff as ed
    >>> len(ed.steps.iddpm(10, 0.002, 80))
    11
    """
    check_count(n)
    check_range(sigma_min, sigma_max)
    table = iddpm_levels(m, c1, c2)
    table = table[(table >= sigma_min) & (table <= sigma_max)]
    if not table.numel():
        raise ValueError(f"no level of the iDDPM table lies between {sigma_min} and {sigma_max}: widen the range")
    indices = torch.arange(n, dtype=torch.float64) * ((table.numel() - 1) / max(n - 1, 1))
    return with_zero(table[indices.round().long()])


def log_uniform(n: int, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Tensor:
    """sigma_i = smax (smin / smax)^(i/(N-1)): equal ratios.

    Args:
        n: number of steps N.
        sigma_min: the last noise level before 0, in units of the data.
        sigma_max: the first noise level.

    Raises:
        ValueError: as for all steps.

    >>> import elucidiff as ed
    >>> ed.steps.log_uniform(3, 0.01, 100).round(decimals=6).tolist()
    [100.0, 1.0, 0.01, 0.0]
    """
    i = fractions(n, sigma_min, sigma_max)
    return with_zero(sigma_max * (sigma_min / sigma_max) ** i)


@part("steps", "karras")
@dataclass(frozen=True)
class Karras(Spaced):
    """sigma_i = (smax^(1/rho) + i/(N-1) (smin^(1/rho) - smax^(1/rho)))^rho: :func:`karras`, the paper's choice.

    Args:
        rho: exponent; larger values crowd the levels at low noise.

    Raises:
        ValueError: a value is out of its range.

    >>> import elucidiff as ed
    >>> ed.Sampler(steps=ed.steps.Karras(8, rho=5)).to_text()
    'steps=karras:n=8,rho=5'
    """

    rho: float = setting(7.0, search=(3.0, 15.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(rho=self.rho)

    def between(self, sigma_min: float, sigma_max: float) -> Tensor:
        """:func:`karras`."""
        return karras(self.n, sigma_min, sigma_max, self.rho)


@part("steps", "vp")
@dataclass(frozen=True)
class VP(Spaced):
    """The steps of Song et al. 2021 for VP, even in its time: :func:`vp`.

    Args:
        epsilon_s: time of the lowest noise level.

    Raises:
        ValueError: a value is out of its range.

    >>> import elucidiff as ed
    >>> [round(float(sigma), 6) for sigma in ed.steps.VP(n=2, sigma_min=0.002, sigma_max=80.0).within()]
    [80.0, 0.002, 0.0]
    """

    epsilon_s: float = 1e-3

    def usual_range(self) -> tuple[float, float]:
        """sigma(epsilon_s) to sigma(1) of ``schedules.VP()``."""
        high, low = schedules.VP().sigma(vp_times(2, self.epsilon_s)).tolist()
        return low, high

    def between(self, sigma_min: float, sigma_max: float) -> Tensor:
        """:func:`vp`."""
        return vp(self.n, sigma_min, sigma_max, self.epsilon_s)


@part("steps", "ve")
@dataclass(frozen=True)
class VE(Spaced):
    """The steps of Song et al. 2021 for VE, geometric from 100 to 0.02: :func:`ve`.

    >>> import elucidiff as ed
    >>> [round(float(sigma), 6) for sigma in ed.steps.VE(n=3, sigma_min=0.02, sigma_max=200.0).within()]
    [200.0, 2.0, 0.02, 0.0]
    """

    def usual_range(self) -> tuple[float, float]:
        """0.02 to 100."""
        return 0.02, 100.0

    def between(self, sigma_min: float, sigma_max: float) -> Tensor:
        """:func:`ve`."""
        return ve(self.n, sigma_min, sigma_max)


@part("steps", "iddpm")
@dataclass(frozen=True)
class IDDPM(Spaced):
    """Levels of the iDDPM table, evenly spaced in it: :func:`iddpm`.

    Args:
        m: length of the table.
        c1: bound of the table.
        c2: offset of the table.

    Raises:
        ValueError: a value is out of its range.

    >>> import elucidiff as ed
    >>> steps = ed.steps.IDDPM(n=4, sigma_min=0.01, sigma_max=80.0)
    >>> sigmas = steps.within()
    >>> len(sigmas), bool((sigmas.diff() < 0).all()), float(sigmas[-1])
    (5, True, 0.0)
    """

    m: int = 1000
    c1: float = 0.001
    c2: float = 0.008

    def __post_init__(self) -> None:
        super().__post_init__()
        check_iddpm(self.m, self.c1, self.c2)

    def usual_range(self) -> tuple[float, float]:
        """0.002 to 81."""
        return 0.002, 81.0

    def between(self, sigma_min: float, sigma_max: float) -> Tensor:
        """:func:`iddpm`."""
        return iddpm(self.n, sigma_min, sigma_max, self.m, self.c1, self.c2)


@part("steps", "log_uniform")
@dataclass(frozen=True)
class LogUniform(Spaced):
    """Equal ratios of noise levels: :func:`log_uniform`.

    >>> import elucidiff as ed
    >>> [round(float(sigma), 6) for sigma in ed.steps.LogUniform(n=4, sigma_min=0.01, sigma_max=10.0).within()]
    [10.0, 1.0, 0.1, 0.01, 0.0]
    """

    def between(self, sigma_min: float, sigma_max: float) -> Tensor:
        """:func:`log_uniform`."""
        return log_uniform(self.n, sigma_min, sigma_max)
