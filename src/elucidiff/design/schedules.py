"""Noise schedules sigma(t) and scalings s(t), and the SDE dx = f(t) x dt + g(t) dw that each pair stands for.

A sample at time t is distributed as s(t) (x0 + sigma(t) n) with unit Gaussian noise n (Karras et al. 2022, Sec. 2 and
App. B). Every method takes a float or a tensor of any shape and keeps its type; a Python float gives float64.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from elucidiff.design.quadrature import IntegratedSDE
from elucidiff.design.values import Value, as_tensor, check_positive, check_range, per_sample
from elucidiff.parts import part

__all__ = ["EDM", "SDE", "VE", "VP", "Exponential", "FittedVP", "Flow", "Schedule", "from_sde"]


@dataclass(frozen=True)
class Schedule(ABC):
    """A noise schedule sigma(t), increasing from sigma(0) = 0, with a scaling s(t).

    Args:
        scaling: ``"none"`` for s = 1 or ``"vp"`` for s = 1 / sqrt(1 + sigma^2), which keeps unit-variance data at
            unit variance. Some schedules have a scaling of their own, named after them.

    Raises:
        ValueError: the scaling is unknown.

    >>> import elucidiff as ed
    >>> schedule = ed.schedules.VP()
    >>> round(float(schedule.sigma(1.0)), 2), round(float(schedule.scale(1.0)), 6)
    (152.17, 0.006572)
    """

    scaling: str = field(default="none", kw_only=True)

    def __post_init__(self) -> None:
        allowed = sorted({"none", "vp", type(self).scaling})  # the class attribute is the schedule's own scaling
        if self.scaling not in allowed:
            raise ValueError(f"scaling {self.scaling!r} is unknown: choose one of {', '.join(allowed)}")

    def fitted(self, sigma_min: float, sigma_max: float) -> Schedule:
        """The schedule for a run of this range of noise levels: itself, unless its constants follow the range."""
        return self

    @abstractmethod
    def sigma(self, t: Value) -> Tensor:
        """Noise level sigma(t), in units of the data."""

    @abstractmethod
    def variance_dot(self, t: Value) -> Tensor:
        """d sigma^2 / dt = 2 sigma' sigma. Unlike sigma', it stays finite where sigma(t) grows as sqrt(t) from 0."""

    @abstractmethod
    def time(self, sigma: Value) -> Tensor:
        """The time t at which sigma(t) is ``sigma``; exactly 0 at 0."""

    def sigma_dot(self, t: Value) -> Tensor:
        """The derivative sigma'(t)."""
        return self.variance_dot(t) / (2 * self.sigma(t))

    def scale(self, t: Value) -> Tensor:
        """The scaling s(t)."""
        t = as_tensor(t)
        return (1 + self.sigma(t).square()).rsqrt() if self.scaling == "vp" else torch.ones_like(t)

    def scale_dot(self, t: Value) -> Tensor:
        """The derivative s'(t); s = (1 + sigma^2)^(-1/2) has s' = -s^3 (sigma^2)' / 2."""
        t = as_tensor(t)
        return -(self.scale(t) ** 3) * self.variance_dot(t) / 2 if self.scaling == "vp" else torch.zeros_like(t)

    def ode(self, t: Value) -> tuple[Tensor, Tensor]:
        """a = sigma'/sigma + s'/s, b = s sigma'/sigma of dx/dt = a x - b D(x/s; sigma) (Karras et al. 2022, Eq. 4).

        A schedule that comes to pure noise in finite time, with s sigma = 1 where sigma is infinite, has finite
        values there too.
        """
        pull = self.sigma_dot(t) / self.sigma(t)
        scale = self.scale(t)
        return pull + self.scale_dot(t) / scale, pull * scale

    def f(self, t: Value) -> Tensor:
        """The drift f = s' / s of dx = f(t) x dt + g(t) dw (Karras et al. 2022, App. B)."""
        return self.scale_dot(t) / self.scale(t)

    def g(self, t: Value) -> Tensor:
        """The diffusion g = s sqrt(2 sigma' sigma) of dx = f(t) x dt + g(t) dw (Karras et al. 2022, App. B)."""
        return self.scale(t) * self.variance_dot(t).sqrt()

    def marginal(self, x0: Tensor, t: Value) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the transition kernel p(x(t) | x0) = N(s x0, s^2 sigma^2 I).

        Args:
            x0: clean samples (B, C, *spatial).
            t: time, a float, () or one a sample (B,).

        Returns:
            The mean, shaped like ``x0``, and the standard deviation, shaped to broadcast against it.
        """
        t = as_tensor(t)
        return per_sample(self.scale(t), x0) * x0, per_sample(self._spread(t), x0)

    def _spread(self, t: Tensor) -> Tensor:
        return self.scale(t) * self.sigma(t)


@part("schedule", "edm")
@dataclass(frozen=True)
class EDM(Schedule):
    """sigma(t) = t, s(t) = 1 (Karras et al. 2022, Table 1, columns "iDDPM + DDIM" and "Ours").

    >>> import elucidiff as ed
    >>> float(ed.schedules.EDM().sigma(0.5)), float(ed.schedules.EDM().scale(0.5))
    (0.5, 1.0)
    """

    def sigma(self, t: Value) -> Tensor:
        """sigma(t) = t."""
        return as_tensor(t)

    def variance_dot(self, t: Value) -> Tensor:
        """2 sigma' sigma = 2 t."""
        return 2 * as_tensor(t)

    def sigma_dot(self, t: Value) -> Tensor:
        """sigma'(t) = 1, also at t = 0."""
        return torch.ones_like(as_tensor(t))

    def time(self, sigma: Value) -> Tensor:
        """t = sigma."""
        return as_tensor(sigma)


