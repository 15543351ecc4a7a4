"""How many steps a budget of network evaluations buys."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elucidiff.design import steps
from elucidiff.design.schedules import Schedule
from elucidiff.sampling.loop import Step, sample
from elucidiff.sampling.solvers import Solver


def steps_within(
    budget: int, solver: Solver, schedule: Schedule, denoiser: Any, sigma_min: float, sigma_max: float
) -> int:
    """The largest number of karras steps that cost at most ``budget`` evaluations per sample.

    They are counted, on one number instead of an image and without the network.

    Args:
        budget: evaluations per sample.
        solver: takes the steps; not adaptive.
        schedule: the curve that it follows.
        denoiser: is asked what a call costs, if it says so, as under guidance.
        sigma_min, sigma_max: range of the steps.

    Raises:
        ValueError: the budget does not suffice for two steps.
    """

    def cost(n: int) -> int:
        counted: list[int] = []

        def count(step: Step) -> None:
            counted.append(int(torch.as_tensor(step.nfe).max()))

        levels = steps.karras(n, sigma_min, sigma_max)
        sample(_CostOnly(denoiser), torch.zeros(1, 1), levels, solver=solver, schedule=schedule, callback=count)
        return counted[-1]

    if budget < 1:
        raise ValueError(f"a budget of {budget} network evaluations is none: choose 5 or more")
    n = 1 + bisect_right(range(2, budget + 1), budget, key=cost)
    if n < 2:
        raise ValueError(
            f"a budget of {budget} network evaluations is too small: {type(solver).__name__} needs at least "
            f"{cost(2)}, for two steps"
        )
    return n


@dataclass(frozen=True)
class _CostOnly:
    """A denoiser that answers 0, at the cost of another one."""

    denoiser: Any

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)

    @property
    def evaluations(self) -> Callable[[Tensor], Tensor]:
        """See :func:`.evaluations_of`; there is none where the other has none."""
        counted: Callable[[Tensor], Tensor] = self.denoiser.evaluations
        return counted
