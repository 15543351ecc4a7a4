"""Which samplers can have their noise levels optimised, and what an optimised one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from elucidiff.sampling.optimise.budget import steps_within
from elucidiff.sampling.sampler import Sampler

# Which of them is best depends on the model and the budget. One-step methods have no chance at small budgets.
CANDIDATES = (
    Sampler(solver="ipndm", order=3),
    Sampler(solver="dpmpp_2m"),
    Sampler(solver="dpmpp_3m"),
    Sampler(solver="unipc", order=2),
)


def guided_alike(solvers: Sequence[Sampler], denoiser: Any) -> Any:
    """The denoiser under the guidance that all candidates ask for.

    Raises:
        ValueError: there are none, they differ in guidance, or the denoiser cannot be guided so.
    """
    if not solvers:
        raise ValueError("there is no solver to optimise noise levels for")
    if len({(each.guidance, each.guidance_sigma_min, each.guidance_sigma_max) for each in solvers}) > 1:
        raise ValueError("the candidates differ in guidance, so they do not share an exact solution")
    return solvers[0].guided(denoiser)


def check_choices(solvers: Sequence[Sampler], denoiser: Any, nfe: int) -> tuple[float, float]:
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
    solver = sampler.prepare(None).solver
    if solver.adaptive:
        raise ValueError(f"solver {sampler.solver} chooses its own steps: there are none to optimise")
    if solver.stochastic or sampler.churn > 0 or sampler.restarts > 0:
        what = f"solver {sampler.solver}" if solver.stochastic else "churn" if sampler.churn > 0 else "restarts"
        raise ValueError(f"{what} adds noise, so the samples have no exact solution to come close to: leave it out")


def exact_range(sampler: Sampler, denoiser: Any) -> tuple[float, float]:
    """The lowest and the highest noise level between which a sampler may choose, within the denoiser's range."""
    sigmas = replace(sampler, steps="karras", n=2, levels=None).sigmas(denoiser)
    return float(sigmas[1]), float(sigmas[0])


def with_levels(sampler: Sampler, sigmas: Tensor) -> Sampler:
    """``sampler`` with these noise levels in place of its spacing."""
    return replace(sampler, steps="levels", n=len(sigmas) - 1, levels=tuple(sigmas.tolist()))


def name_of(sampler: Sampler) -> str:
    """Solver and order, such as ``ipndm-3``."""
    return sampler.solver if sampler.order is None else f"{sampler.solver}-{sampler.order}"
