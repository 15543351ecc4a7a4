"""p_train(sigma): where training looks (Karras et al. 2022, Table 1, row "Noise distribution").

Each distribution is a base draw, standard normal or uniform, and the function that turns it into noise levels, so
that whoever owns the random numbers can make the draw.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.design.noise_tables import check_iddpm, iddpm_levels
from elucidiff.design.schedules import VP
from elucidiff.design.values import Value, as_tensor, check_positive, check_range
from elucidiff.parts import part


class TrainingNoise(ABC):
    """A distribution of noise levels."""

    def base(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Draw the base: uniform on [0, 1) unless stated otherwise.

        Args:
            shape: shape of the draw, for example ``(B,)``.
            generator: source of the draw, on ``device``; None is PyTorch's own.
            device: where the draw is made and stays.
            dtype: its type.
        """
        return torch.rand(tuple(shape), generator=generator, device=device, dtype=dtype)

    @abstractmethod
    def from_base(self, z: Value) -> Tensor:
        """Noise levels, in units of the data, from base draws of any shape."""

    def sample(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw noise levels of any shape: :meth:`from_base` of a :meth:`base`."""
        return self.from_base(self.base(shape, generator, device))

    @abstractmethod
    def log_density(self, sigma: Value) -> Tensor:
        """Logarithm of the probability density of ln(sigma) at ``sigma``; -infinity where training never looks."""


@part("training noise", "log_normal")
@dataclass(frozen=True)
class LogNormal(TrainingNoise):
    """ln(sigma) ~ N(p_mean, p_std^2), from a standard normal base (EDM).

    Args:
        p_mean: mean of ln(sigma).
        p_std: standard deviation of ln(sigma).

    Raises:
        ValueError: p_mean is not finite, or p_std is not positive and finite.
    """

    p_mean: float
    p_std: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.p_mean):
            raise ValueError(f"p_mean is {self.p_mean}: it must be finite")
        check_positive(p_std=self.p_std)

    def base(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Draw the base, here standard normal."""
        return torch.randn(tuple(shape), generator=generator, device=device, dtype=dtype)

    def from_base(self, z: Value) -> Tensor:
        """exp(p_mean + p_std z)."""
        return (as_tensor(z) * self.p_std + self.p_mean).exp()

    def log_density(self, sigma: Value) -> Tensor:
        """-(ln sigma - p_mean)^2 / (2 p_std^2) - ln(p_std sqrt(2 pi))."""
        z = (as_tensor(sigma).log() - self.p_mean) / self.p_std
        return -z.square() / 2 - math.log(self.p_std * math.sqrt(2 * math.pi))


@part("training noise", "log_uniform")
@dataclass(frozen=True)
class LogUniform(TrainingNoise):
    """ln(sigma) ~ U(ln sigma_min, ln sigma_max), from a uniform base (VE).

    Args:
        sigma_min: smallest noise level.
        sigma_max: largest noise level.

    Raises:
        ValueError: not 0 < sigma_min < sigma_max < infinity.
    """

    sigma_min: float
    sigma_max: float

    def __post_init__(self) -> None:
        check_range(self.sigma_min, self.sigma_max)

    def from_base(self, z: Value) -> Tensor:
        """sigma_min (sigma_max / sigma_min)^z."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** as_tensor(z)

    def log_density(self, sigma: Value) -> Tensor:
        """-ln ln(sigma_max / sigma_min) within the range."""
        sigma = as_tensor(sigma)
        inside = (sigma >= self.sigma_min) & (sigma <= self.sigma_max)
        level = -math.log(math.log(self.sigma_max / self.sigma_min))
        return torch.where(inside, torch.full_like(sigma, level), -math.inf)


@part("training noise", "uniform_time")
@dataclass(frozen=True)
class UniformTime(TrainingNoise):
    """t ~ U(epsilon_t, 1) and sigma = sigma(t) of the VP schedule, from a uniform base.

    Args:
        schedule: sigma(t), a VP schedule.
        epsilon_t: smallest time.

    Raises:
        ValueError: epsilon_t does not lie between 0 and 1.
    """

    schedule: VP
    epsilon_t: float

    def __post_init__(self) -> None:
        if not 0 < self.epsilon_t < 1:
            raise ValueError(f"epsilon_t is {self.epsilon_t}: it must lie between 0 and 1")

    def from_base(self, z: Value) -> Tensor:
        """sigma(1 + z (epsilon_t - 1))."""
        return self.schedule.sigma(1 + as_tensor(z) * (self.epsilon_t - 1))

    def log_density(self, sigma: Value) -> Tensor:
        """ln of dt / d ln(sigma) / (1 - epsilon_t) within the range, with dt / d ln(sigma) = sigma / sigma'(t)."""
        sigma = as_tensor(sigma)
        t = self.schedule.time(sigma)
        density = sigma / self.schedule.sigma_dot(t) / (1 - self.epsilon_t)
        return torch.where((t >= self.epsilon_t) & (t <= 1), density.log(), -math.inf)


@part("training noise", "table")
@dataclass(frozen=True)
class Table(TrainingNoise):
    """sigma = u_j with j ~ U{0 ... M - 1} from the iDDPM table, from a uniform base.

    Args:
        m: number of noise levels M; see :func:`elucidiff.design.noise_tables.iddpm_levels`.
        c1: bound of the table.
        c2: offset of the table.

    Raises:
        ValueError: there is no such table; see :func:`elucidiff.design.noise_tables.iddpm_levels`.
    """

    m: int
    c1: float
    c2: float

    def __post_init__(self) -> None:
        check_iddpm(self.m, self.c1, self.c2)

    def from_base(self, z: Value) -> Tensor:
        """u_j with j = floor(M z)."""
        z = as_tensor(z)
        index = (z * self.m).long().clamp(0, self.m - 1)
        return self._levels(z.device)[index].to(z.dtype)

    def log_density(self, sigma: Value) -> Tensor:
        """The mass 1 / M of each level, spread evenly over ln(sigma) to half-way to its neighbours."""
        sigma = as_tensor(sigma)
        logs = self._levels(sigma.device).to(sigma.dtype).log().flip(0)
        middles = (logs[1:] + logs[:-1]) / 2
        edges = torch.cat([2 * logs[:1] - middles[:1], middles, 2 * logs[-1:] - middles[-1:]])
        at = sigma.log().contiguous()
        cell = torch.searchsorted(edges, at, right=True) - 1
        density = -(self.m * edges.diff()).log()
        return torch.where((cell >= 0) & (cell < self.m), density[cell.clamp(0, self.m - 1)], -math.inf)

    def _levels(self, device: torch.device) -> Tensor:
        return iddpm_levels(self.m, self.c1, self.c2, dtype=torch.float32, device=device)[:-1]
