"""Noise levels as diffusers' schedulers space them, beside the tables that they share with others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.special

from elucidiff.design.noise_tables import Array

FinalSigma = Literal["zero", "sigma_min"]

ALMOST_NOTHING = 2.0**-24
"""The last alpha-bar in place of 0, for schedulers that need a finite noise level."""


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
