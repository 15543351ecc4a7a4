"""The stochasticity of Karras et al. 2022, Algorithm 2."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.design.values import check_number
from elucidiff.parts import part, setting


@part("churn", "churn")
@dataclass(frozen=True)
class Churn:
    """How much noise is added before each step: S_churn, S_tmin, S_tmax, S_noise of Karras et al. 2022, Algorithm 2.

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
