"""Networks from elsewhere as denoisers: whatever one predicts and however it counts time, it answers D(x; sigma).

All of them see x_t = s x with x = x_0 + sigma eps, our noisy sample, and differ in two independent ways: what they
predict (:class:`AdaptedDenoiser`), and which t and s they expect at sigma (:class:`DiscreteTime`,
:class:`ContinuousTime`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from elucidiff.denoisers.preconditioned import floating_type
from elucidiff.denoisers.shapes import label_rows, noise_levels
from elucidiff.design.schedules import Schedule
from elucidiff.design.values import as_tensor, per_sample

Prediction = Literal["x0", "epsilon", "v", "flow"]


class Time(Protocol):
    """How a network counts time: the ``t`` it is told, and the scaling ``s`` of what it sees, at each noise level."""

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

    The network is told the integer index j of the nearest noise level (DDPM, improved DDPM, guided diffusion,
    Stable Diffusion). Ho et al. 2020, Eq. 4; Karras et al. 2022, Appendix C.3.

    A table may end in pure noise, alpha-bar 0 (zero terminal SNR, Lin et al. 2023, arXiv 2305.08891). Its last noise
    level is infinite, and a finite one is never rounded to it; see :class:`AdaptedDenoiser` for what D is there.

    Args:
        alpha_bars: the table (M,), strictly decreasing, inside (0, 1); the last may be 0.

    Raises:
        ValueError: the table is empty, not one-dimensional, not decreasing, leaves (0, 1), or has nothing but 0.
    """

    alpha_bars: Tensor
    sigmas: Tensor = field(init=False)

    def __post_init__(self) -> None:
        table = torch.as_tensor(self.alpha_bars, dtype=torch.float64).cpu()
        if table.ndim != 1 or not len(table):
            raise ValueError(f"alpha_bars must be a table (M,), not of shape {tuple(table.shape)}")
        if not bool(((table >= 0) & (table < 1)).all() and (table.diff() < 0).all()):
            raise ValueError("alpha_bars must decrease and lie strictly between 0 and 1, but for a last one of 0")
        if float(table[0]) == 0:
            raise ValueError("alpha_bars is 0 alone: a table needs a noise level that is finite")
        object.__setattr__(self, "sigmas", ((1 - table) / table).sqrt())

    @property
    def sigma_min(self) -> float:
        """Smallest noise level of the table."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """Largest noise level of the table; infinite if it ends in pure noise."""
        return float(self.sigmas[-1])

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """The nearest noise level of the table, in the type of ``sigma``."""
        sigma = as_tensor(sigma)
        return self.sigmas.to(sigma.device, sigma.dtype)[self._index(sigma)]

    def at(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The index of the nearest noise level, and 1 / sqrt(1 + sigma^2): its scaling carried on between levels."""
        return self._index(sigma), (1 + sigma.square()).rsqrt()

    def _index(self, sigma: Tensor) -> Tensor:
        table = self.sigmas.to(sigma.device, sigma.dtype)
        # Far beyond the table, differences from all of its levels would be rounded to one number.
        highest = float(self.sigmas[self.sigmas.isfinite()][-1])
        nearest = (sigma.clamp(max=highest)[..., None] - table).abs().argmin(-1)
        return torch.where(sigma.isinf(), len(table) - 1, nearest)


