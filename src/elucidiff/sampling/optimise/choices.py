"""Which samplers can have their noise levels optimised, and what an optimised one is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from elucidiff import parts
from elucidiff.denoisers.base import DenoiserLike, DenoiserModule
from elucidiff.design import steps
from elucidiff.design.schedules import Schedule
from elucidiff.design.steps import Levels
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.grid import range_of
from elucidiff.sampling.nfe import count_evaluations
from elucidiff.sampling.sampler import Prepared, Sampler
from elucidiff.solvers import Solver


def steps_within(
    budget: int, solver: Solver, schedule: Schedule, denoiser: DenoiserLike, sigma_min: float, sigma_max: float
) -> int:
    """The largest number of karras steps that cost at most ``budget`` evaluations per sample.

    They are counted without the network, see :func:`.count_evaluations`.

    Args:
        budget: evaluations per sample.
        solver: takes the steps; not adaptive.
        schedule: the curve that it follows.
        denoiser: is asked what a call costs, which under guidance depends on the noise level.
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


# Which of them is best depends on the model and the budget. One-step methods have no chance at small budgets.
CANDIDATES = (
    Sampler(solver="ipndm:order=3"),
    Sampler(solver="dpmpp_2m"),
    Sampler(solver="dpmpp_3m"),
    Sampler(solver="unipc"),
)


def guided_alike(solvers: Sequence[Sampler], denoiser: DenoiserLike) -> DenoiserModule:
    """The denoiser under the guidance that all candidates ask for.

    Raises:
        ValueError: there are none, they differ in guidance, or the denoiser cannot be guided so.
    """
    if not solvers:
        raise ValueError("there is no solver to optimise noise levels for")
    if len({each.guidance for each in solvers}) > 1:
        raise ValueError("the candidates differ in guidance, so they do not share an exact solution")
    return solvers[0].guided(denoiser)


def check_choices(solvers: Sequence[Sampler], denoiser: DenoiserLike, nfe: int) -> tuple[float, float]:
    """The range of noise levels of all candidates.

    Args:
        solvers: the candidates.
        denoiser: D, guided already.
        nfe: the budget.

    Raises:
        ValueError: one of them is adaptive or draws noise, they differ in range, or the budget is too small for one.
    """
    for sampler in solvers:
        check_deterministic(sampler)
    ranges = {exact_range(each, denoiser) for each in solvers}
    if len(ranges) > 1:
        raise ValueError("the candidates differ in range, so they do not share an exact solution")
    low, high = ranges.pop()
    for sampler in solvers:
        prepared = sampler.prepare(denoiser)
        steps_within(nfe, prepared.solver, prepared.schedule, denoiser, low, high)
    return low, high


def check_deterministic(sampler: Sampler) -> None:
    """Raise ValueError unless ``sampler`` follows the ODE in steps that somebody else chooses."""
    name = f"solver {parts.name_of(sampler.solver)}"
    if sampler.solver.adaptive:
        raise ValueError(f"{name} chooses its own steps: there are none to optimise")
    if not sampler.deterministic:
        what = name if sampler.solver.stochastic else "restarts" if sampler.churn is None else "churn"
        raise ValueError(f"{what} adds noise, so the samples have no exact solution to come close to: leave it out")


def exact_range(sampler: Sampler, denoiser: DenoiserLike) -> tuple[float, float]:
    """The lowest and the highest noise level between which a sampler may choose, within the denoiser's range."""
    return sampler.steps.range_within(*range_of(denoiser))


def with_levels(sampler: Sampler, sigmas: Tensor) -> Sampler:
    """``sampler`` with these noise levels in place of its spacing."""
    return replace(sampler, steps=Levels(tuple(sigmas.tolist())))


def name_of(sampler: Sampler) -> str:
    """The solver's text form, such as ``ipndm:order=3``."""
    return parts.to_text(sampler.solver)
