"""Noise tables and time grids as diffusers' schedulers make them from their settings.

The tables are float32 there, and networks were trained with those numbers. So they are made in float32 here too, and
everything that follows is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.special
import torch

Array = npt.NDArray[np.float64]
Spacing = Literal["leading", "trailing", "linspace"]
FinalSigma = Literal["zero", "sigma_min"]

ALMOST_NOTHING = 2.0**-24
"""What the last alpha-bar becomes, in place of 0, for schedulers that need a finite noise level."""


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
        known = "linear, scaled_linear, squaredcos_cap_v2, exp, sigmoid"
        raise ValueError(f"beta_schedule is {schedule!r}, but must be one of {known}")
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
            ends at 0, in fractions of a time (:func:`whole_times` rounds them).
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


def check_range(low: float | None, high: float | None) -> None:
    """Raise ValueError unless ends of a range of noise levels, where they are given, are possible ones."""
    if any(level is not None and not 1e-8 < level < 1e8 for level in (low, high)):
        raise ValueError("sigma_min and sigma_max must be positive, and no larger than 1e8")


def check_terminal(level: float | None) -> None:
    """Raise ValueError unless the last level of a flow, where it is given, is possible."""
    if level is not None and not 0 <= level <= 0.99:
        raise ValueError(f"shift_terminal is {level:g}, but must be from 0 to 0.99")


def karras(low: float, high: float, steps: int, rho: float = 7.0) -> Array:
    """Noise levels from ``high`` to ``low``: Karras et al. 2022, Eq. 5."""
    ramp = np.linspace(0, 1, steps)
    levels: Array = np.power(high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho)), rho)
    return levels


def exponential(low: float, high: float, steps: int) -> Array:
    """Noise levels from ``high`` to ``low``, equally spaced in their logarithm."""
    levels: Array = np.exp(np.linspace(math.log(high), math.log(low), steps))
    return levels


def beta_spaced(low: float, high: float, steps: int, alpha: float = 0.6, beta: float = 0.6) -> Array:
    """Noise levels from ``high`` to ``low`` at quantiles of a beta distribution (Lee et al. 2024)."""
    places = scipy.special.betaincinv(alpha, beta, 1 - np.linspace(0, 1, steps))
    levels: Array = low + places * (high - low)
    return levels


def respaced(settings: Any, low: float, high: float, steps: int) -> Array | None:
    """Noise levels by whichever ``use_..._sigmas`` the settings ask for; None if by none."""
    if settings.use_karras_sigmas:
        return karras(low, high, steps)
    if settings.use_exponential_sigmas:
        return exponential(low, high, steps)
    return beta_spaced(low, high, steps) if settings.use_beta_sigmas else None


def stretched(levels: Array, terminal: float) -> Array:
    """Flow levels moved so that the last is ``terminal``. Times are cut off to whole ones, so rounding counts."""
    result: Array = 1 - (1 - levels) / ((1 - levels[-1]) / (1 - terminal))
    return result


def refuse_given(settings: Any, times: Array | None) -> None:
    """Raise ValueError if times were given to a scheduler that spaces its noise levels by itself."""
    names = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas", "use_lu_lambdas")
    for name in names:
        if times is not None and getattr(settings, name, False):
            raise ValueError(f"timesteps cannot be given along with {name}, which chooses them")


def shifted(levels: Array, shift: float) -> Array:
    """Flow levels s as shift s / (1 + (shift - 1) s): more of them where there is much noise (Esser et al. 2024)."""
    result: Array = shift * levels / (1 + (shift - 1) * levels)
    return result


@dataclass(frozen=True)
class TimeOfSigma:
    """The time at which a table has a noise level, interpolated linearly in its logarithm and held at both ends.

    A table whose last noise level was replaced need not be monotone. The last entry that does not exceed the level
    decides then.

    Args:
        sigmas: the table, (T,).
    """

    sigmas: Array

    def __call__(self, sigma: float) -> float:
        """Time at noise level ``sigma``: a position in the table, with fractions."""
        logs = np.log(self.sigmas.astype(np.float32)).astype(np.float64)
        wanted = math.log(max(sigma, 1e-10))
        below = np.flatnonzero(logs <= wanted)
        low = min(int(below[-1]) if len(below) else 0, len(logs) - 2)
        fraction = (logs[low] - wanted) / (logs[low] - logs[low + 1])
        return low + min(max(float(fraction), 0.0), 1.0)

    def of(self, sigmas: Array) -> Array:
        """Times of several noise levels."""
        return np.array([self(float(sigma)) for sigma in sigmas])
