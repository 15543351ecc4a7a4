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

    Args:
        alpha_bars: the table (M,), strictly decreasing, inside (0, 1).

    Raises:
        ValueError: the table is empty, not one-dimensional, not decreasing, or leaves (0, 1).
    """

    alpha_bars: Tensor
    sigmas: Tensor = field(init=False)

    def __post_init__(self) -> None:
        table = torch.as_tensor(self.alpha_bars, dtype=torch.float64).cpu()
        if table.ndim != 1 or not len(table):
            raise ValueError(f"alpha_bars must be a table (M,), not of shape {tuple(table.shape)}")
        if not bool(((table > 0) & (table < 1)).all() and (table.diff() < 0).all()):
            raise ValueError("alpha_bars must decrease and lie strictly between 0 and 1")
        object.__setattr__(self, "sigmas", ((1 - table) / table).sqrt())

    @property
    def sigma_min(self) -> float:
        """Smallest noise level of the table."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """Largest noise level of the table."""
        return float(self.sigmas[-1])

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """The nearest noise level of the table, in the type of ``sigma``."""
        sigma = as_tensor(sigma)
        return self.sigmas.to(sigma.device, sigma.dtype)[self._index(sigma)]

    def at(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The index of the nearest noise level, and 1 / sqrt(1 + sigma^2): its scaling carried on between levels."""
        return self._index(sigma), (1 + sigma.square()).rsqrt()

    def _index(self, sigma: Tensor) -> Tensor:
        return (sigma[..., None] - self.sigmas.to(sigma.device, sigma.dtype)).abs().argmin(-1)


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

    ========= =============================== ==================================================================
    predicts  F estimates                     D(x; sigma)
    ========= =============================== ==================================================================
    x0        x_0                             F
    epsilon   eps                             x - sigma F (Ho et al. 2020)
    v         s (eps - sigma x_0)             (x - sigma F / s) / (1 + sigma^2) (Salimans and Ho 2022)
    flow      eps - x_0                       (x - sigma F) / (1 + sigma) (Lipman et al. 2023, Liu et al. 2023)
    ========= =============================== ==================================================================

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
            sigma: noise level in units of the data, a float, () or (B,).
            labels: class indices (B,), or rows (B, label_dim); None calls the network without labels.

        Returns:
            D(x; sigma) in the type of ``x``; the network sees ``dtype``.

        Raises:
            ValueError: the labels or noise levels do not fit the batch or the network.
        """
        levels = noise_levels(sigma, x).expand(len(x))
        t, scale = self.time.at(levels)
        sigma, s = per_sample(levels, x), per_sample(scale, x)
        dtype = floating_type(self.network) if self.dtype is None else self.dtype
        arguments = [(s * x).to(dtype), t.to(dtype) if t.is_floating_point() else t]
        if labels is not None:
            arguments.append(label_rows(labels, self.label_dim).to(x.device, dtype))
        output = self.network(*arguments)[:, : x.shape[1]].to(x.dtype)
        if self.predicts == "epsilon":
            return x - sigma * output
        if self.predicts == "v":
            return (x - sigma * output / s) / (1 + sigma.square())
        if self.predicts == "flow":
            return (x - sigma * output) / (1 + sigma)
        return output
