"""The training objectives of Table 1: p_train(sigma) and lambda(sigma) (Karras et al. 2022, Eq. 8 and Table 1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elucidiff.design.objectives.base import Objective
from elucidiff.design.schedules import VP as VPSchedule
from elucidiff.design.training_noise import LogNormal, LogUniform, Table, UniformTime
from elucidiff.design.values import Value, as_tensor, check_positive
from elucidiff.parts import part, setting


@part("objective", "edm")
@dataclass(frozen=True)
class EDM(Objective):
    """ln(sigma) ~ N(p_mean, p_std^2) and lambda = (sigma^2 + sd^2) / (sigma sd)^2 with sd = sigma_data.

    lambda is 1 / c_out^2 of :class:`elucidiff.design.preconditioning.EDM`: the network's own error weighs the same at
    every noise level (Karras et al. 2022, Table 1, column "Ours", and App. B.6).

    Args:
        p_mean: mean of ln(sigma).
        p_std: standard deviation of ln(sigma).
        sigma_data: standard deviation of the data.

    Raises:
        ValueError: p_mean is not finite, or p_std or sigma_data is not positive and finite.

    >>> import elucidiff as ed
    >>> objective = ed.objectives.EDM(sigma_data=0.5)
    >>> float(objective.weight(0.5)), objective.noise.sample((4,)).shape
    (8.0, torch.Size([4]))
    """

    p_mean: float = setting(-1.2, search=(-2.5, 0.5))
    p_std: float = setting(1.2, search=(0.6, 2.0))
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        LogNormal(self.p_mean, self.p_std)  # checks them
        check_positive(sigma_data=self.sigma_data)

    @property
    def noise(self) -> LogNormal:
        """ln(sigma) ~ N(p_mean, p_std^2)."""
        return LogNormal(self.p_mean, self.p_std)

    def weight(self, sigma: Value) -> Tensor:
        """(sigma^2 + sd^2) / (sigma sd)^2."""
        sigma = as_tensor(sigma)
        return (sigma.square() + self.sigma_data**2) / (sigma * self.sigma_data).square()


@part("objective", "vp")
@dataclass(frozen=True)
class VP(Objective):
    """t ~ U(epsilon_t, 1), sigma = sigma(t), lambda = 1 / sigma^2 (Song et al. 2021; Table 1, column "VP").

    Args:
        beta_d: slope of beta(t).
        beta_min: beta(0).
        epsilon_t: smallest time.

    Raises:
        ValueError: bad beta values (see the schedule), or epsilon_t not between 0 and 1.

    >>> import elucidiff as ed
    >>> float(ed.objectives.VP().weight(0.5))
    4.0
    """

    beta_d: float = 19.9
    beta_min: float = 0.1
    epsilon_t: float = 1e-5

    def __post_init__(self) -> None:
        VPSchedule(self.beta_d, self.beta_min).check_rising()
        UniformTime(VPSchedule(self.beta_d, self.beta_min), self.epsilon_t)  # checks the time

    @property
    def noise(self) -> UniformTime:
        """sigma(t) with t ~ U(epsilon_t, 1)."""
        return UniformTime(VPSchedule(self.beta_d, self.beta_min), self.epsilon_t)


@part("objective", "ve")
@dataclass(frozen=True)
class VE(Objective):
    """ln(sigma) ~ U(ln sigma_min, ln sigma_max), lambda = 1 / sigma^2 (Song et al. 2021; Table 1, column "VE").

    Args:
        sigma_min: smallest noise level.
        sigma_max: largest noise level.

    Raises:
        ValueError: not 0 < sigma_min < sigma_max < infinity.

    >>> import elucidiff as ed
    >>> float(ed.objectives.VE().weight(2.0))
    0.25
    """

    sigma_min: float = 0.02
    sigma_max: float = 100.0

    def __post_init__(self) -> None:
        LogUniform(self.sigma_min, self.sigma_max)  # checks them

    @property
    def noise(self) -> LogUniform:
        """ln(sigma) ~ U(ln sigma_min, ln sigma_max)."""
        return LogUniform(self.sigma_min, self.sigma_max)


@part("objective", "iddpm")
@dataclass(frozen=True)
class IDDPM(Objective):
    """sigma = u_j with j ~ U{0 ... M - 1}, lambda = 1 / sigma^2 (Table 1, column "iDDPM + DDIM").

    Args:
        m: number of noise levels M; see :func:`elucidiff.design.noise_tables.noise_levels`.
        c1: bound of the table.
        c2: offset of the table.

    Raises:
        ValueError: there is no such table.

    >>> import elucidiff as ed
    >>> import torch
    >>> objective = ed.objectives.IDDPM()
    >>> sigma = objective.noise.sample((1000,), torch.Generator().manual_seed(0))
    >>> sigma.shape, bool(objective.noise.from_base(torch.tensor(0.0)) > 100), float(objective.weight(0.5))
    (torch.Size([1000]), True, 4.0)
    """

    m: int = 1000
    c1: float = 0.001
    c2: float = 0.008

    def __post_init__(self) -> None:
        Table(self.m, self.c1, self.c2)  # checks them

    @property
    def noise(self) -> Table:
        """u_j with j ~ U{0 ... M - 1}."""
        return Table(self.m, self.c1, self.c2)
