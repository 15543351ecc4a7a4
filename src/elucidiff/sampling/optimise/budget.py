"""How many steps a budget of network evaluations buys."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from elucidiff.design import steps
from elucidiff.design.schedules import Schedule
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.counting import count_evaluations
from elucidiff.sampling.sampler import Prepared
from elucidiff.solvers import Solver


def steps_within(
    budget: int, solver: Solver, schedule: Schedule, denoiser: Any, sigma_min: float, sigma_max: float
) -> int:
    """The largest number of karras steps that cost at most ``budget`` evaluations per sample.

    They are counted without the network, see :func:`.count_evaluations`.

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
        levels = steps.karras(n, sigma_min, sigma_max)
        return count_evaluations(Prepared(levels, solver, schedule, Churn(0.0)), denoiser)

    if budget < 1:
        raise ValueError(f"a budget of {budget} network evaluations is none: choose 5 or more")
    n = 1 + bisect_right(range(2, budget + 1), budget, key=cost)
    if n < 2:
        raise ValueError(
            f"a budget of {budget} network evaluations is too small: {type(solver).__name__} needs at least "
            f"{cost(2)}, for two steps"
        )
    return n
