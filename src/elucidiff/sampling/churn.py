"""Noise that is added in the midst of a run: the churn of Karras et al. 2022, Algorithm 2, and restarts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.design.steps import karras
from elucidiff.design.values import check_integer, check_number, check_positive
from elucidiff.parts import part, setting


@part("churn", "churn")
@dataclass(frozen=True)
class Churn:
    """Noise that is added before each step: S_churn, S_tmin, S_tmax, S_noise of Karras et al. 2022, Algorithm 2.

    A step that starts at a noise level within [sigma_min, sigma_max] is first raised by a factor of 1 + gamma, with

        gamma = min(amount / N, sqrt(2) - 1).

    The range keeps noise away from levels where it harms colours or detail; the clip adds no more noise than is
    there; noise_scale slightly above 1 makes up for detail that a trained network removes with the noise.

    Args:
        amount: S_churn >= 0, spread over the N steps; 0 is the deterministic sampler.
        sigma_min: S_tmin, the lowest noise level that is raised (included).
        sigma_max: S_tmax, the highest noise level that is raised (included).
        noise_scale: S_noise > 0, the standard deviation of the new noise.

    Raises:
        TypeError: a value is no number.
        ValueError: a value is out of its range.

    >>> import elucidiff as ed
    >>> ed.Sampler(churn=ed.Churn(30, sigma_min=0.05, sigma_max=50, noise_scale=1.003)).to_text()
    'churn=churn:amount=30,sigma_min=0.05,sigma_max=50,noise_scale=1.003'
    """

    amount: float = setting(0.0, search=(0.0, 100.0))
    # Below the lowest noise level of a run all values are 0, which has no logarithm.
    sigma_min: float = setting(0.0, search=(0.001, 10.0), log=True)
    sigma_max: float = setting(math.inf, search=(0.2, 80.0), log=True)
    noise_scale: float = setting(1.0, search=(1.0, 1.01))

    def __post_init__(self) -> None:
        check_number(**vars(self))
        if not 0 <= self.amount < math.inf:
            raise ValueError(f"churn amount is {self.amount}, but must be a finite number >= 0")
        if not 0 <= self.sigma_min <= self.sigma_max:
            raise ValueError(
                f"churn range is {self.sigma_min} to {self.sigma_max}, but must satisfy 0 <= sigma_min <= sigma_max"
            )
        if not 0 < self.noise_scale < math.inf:
            raise ValueError(f"churn noise_scale is {self.noise_scale}, but must be a finite number > 0")

    def gamma(self, sigma: Tensor, n: int) -> Tensor:
        """gamma_i of Algorithm 2 for noise levels ``sigma`` in a run of ``n`` steps."""
        raised = (sigma >= self.sigma_min) & (sigma <= self.sigma_max)
        return torch.zeros_like(sigma).masked_fill(raised, min(self.amount / n, math.sqrt(2) - 1))


@part("restart", "restart")
@dataclass(frozen=True)
class Restart:
    """Restarts: from ``sigma_min`` a run is taken back up to ``sigma_max`` by fresh noise, and comes down again.

    Going up adds noise of standard deviation sqrt(sigma_max^2 - sigma_min^2) at once, which makes up for errors of
    all steps before; coming down follows the ODE with few errors of its own (Xu et al. 2023, Algorithm 2).

    Args:
        repeats: how many times, K.
        sigma_min: where it goes up: the noise level of the run that is nearest, on a logarithmic scale.
        sigma_max: how far it goes up.
        steps: steps on each way down, spaced as karras steps are.
        noise_scale: standard deviation of the noise, S_noise.

    Raises:
        TypeError: a value is no number.
        ValueError: a value is out of its range.

    >>> import elucidiff as ed
    >>> restart = ed.Restart(repeats=2, sigma_min=0.05, sigma_max=1.0, steps=2)
    >>> sampler = ed.Sampler(solver="euler", steps=ed.steps.Karras(4), restarts=restart)
    >>> denoiser = ed.ideal.DataPosterior(torch.tensor([[-1.0], [1.0]]))
    >>> sampler.run(denoiser, seeds=range(3)).nfe  # 4 steps, and 2 on each of two ways down
    8
    """

    repeats: int = 0
    sigma_min: float = 0.06
    sigma_max: float = 0.3
    steps: int = 3
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        check_integer(repeats=self.repeats, steps=self.steps)
        check_number(sigma_min=self.sigma_min, sigma_max=self.sigma_max, noise_scale=self.noise_scale)
        if self.repeats < 0:
            raise ValueError(f"restarts is {self.repeats}, but must be at least 0")
        if self.steps < 1:
            raise ValueError(f"steps of a restart is {self.steps}, but must be at least 1")
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"restart range is {self.sigma_min} to {self.sigma_max}, but must satisfy 0 < sigma_min < sigma_max"
            )
        check_positive(noise_scale=self.noise_scale)

    def bottom(self, sigmas: Tensor) -> int:
        """The index of the step before which to restart, in a run with noise levels ``sigmas`` (N + 1,).

        Raises:
            ValueError: that is the run's highest noise level, or not below ``sigma_max``.
        """
        index = int((sigmas[:-1].log() - math.log(self.sigma_min)).abs().argmin())
        nearest = float(sigmas[index])
        if index == 0 or nearest >= self.sigma_max:
            raise ValueError(
                f"a restart from {self.sigma_min:g} to {self.sigma_max:g} does not fit into the run, whose nearest "
                f"noise level is {nearest:g}{', its highest' if index == 0 else ''}: use more steps or another range"
            )
        return index

    def levels(self, sigma: float) -> Tensor:
        """The noise levels from ``sigma_max`` down to ``sigma``, without that: (steps,)."""
        return karras(self.steps + 1, sigma, self.sigma_max)[: self.steps]
