"""Preconditioning: how a raw network F becomes a denoiser.

D(x; sigma) = c_skip(sigma) x + c_out(sigma) F(c_in(sigma) x; c_noise(sigma)) (Karras et al. 2022, Eq. 7 and Table 1).

Every coefficient takes noise levels in units of the data, a float or a tensor of any shape, and keeps their shape,
type and device. Nothing here holds a tensor, so a preconditioning belongs to no device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.design import schedules
from elucidiff.design.noise_tables import check_iddpm, iddpm_levels
from elucidiff.design.values import Value, as_tensor, check_positive, check_range
from elucidiff.parts import part

__all__ = ["EDM", "IDDPM", "VE", "VP", "Preconditioning"]


class Preconditioning(ABC):
    """The four coefficients of Karras et al. 2022, Eq. 7, and the noise levels they are meant for.

    >>> import elucidiff as ed
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class NoiseNetwork(ed.preconditioning.Preconditioning):
    ...     sigma_min: float = 0.002
    ...     sigma_max: float = 80.0
    ...
    ...     def c_out(self, sigma):
    ...         return -torch.as_tensor(sigma)
    ...
    ...     def c_in(self, sigma):
    ...         return 1 / (1 + torch.as_tensor(sigma) ** 2).sqrt()
    ...
    ...     def c_noise(self, sigma):
    ...         return torch.as_tensor(sigma).log()
    ...
    >>> denoiser = ed.Denoiser(lambda x, c_noise: 0 * x, NoiseNetwork())
    >>> float(denoiser(torch.ones(1, 1), 2.0))  # c_skip is 1: with F = 0 it is x
    1.0
    """

    @property
    @abstractmethod
    def sigma_min(self) -> float:
        """Smallest supported noise level."""

    @property
    @abstractmethod
    def sigma_max(self) -> float:
        """Largest supported noise level; may be infinite."""

    def c_skip(self, sigma: Value) -> Tensor:
        """Factor of the noisy sample in the output; 1 unless stated otherwise."""
        return torch.ones_like(as_tensor(sigma))

    @abstractmethod
    def c_out(self, sigma: Value) -> Tensor:
        """Factor of the network's output."""

    @abstractmethod
    def c_in(self, sigma: Value) -> Tensor:
        """Factor of the network's input."""

    @abstractmethod
    def c_noise(self, sigma: Value) -> Tensor:
        """The input that tells the network the noise level."""

    def round_sigma(self, sigma: Value) -> Tensor:
        """The nearest noise level that the network was trained for: any, unless stated otherwise."""
        return as_tensor(sigma)


@part("preconditioning", "edm")
@dataclass(frozen=True)
class EDM(Preconditioning):
    """Coefficients derived from unit variance of the network's input and target (Karras et al. 2022, App. B.6).

    c_skip = sd^2 / (sigma^2 + sd^2), c_out = sigma sd / sqrt(sigma^2 + sd^2), c_in = 1 / sqrt(sigma^2 + sd^2),
    c_noise = ln(sigma) / 4, with sd = sigma_data.

    Args:
        sigma_data: standard deviation of the data.
        sigma_min: smallest supported noise level.
        sigma_max: largest supported noise level.

    Raises:
        ValueError: sigma_data is not positive and finite, or not 0 <= sigma_min < sigma_max.

    >>> import elucidiff as ed
    >>> edm = ed.preconditioning.EDM(sigma_data=0.5)
    >>> float(edm.c_skip(0.5)), float(edm.c_noise(1.0))
    (0.5, 0.0)
    """

    sigma_data: float = 0.5
    sigma_min: float = 0.0
    sigma_max: float = float("inf")

    def __post_init__(self) -> None:
        check_positive(sigma_data=self.sigma_data)
        if not 0 <= self.sigma_min < self.sigma_max:
            raise ValueError(
                f"sigma_min {self.sigma_min} and sigma_max {self.sigma_max} are no range: "
                "use 0 <= sigma_min < sigma_max"
            )

    def c_skip(self, sigma: Value) -> Tensor:
        """sd^2 / (sigma^2 + sd^2)."""
        return self.sigma_data**2 / (as_tensor(sigma).square() + self.sigma_data**2)

    def c_out(self, sigma: Value) -> Tensor:
        """sigma sd / sqrt(sigma^2 + sd^2)."""
        sigma = as_tensor(sigma)
        return sigma * self.sigma_data / (sigma.square() + self.sigma_data**2).sqrt()

    def c_in(self, sigma: Value) -> Tensor:
        """1 / sqrt(sigma^2 + sd^2)."""
        return 1 / (as_tensor(sigma).square() + self.sigma_data**2).sqrt()

    def c_noise(self, sigma: Value) -> Tensor:
        """ln(sigma) / 4."""
        return as_tensor(sigma).log() / 4