@dataclass(frozen=True)
class ContinuousTime:
    """Time and scaling of a schedule: the network is told ``factor`` t(sigma) and sees s(t) x.

    Args:
        schedule: for example VP() for a network of Song et al. 2021, or Flow() for rectified flow (t = sigma /
            (1 + sigma), s = 1 - t).
        factor: what the network multiplies t by; 999 in Song et al.'s code, 1000 in many latent flow models.
        sigma_min: smallest noise level that the network was trained for.
        sigma_max: largest noise level that the network was trained for.
    """

    schedule: Schedule
    factor: float = 1.0
    sigma_min: float = 0.0
    sigma_max: float = math.inf

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """``sigma`` itself: time is continuous."""
        return as_tensor(sigma)

    def at(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """``factor`` t(sigma) and s(t(sigma))."""
        t = self.schedule.time(sigma)
        return self.factor * t, self.schedule.scale(t)


class AdaptedDenoiser(nn.Module):
    """D(x; sigma) from a network F(s x; t) that predicts something else than the clean sample x_0.

    With x = x_0 + sigma eps:

    ========= =================== ===================================================================== ==============
    predicts  F estimates         D(x; sigma)                                                           at infinity
    ========= =================== ===================================================================== ==============
    x0        x_0                 F                                                                     F
    epsilon   eps                 x - sigma F (Ho et al. 2020)                                          none
    v         s (eps - sigma x_0) (x - sigma F / s) / (1 + sigma^2) (Salimans and Ho 2022)              -F
    flow      eps - x_0           (x - sigma F) / (1 + sigma) (Lipman et al. 2023, Liu et al. 2023)     x - F
    ========= =================== ===================================================================== ==============

    At sigma = 0 it is x, whatever F says. Where the network's time reaches pure noise (rectified flow at t = 1, a
    table with zero terminal SNR), sigma may be infinite. There x stands for the noise eps itself, of unit variance,
    which is what the network sees too.

    Args:
        network: called as ``network(x_t, t)``, or ``network(x_t, t, labels)`` where labels are given, with t of shape
            (B,): integers for discrete time, else floating point. Wrap it in a lambda where it wants other arguments.
            If it returns 2 C channels (a learned variance), the first C are used. A module that is given itself moves
            with this one (``.to(device)``); one inside a lambda does not.
        predicts: what F estimates, from the table.
        time: how the network counts time.
        label_dim: number of classes; labels then reach the network as rows (B, label_dim). 0: it takes no labels.
        dtype: floating type that the network sees; by default that of its parameters, float32 for a callable without.

    Raises:
        ValueError: ``predicts`` is none of the four.
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        predicts: Prediction,
        time: Time,
        *,
        label_dim: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if predicts not in get_args(Prediction):
            raise ValueError(f"predicts is {predicts!r}, but must be one of {', '.join(get_args(Prediction))}")
        self.network = network
        self.predicts = predicts
        self.time = time
        self.label_dim = label_dim
        self.dtype = dtype
        # The noise cannot be told from x where x is the noise, so there is nothing to learn from an epsilon there.
        self._endless = predicts != "epsilon" and _reaches_infinity(time)

    @property
    def sigma_min(self) -> float:
        """Smallest supported noise level."""
        return self.time.sigma_min

    @property
    def sigma_max(self) -> float:
        """Largest supported noise level."""
        return self.time.sigma_max

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """The nearest supported noise level, in the type of ``sigma``."""
        return self.time.round_sigma(sigma)

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """The expected clean sample given the noisy sample ``x`` at noise level ``sigma``.

        Args:
            x: noisy samples (B, C, *spatial), unscaled: clean sample plus sigma times unit noise.
            sigma: noise level in units of the data, a float, () or (B,); at infinity ``x`` is unit noise.
            labels: class indices (B,), or rows (B, label_dim); None calls the network without labels.

        Returns:
            D(x; sigma) in the type of ``x``; the network sees ``dtype``.

        Raises:
            TypeError: ``x`` is no tensor, or ``sigma`` no number.
            ValueError: the labels or noise levels do not fit the batch or the network; a noise level is negative,
                not a number, or infinite where there is no answer.
        """
        levels = noise_levels(sigma, x, may_be_infinite=self._endless).expand(len(x))
        t, scale = self.time.at(levels)
        noise_only = per_sample(levels.isinf(), x)
        # Where there is nothing but noise, formulas get a level at which they are finite, and are not used.
        sigma = torch.where(noise_only, 1.0, per_sample(levels, x)).to(x.dtype)
        s = torch.where(noise_only, 1.0, per_sample(scale, x)).to(x.dtype)
        dtype = floating_type(self.network) if self.dtype is None else self.dtype
        arguments = [(s * x).to(dtype), t.to(dtype) if t.is_floating_point() else t]
        if labels is not None:
            arguments.append(label_rows(labels, self.label_dim).to(x.device, dtype))
        output = self.network(*arguments)[:, : x.shape[1]].to(x.dtype)
        denoised, from_noise = self._denoised(x, sigma, s, output)
        return torch.where(sigma == 0, x, torch.where(noise_only, from_noise, denoised))

    def _denoised(self, x: Tensor, sigma: Tensor, s: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """D at finite noise levels, and at an infinite one; see the table above."""
        match self.predicts:
            case "epsilon":
                return x - sigma * output, output  # which noise_levels refuses
            case "v":
                return (x - sigma * output / s) / (1 + sigma.square()), -output
            case "flow":
                return (x - sigma * output) / (1 + sigma), x - output
            case _:
                return output, output


def _reaches_infinity(time: Time) -> bool:
    """Whether the network can be told of an infinite noise level."""
    if not math.isinf(time.sigma_max):
        return False
    t, _ = time.at(torch.tensor([math.inf], dtype=torch.float64))
    return bool(t.isfinite().all())
