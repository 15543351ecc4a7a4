"""The times of networks from elsewhere: which t each counts a noise level as, and how what it sees is scaled.

A network of a table of discrete times, one of a schedule of continuous time, and one of the angle of TrigFlow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.design.values import as_tensor

Between = Literal["nearest", "interpolated", "rounded"]


class Time(Protocol):
    """The time of a network: the ``t`` it is given, and the scaling ``s`` of what it sees, at each noise level.

    >>> import elucidiff as ed
    >>> time = ed.adapters.ContinuousTime(ed.schedules.VP())
    >>> [round(float(value), 4) for value in time.at(torch.tensor(1.0))]  # t, and s = 1 / sqrt(1 + sigma^2)
    [0.259, 0.7071]
    """

    @property
    def sigma_min(self) -> float:
        """Smallest supported noise level."""

    @property
    def sigma_max(self) -> float:
        """Largest supported noise level."""

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """The nearest supported noise level, in the type of ``sigma``."""

    def at(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """``t`` and ``s``, each shaped like ``sigma``."""


@dataclass(frozen=True, eq=False)
class DiscreteTime:
    """Time steps j = 0 ... M-1 of a table of alpha-bars: sigma_j = sqrt((1 - abar_j) / abar_j), s_j = sqrt(abar_j).

    The network is told an index j (DDPM, improved DDPM, guided diffusion, Stable Diffusion). Ho et al. 2020, Eq. 4;
    Karras et al. 2022, Appendix C.3. What it is told between the levels of the table is a choice, for which networks
    that were trained at whole indices have no answer: home samplers that use such levels interpolate log sigma, and
    some round what comes out.

    A table may end in pure noise, alpha-bar 0 (zero terminal SNR, Lin et al. 2023, arXiv 2305.08891). Its last noise
    level is infinite, and a finite one is never rounded to it; see :class:`AdaptedDenoiser` for what D is there.

    Args:
        alpha_bars: the table (M,), strictly decreasing, inside (0, 1); the last may be 0.
        between: what the network is told between two levels of the table. "nearest": the index of the nearer level,
            which is then the noise level of the step, too (:meth:`round_sigma`). "interpolated": the position of log
            sigma between theirs, which is no whole number. "rounded": that position, rounded. Both keep sigma.
        factor: what the index is multiplied with before the network is told; None tells it the integer itself.

    Raises:
        ValueError: the table is empty, not one-dimensional, not decreasing, leaves (0, 1), or has nothing but 0;
            or ``between`` is none of the three.

    >>> import elucidiff as ed
    >>> time = ed.adapters.DiscreteTime(torch.tensor([0.8, 0.5, 0.2]))
    >>> time.sigmas.tolist(), float(time.round_sigma(1.3))
    ([0.49999998137354845, 1.0, 1.9999999813735487], 1.0)
    """

    alpha_bars: Tensor
    between: Between = "nearest"
    factor: float | None = None
    sigmas: Tensor = field(init=False)
    _least_log: float = field(init=False, repr=False)
    _largest: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.between not in get_args(Between):
            raise ValueError(f"between is {self.between!r}, but must be one of {', '.join(get_args(Between))}")
        table = torch.as_tensor(self.alpha_bars, dtype=torch.float64).cpu()
        if table.ndim != 1 or not len(table):
            raise ValueError(f"alpha_bars must be a table (M,), not of shape {tuple(table.shape)}")
        if not bool(((table >= 0) & (table < 1)).all() and (table.diff() < 0).all()):
            raise ValueError("alpha_bars must decrease and lie strictly between 0 and 1, but for a last one of 0")
        if float(table[0]) == 0:
            raise ValueError("alpha_bars is 0 alone: a table needs a noise level that is finite")
        sigmas = ((1 - table) / table).sqrt()
        object.__setattr__(self, "sigmas", sigmas)
        # As numbers, since a program that is traced cannot look at values.
        object.__setattr__(self, "_least_log", float(sigmas[0].log()))
        object.__setattr__(self, "_largest", float(sigmas[sigmas.isfinite()][-1]))

    @property
    def sigma_min(self) -> float:
        """Smallest noise level of the table."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """Largest noise level of the table; infinite if it ends in pure noise."""
        return float(self.sigmas[-1])

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """The nearest noise level of the table, in the type of ``sigma``; ``sigma`` itself unless told "nearest"."""
        sigma = as_tensor(sigma)
        if self.between != "nearest":
            return sigma
        return self.sigmas.to(sigma.device, sigma.dtype)[self._index(sigma)]

    def at(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The index, as ``between`` and ``factor`` say, and 1 / sqrt(1 + sigma^2): the scaling carried on."""
        index = self._index(sigma) if self.between == "nearest" else self._position(sigma)
        return index if self.factor is None else index * self.factor, (1 + sigma.square()).rsqrt()

    def _position(self, sigma: Tensor) -> Tensor:
        """The place of log sigma in the table, between 0 and M - 1; at infinity, the end."""
        logs = self.sigmas.log().to(sigma.device, sigma.dtype)
        log = sigma.log().clamp(min=self._least_log)
        below = ((log[..., None] >= logs).sum(-1) - 1).clamp(0, max(len(logs) - 2, 0))
        start = logs[below]
        share = (log - start) / (logs[(below + 1).clamp(max=len(logs) - 1)] - start)
        # Before an infinite level, or in a table of one, there is nothing to interpolate.
        position = below + torch.where(share.isfinite(), share, (log == math.inf).to(share.dtype)).clamp(0, 1)
        return position if self.between == "interpolated" else position.round().long()

    def _index(self, sigma: Tensor) -> Tensor:
        table = self.sigmas.to(sigma.device, sigma.dtype)
        # Far beyond the table, differences from all of its levels would be rounded to one number.
        nearest = (sigma.clamp(max=self._largest)[..., None] - table).abs().argmin(-1)
        return torch.where(sigma.isinf(), len(table) - 1, nearest)