@part("schedule", "vp")
@dataclass(frozen=True)
class VP(Schedule):
    """The variance-preserving schedule of Song et al. 2021: sigma(t)^2 = exp(beta_d t^2 / 2 + beta_min t) - 1.

    With its own scaling s = 1 / sqrt(1 + sigma^2) it is dx = -beta(t) x / 2 dt + sqrt(beta(t)) dw with
    beta(t) = beta_min + beta_d t, for t in [0, 1] (Karras et al. 2022, Table 1, column "VP").

    exp(...) - 1 is taken as it stands rather than by ``expm1``: networks were trained with noise levels computed
    this way in float32, where it matters (sigma(1e-5) is 2.4 % off), and must be told the same ones. In float64 the
    relative error is 1e-16 / sigma^2; below sigma = 1e-4, where this would begin to count, it is ``expm1``.

    A schedule from :meth:`fit` may have a slightly negative beta_min. Then sigma(t) is not a number for very small
    t > 0, below every time that belongs to a noise level; sampling never goes there.

    If the range is narrow, or sigma_min large for its time, beta_d is negative, and beta(t) may fall below 0 before
    t = 1: sigma(t) rises to a maximum at t = -beta_min / beta_d, and falls again. :meth:`time` takes the rising part,
    which has all levels of the range, so sampling never leaves it; levels above the maximum have no time (NaN).

    Args:
        beta_d: slope of beta(t).
        beta_min: beta(0).

    Raises:
        ValueError: sigma(t) rises from 0 nowhere on [0, 1], a number is not finite, or the scaling is unknown.

    >>> import elucidiff as ed
    >>> round(float(ed.schedules.VP().time(1.0)), 4)
    0.259
    """

    beta_d: float = 19.9
    beta_min: float = 0.1
    scaling: str = field(default="vp", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        finite = math.isfinite(self.beta_d) and math.isfinite(self.beta_min)
        if not (finite and (self.beta_min > 0 or self.beta_min + self.beta_d / 2 > 0)):
            raise ValueError(
                f"beta_d {self.beta_d} and beta_min {self.beta_min} give no noise schedule: "
                "beta_min, or its sum with half of beta_d, must be positive, and both must be finite"
            )

    def check_rising(self) -> None:
        """Raise ValueError unless sigma(t) rises on all of [0, 1], as it must where networks are trained on it."""
        if not (self.beta_min >= 0 and self.beta_min + self.beta_d > 0):
            raise ValueError(
                f"with beta_d {self.beta_d} and beta_min {self.beta_min} the noise does not grow from t = 0 to 1: "
                "beta_min must not be negative, and its sum with beta_d must be positive"
            )

    @classmethod
    def fit(cls, sigma_min: float, sigma_max: float, epsilon_s: float = 1e-3, *, scaling: str = "vp") -> VP:
        """The schedule with sigma(epsilon_s) = sigma_min and sigma(1) = sigma_max.

        Args:
            sigma_min: smallest noise level, in units of the data.
            sigma_max: largest noise level.
            epsilon_s: the time of ``sigma_min``, between 0 and 1.
            scaling: as for every schedule.

        Raises:
            ValueError: not 0 < sigma_min < sigma_max < infinity, not 0 < epsilon_s < 1, or the numbers are so far
                apart that the constants overflow.
        """
        check_range(sigma_min, sigma_max)
        if not 0 < epsilon_s < 1:
            raise ValueError(f"epsilon_s is {epsilon_s}: it must lie between 0 and 1")
        # Two linear equations, beta_d t^2 / 2 + beta_min t = ln(1 + sigma^2) at t = epsilon_s and at t = 1.
        low, high = _log_growth(sigma_min), _log_growth(sigma_max)
        beta_d = 2 * (low / epsilon_s - high) / (epsilon_s - 1)
        if not math.isfinite(beta_d):
            raise ValueError(
                f"no VP schedule goes from sigma_min = {sigma_min:g} at t = {epsilon_s:g} to sigma_max = "
                f"{sigma_max:g} at t = 1: choose a larger epsilon_s"
            )
        return cls(beta_d, high - beta_d / 2, scaling=scaling)

    def sigma(self, t: Value) -> Tensor:
        """sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1)."""
        t = as_tensor(t)
        exponent = self._exponent(t)
        grown = exponent.exp() - 1
        if t.dtype == torch.float64:
            grown = torch.where(exponent < 1e-8, exponent.expm1(), grown)
        return grown.sqrt()

    def variance_dot(self, t: Value) -> Tensor:
        """2 sigma' sigma = (beta_min + beta_d t) exp(beta_d t^2 / 2 + beta_min t)."""
        t = as_tensor(t)
        return (self.beta_min + self.beta_d * t) * self._exponent(t).exp()

    def time(self, sigma: Value) -> Tensor:
        """t = (sqrt(beta_min^2 + 2 beta_d ln(1 + sigma^2)) - beta_min) / beta_d; NaN above the largest sigma(t)."""
        sigma = as_tensor(sigma)
        wide = sigma.dtype == torch.float64
        log = sigma.square().log1p() if wide else (1 + sigma.square()).log()
        if self.beta_d == 0:
            return log / self.beta_min
        square = self.beta_min**2 + 2 * self.beta_d * log
        if wide and self.beta_d < 0:  # at the maximum it is 0 but for rounding
            square = torch.where(square.abs() < 1e-15 * self.beta_min**2, 0.0, square)
        root = square.sqrt()
        if wide and self.beta_min > 0:  # the same, where the difference would cancel
            return 2 * log / (root + self.beta_min)
        t = (root - self.beta_min) / self.beta_d
        # A negative beta_min has a second root there, at t > 0.
        return torch.where(sigma == 0, torch.zeros_like(t), t)

    def _exponent(self, t: Tensor) -> Tensor:
        """ln(1 + sigma^2)."""
        return 0.5 * self.beta_d * t.square() + self.beta_min * t


def _log_growth(sigma: float) -> float:
    """ln(1 + sigma^2), also where sigma^2 overflows."""
    return math.log1p(sigma**2) if sigma < 1e150 else 2 * math.log(sigma)


@part("schedule", "vp_fitted")
@dataclass(frozen=True)
class FittedVP(VP):
    """:class:`VP` with its constants fitted to the range of the run, as the paper samples with it (:meth:`VP.fit`).

    Until it is fitted it is VP with the constants given here.

    Args:
        epsilon_s: the time of the lowest noise level.

    Raises:
        ValueError: ``epsilon_s`` does not lie between 0 and 1, or as for VP.

    >>> import elucidiff as ed
    >>> schedule = ed.schedules.FittedVP().fitted(0.002, 80.0)
    >>> round(float(schedule.sigma(1.0)), 6), round(float(schedule.sigma(0.001)), 6)
    (80.0, 0.002)
    """

    epsilon_s: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.epsilon_s < 1:
            raise ValueError(f"epsilon_s is {self.epsilon_s}: it must lie between 0 and 1")

    def fitted(self, sigma_min: float, sigma_max: float) -> Schedule:
        """:meth:`VP.fit` to this range."""
        return VP.fit(sigma_min, sigma_max, self.epsilon_s, scaling=self.scaling)


@part("schedule", "ve")
@dataclass(frozen=True)
class VE(Schedule):
    """sigma(t) = sqrt(t), s(t) = 1, that is dx = dw (Karras et al. 2022, Table 1, column "VE").

    >>> import elucidiff as ed
    >>> float(ed.schedules.VE().sigma(4.0))
    2.0
    """

    def sigma(self, t: Value) -> Tensor:
        """sigma(t) = sqrt(t)."""
        return as_tensor(t).sqrt()

    def variance_dot(self, t: Value) -> Tensor:
        """2 sigma' sigma = 1."""
        return torch.ones_like(as_tensor(t))

    def time(self, sigma: Value) -> Tensor:
        """t = sigma^2."""
        return as_tensor(sigma).square()


@part("schedule", "flow")
@dataclass(frozen=True)
class Flow(Schedule):
    """Rectified flow, x = (1 - t) x0 + t n for t in [0, 1]: s(t) = 1 - t and sigma(t) = t / (1 - t).

    Its own scaling is called ``"flow"``. sigma(1) is infinite, and ``time`` of infinity is 1. Source: Liu et al.
    2022, "Flow Straight and Fast".

    >>> import elucidiff as ed
    >>> round(float(ed.schedules.Flow().sigma(0.75)), 6)
    3.0
    """

    scaling: str = field(default="flow", kw_only=True)

    def sigma(self, t: Value) -> Tensor:
        """sigma(t) = t / (1 - t)."""
        t = as_tensor(t)
        return t / (1 - t)

    def variance_dot(self, t: Value) -> Tensor:
        """2 sigma' sigma = 2 t / (1 - t)^3."""
        t = as_tensor(t)
        return 2 * t / (1 - t) ** 3

    def sigma_dot(self, t: Value) -> Tensor:
        """sigma'(t) = 1 / (1 - t)^2, also at t = 0."""
        return (1 - as_tensor(t)) ** -2

    def time(self, sigma: Value) -> Tensor:
        """t = sigma / (1 + sigma), written so that infinity gives 1."""
        return 1 / (1 + 1 / as_tensor(sigma))

    def scale(self, t: Value) -> Tensor:
        """s(t) = 1 - t, unless another scaling was chosen."""
        return 1 - as_tensor(t) if self.scaling == "flow" else super().scale(t)

    def scale_dot(self, t: Value) -> Tensor:
        """s'(t) = -1, unless another scaling was chosen."""
        return -torch.ones_like(as_tensor(t)) if self.scaling == "flow" else super().scale_dot(t)

    def ode(self, t: Value) -> tuple[Tensor, Tensor]:
        """dx/dt = (x - D) / t: the form to which Eq. 4 comes down, also at t = 1; Eq. 4 for another scaling."""
        if self.scaling != "flow":
            return super().ode(t)
        return 1 / as_tensor(t), 1 / as_tensor(t)

    def _spread(self, t: Tensor) -> Tensor:
        return t if self.scaling == "flow" else super()._spread(t)  # 0 times infinity at t = 1 otherwise


@part("schedule", "exponential")
@dataclass(frozen=True)
class Exponential(Schedule):
    """sigma(t) = c (exp(t) - 1), s(t) = 1: t is log(sigma) well above c, and sigma / c well below.

    Along the ODE the denoised image changes smoothly with log(sigma), which has no end at noise level 0; this time
    ends there, at t = 0. That makes it the time for :class:`~elucidiff.solvers.DEIS` with few steps.

    Args:
        c: where it changes from one to the other, in units of the data. Anything from a few times the lowest noise
            level to a tenth of the data's standard deviation does about equally well.

    Raises:
        ValueError: ``c`` is not positive and finite, or the scaling is unknown.

    >>> import elucidiff as ed
    >>> schedule = ed.schedules.Exponential(c=0.02)
    >>> float(schedule.sigma(0.0)), round(float(schedule.time(0.02)), 4)  # ln 2
    (0.0, 0.6931)
    """

    c: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(c=self.c)

    def sigma(self, t: Value) -> Tensor:
        """sigma(t) = c (exp(t) - 1)."""
        return self.c * as_tensor(t).expm1()

    def sigma_dot(self, t: Value) -> Tensor:
        """sigma'(t) = c exp(t), also at t = 0."""
        return self.c * as_tensor(t).exp()

    def variance_dot(self, t: Value) -> Tensor:
        """2 sigma' sigma = 2 c^2 exp(t) (exp(t) - 1)."""
        return 2 * self.sigma_dot(t) * self.sigma(t)

    def time(self, sigma: Value) -> Tensor:
        """t = log(1 + sigma / c)."""
        return (as_tensor(sigma) / self.c).log1p()


@dataclass(frozen=True)
class SDE(Schedule):
    """The schedule of a given SDE, made by :func:`from_sde`. Its own scaling, exp(int f), is called ``"sde"``.

    >>> import elucidiff as ed
    >>> schedule = ed.schedules.from_sde(lambda t: 0, lambda t: 1, t_max=4.0)  # Brownian motion
    >>> type(schedule).__name__, round(float(schedule.sigma(4.0)), 9), float(schedule.scale(4.0))
    ('SDE', 2.0, 1.0)
    """

    integrated: IntegratedSDE
    scaling: str = field(default="sde", kw_only=True)

    def sigma(self, t: Value) -> Tensor:
        """sigma(t) = sqrt(int_0^t g^2 / s^2)."""
        return self.integrated.variance(as_tensor(t)).sqrt()

    def variance_dot(self, t: Value) -> Tensor:
        """2 sigma' sigma = g^2 / s^2."""
        return self.integrated.variance_dot(as_tensor(t))

    def time(self, sigma: Value) -> Tensor:
        """The t in [0, t_max] with sigma(t) = ``sigma``."""
        return self.integrated.time(as_tensor(sigma).square())

    def scale(self, t: Value) -> Tensor:
        """s(t) = exp(int_0^t f), unless another scaling was chosen."""
        return self.integrated.log_scale(as_tensor(t)).exp() if self.scaling == "sde" else super().scale(t)

    def scale_dot(self, t: Value) -> Tensor:
        """s'(t) = f(t) s(t), unless another scaling was chosen."""
        return self.integrated.f(as_tensor(t)) * self.scale(t) if self.scaling == "sde" else super().scale_dot(t)


def from_sde(
    f: Callable[[Tensor], Value], g: Callable[[Tensor], Value], t_max: float, *, scaling: str = "sde"
) -> SDE:
    """The schedule of dx = f(t) x dt + g(t) dw on [0, t_max], integrated numerically (Karras et al. 2022, App. B).

    s(t) = exp(int_0^t f) and sigma(t)^2 = int_0^t g^2 / s^2, to a relative accuracy of about 1e-12 for f and g that
    are smooth up to a few kinks or jumps. Values are computed in float64 and returned in the type of the argument.

    Args:
        f: drift, a function of a float64 tensor of times that returns a tensor of the same shape, or a number.
        g: diffusion, likewise.
        t_max: end of the time interval. Times outside it and noise levels above sigma(t_max) are errors.
        scaling: ``"sde"`` for the s(t) above; ``"none"`` and ``"vp"`` keep sigma(t) and replace s(t).

    Raises:
        ValueError: t_max is not positive and finite, f or g is not finite or too rough to integrate, or g is 0.

    >>> import elucidiff as ed
    >>> schedule = ed.schedules.from_sde(lambda t: 0, lambda t: (2 * t).sqrt(), t_max=80.0)  # sigma(t) = t
    >>> round(float(schedule.sigma(3.0)), 9), round(float(schedule.time(3.0)), 9)
    (3.0, 3.0)
    """
    return SDE(IntegratedSDE.integrate(f, g, t_max), scaling=scaling)