@part("preconditioning", "vp")
@dataclass(frozen=True)
class VP(Preconditioning):
    """Coefficients of the VP networks of Song et al. 2021, which predict the unit noise (Table 1, column "VP").

    c_skip = 1, c_out = -sigma, c_in = 1 / sqrt(sigma^2 + 1), c_noise = (M - 1) t(sigma) with t(sigma) the time of
    :class:`elucidiff.design.schedules.VP`. The supported range is sigma(epsilon_t) to sigma(1) in float32, as in
    training.

    Args:
        beta_d: slope of beta(t).
        beta_min: beta(0).
        m: number of time steps M of the original discrete formulation.
        epsilon_t: smallest time seen in training.

    Raises:
        ValueError: bad beta values (see the schedule), m < 2, or epsilon_t not between 0 and 1.

    >>> import elucidiff as ed
    >>> preconditioning = ed.preconditioning.VP()
    >>> float(preconditioning.c_out(2.0)), round(float(preconditioning.c_in(1.0)), 4)  # 1 / sqrt(2)
    (-2.0, 0.7071)
    """

    beta_d: float = 19.9
    beta_min: float = 0.1
    m: int = 1000
    epsilon_t: float = 1e-5

    def __post_init__(self) -> None:
        schedules.VP(self.beta_d, self.beta_min).check_rising()
        if self.m < 2:
            raise ValueError(f"m is {self.m}: VP preconditioning needs at least 2 time steps")
        if not 0 < self.epsilon_t < 1:
            raise ValueError(f"epsilon_t is {self.epsilon_t}: it must lie between 0 and 1")

    @property
    def sigma_min(self) -> float:
        """sigma(epsilon_t)."""
        return self._level(self.epsilon_t)

    @property
    def sigma_max(self) -> float:
        """sigma(1)."""
        return self._level(1.0)

    def c_out(self, sigma: Value) -> Tensor:
        """-sigma."""
        return -as_tensor(sigma)

    def c_in(self, sigma: Value) -> Tensor:
        """1 / sqrt(sigma^2 + 1)."""
        return 1 / (as_tensor(sigma).square() + 1).sqrt()

    def c_noise(self, sigma: Value) -> Tensor:
        """(M - 1) t(sigma)."""
        return (self.m - 1) * schedules.VP(self.beta_d, self.beta_min).time(sigma)

    def _level(self, t: float) -> float:
        return schedules.VP(self.beta_d, self.beta_min).sigma(torch.tensor(t, dtype=torch.float32)).item()