@dataclass(frozen=True)
class ContinuousTime:
    """Time and scaling of a schedule: the network is told ``factor`` t(sigma) + ``offset`` and sees s(t) x.

    Args:
        schedule: for example VP() for a network of Song et al. 2021, or Flow() for rectified flow (t = sigma /
            (1 + sigma), s = 1 - t).
        factor: what the network multiplies t by; 999 in Song et al.'s code, 1000 in many latent flow models. -1, with
            the offset 1, for a time that runs from noise at 0 to data at 1.
        offset: what is added to that.
        whole: whether the network is told the integer below it, as some home samplers do.
        sigma_min: smallest noise level that the network was trained for.
        sigma_max: largest noise level that the network was trained for.

    >>> import elucidiff as ed
    >>> flow = ed.adapters.ContinuousTime(ed.schedules.Flow(), factor=1000)
    >>> t, s = flow.at(torch.tensor(1.0))
    >>> float(t), float(s)
    (500.0, 0.5)
    """

    schedule: Schedule
    factor: float = 1.0
    offset: float = 0.0
    whole: bool = False
    sigma_min: float = 0.0
    sigma_max: float = math.inf

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """``sigma`` itself: time is continuous."""
        return as_tensor(sigma)

    def at(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """``factor`` t(sigma) + ``offset`` and s(t(sigma))."""
        t = self.schedule.time(sigma)
        told = self.factor * t + self.offset
        return told.floor().long() if self.whole else told, self.schedule.scale(t)


@dataclass(frozen=True)
class TrigTime:
    """The angle t = arctan(sigma / sigma_data), with s = cos(t) / sigma_data: TrigFlow of Lu and Song 2024, Eq. 5.

    There x_t = cos(t) x_0 + sin(t) z with noise z of the data's standard deviation, and the network sees
    x_t / sigma_data. Pure noise is t = pi / 2.

    Args:
        sigma_data: standard deviation of the data.
        factor: what the network multiplies t by.
        sigma_min: smallest noise level that the network was trained for.
        sigma_max: largest noise level that the network was trained for.

    >>> import elucidiff as ed
    >>> t, s = ed.adapters.TrigTime(sigma_data=0.5).at(torch.tensor(0.5))
    >>> round(float(t), 4), round(float(s), 4)  # pi / 4, and cos(pi / 4) / 0.5
    (0.7854, 1.4142)
    """

    sigma_data: float = 1.0
    factor: float = 1.0
    sigma_min: float = 0.0
    sigma_max: float = math.inf

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """``sigma`` itself: time is continuous."""
        return as_tensor(sigma)

    def at(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """``factor`` t and cos(t) / sigma_data."""
        return self.factor * (sigma / self.sigma_data).arctan(), (self.sigma_data**2 + sigma.square()).rsqrt()


def reaches_infinity(time: Time) -> bool:
    """True if the network can be told of an infinite noise level."""
    if not math.isinf(time.sigma_max):
        return False
    t, _ = time.at(torch.tensor([math.inf], dtype=torch.float64))
    return bool(t.isfinite().all())