@part("preconditioning", "ve")
@dataclass(frozen=True)
class VE(Preconditioning):
    """Coefficients of the VE networks of Song et al. 2021 (Table 1, column "VE").

    c_skip = 1, c_out = sigma, c_in = 1, c_noise = ln(sigma / 2).

    Args:
        sigma_min: smallest noise level seen in training.
        sigma_max: largest noise level seen in training.

    Raises:
        ValueError: not 0 < sigma_min < sigma_max < infinity.

    >>> import elucidiff as ed
    >>> float(ed.preconditioning.VE().c_out(3.0))
    3.0
    """

    sigma_min: float = 0.02
    sigma_max: float = 100.0

    def __post_init__(self) -> None:
        check_range(self.sigma_min, self.sigma_max)

    def c_out(self, sigma: Value) -> Tensor:
        """sigma."""
        return as_tensor(sigma)

    def c_in(self, sigma: Value) -> Tensor:
        """1."""
        return torch.ones_like(as_tensor(sigma))

    def c_noise(self, sigma: Value) -> Tensor:
        """ln(sigma / 2)."""
        return (0.5 * as_tensor(sigma)).log()


@part("preconditioning", "iddpm")
@dataclass(frozen=True)
class IDDPM(Preconditioning):
    """Coefficients of the iDDPM and ADM networks, which know only a table u_0 > ... > u_M = 0 of noise levels.

    c_skip = 1, c_out = -sigma, c_in = 1 / sqrt(sigma^2 + 1), c_noise = M - 1 - argmin_j |u_j - sigma|. The table is
    that of :func:`.noise_tables.iddpm_levels`, in float32. The network may return 2 C channels, of which
    the first C are F (Karras et al. 2022, App. C.3).

    Args:
        m: number of noise levels M.
        c1: bound of the table.
        c2: offset of the table.

    Raises:
        ValueError: there is no such table.

    >>> import elucidiff as ed
    >>> preconditioning = ed.preconditioning.IDDPM()
    >>> float(preconditioning.c_out(2.0)), int(preconditioning.c_noise(preconditioning.sigma_max))
    (-2.0, 999)
    >>> float(preconditioning.round_sigma(1.0)) == 1.0  # only levels of the table
    False
    """

    m: int = 1000
    c1: float = 0.001
    c2: float = 0.008

    def __post_init__(self) -> None:
        check_iddpm(self.m, self.c1, self.c2)

    @property
    def sigma_min(self) -> float:
        """u_(M-1), the smallest level above 0."""
        return self._table(torch.device("cpu"))[self.m - 1].item()

    @property
    def sigma_max(self) -> float:
        """u_0."""
        return self._table(torch.device("cpu"))[0].item()

    def c_out(self, sigma: Value) -> Tensor:
        """-sigma."""
        return -as_tensor(sigma)

    def c_in(self, sigma: Value) -> Tensor:
        """1 / sqrt(sigma^2 + 1)."""
        return 1 / (as_tensor(sigma).square() + 1).sqrt()

    def c_noise(self, sigma: Value) -> Tensor:
        """M - 1 - argmin_j |u_j - sigma|."""
        sigma = as_tensor(sigma)
        return (self.m - 1 - self.nearest(sigma)).to(sigma.dtype)

    def round_sigma(self, sigma: Value) -> Tensor:
        """The nearest entry of the table, in the type of ``sigma``."""
        sigma = as_tensor(sigma)
        return self._table(sigma.device)[self.nearest(sigma)].to(sigma.dtype)

    def nearest(self, sigma: Value) -> Tensor:
        """The index j of the table entry nearest to ``sigma``.

        Distances are float32 and come out of a matrix product, |a - b|^2 = |a|^2 - 2 a b + |b|^2, as in the paper's
        experiments: close to the middle between two entries the farther one may win.
        """
        sigma = as_tensor(sigma)
        levels = sigma.to(torch.float32).reshape(-1, 1)
        table = self._table(sigma.device).reshape(-1, 1)
        distances = torch.cdist(levels, table, compute_mode="use_mm_for_euclid_dist")
        return distances.argmin(dim=1).reshape(sigma.shape)

    def _table(self, device: torch.device) -> Tensor:
        return iddpm_levels(self.m, self.c1, self.c2, dtype=torch.float32, device=device)
