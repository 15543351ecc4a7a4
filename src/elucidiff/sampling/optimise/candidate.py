"""Samplers whose noise levels can be optimised, and one of them in the race for the smallest error."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from torch import Tensor

from elucidiff import parts
from elucidiff.denoisers.base import DenoiserLike, DenoiserModule
from elucidiff.design import steps
from elucidiff.design.schedules import Schedule
from elucidiff.design.steps import Levels
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.grid import range_of
from elucidiff.sampling.loop import Prepared, count_evaluations
from elucidiff.sampling.optimise.exact import EndError, ExactSolutions, Run, refuse_without_ode
from elucidiff.sampling.optimise.levels import guess, refine, step_costs
from elucidiff.sampling.sampler import Sampler
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
        ValueError: the denoiser has no ODE, a candidate is adaptive or draws noise, they differ in range, or
            the budget is too small for one.
    """
    refuse_without_ode(denoiser)
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


RHOS = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0, 30.0, 50.0, 100.0)


def best_rho(end_error: EndError, n: int) -> tuple[float, Run]:
    """The rho with the smallest error, and its run.

    The error has several minima in rho, so the best of a dozen values is refined between its neighbours.
    """
    # Imported where it is used: it takes a quarter of what torch does, and all who sample import this room.
    from scipy.optimize import minimize_scalar

    runs = {rho: run_with(end_error, n, rho) for rho in RHOS}
    best = min(RHOS, key=lambda rho: runs[rho].error)
    at = RHOS.index(best)
    between = (math.log(RHOS[max(at - 1, 0)]), math.log(RHOS[min(at + 1, len(RHOS) - 1)]))
    found = minimize_scalar(
        lambda log_rho: run_with(end_error, n, math.exp(log_rho)).error,
        bounds=between,
        method="bounded",
        options={"xatol": 0.02, "maxiter": 12},
    )
    rho = math.exp(found.x)
    run = run_with(end_error, n, rho)
    return (rho, run) if run.error < runs[best].error else (best, runs[best])


def run_with(end_error: EndError, n: int, rho: float) -> Run:
    """A run of ``n`` karras steps over the whole range (Karras et al. 2022, Eq. 5)."""
    exact = end_error.exact
    return end_error(steps.karras(n, exact.sigma_min, exact.sigma_max, rho))


_RHO = 7.0
_GAIN, _PATIENCE = 3e-3, 3  # so small a share of the error, so often in a row, ends the refinement


class Candidate:
    """A solver, the best noise levels for it so far, and how to go on from there.

    It begins with the better of two guesses: the cheapest path over single steps, and karras steps.

    Args:
        exact: what the error is minimised on.
        sampler: whose solver and schedule are meant.
        budget: largest number of evaluations per sample.
        free_first: whether the first noise level may change.
        stop: once it says so, nothing more is tried.

    Attributes:
        sampler: as given.
        n: number of steps that the budget buys.
        end_error: the error as a function of the levels.
        first_error: error of the guess.
        run: the run with the best levels so far.
        converged: whether there is nothing more to gain.
    """

    def __init__(
        self, exact: ExactSolutions, sampler: Sampler, budget: int, free_first: bool, stop: Callable[[], bool]
    ) -> None:
        prepared = sampler.prepare(exact.denoiser)
        solver, schedule = prepared.solver, prepared.schedule
        self.sampler = sampler
        self.n = steps_within(budget, solver, schedule, exact.denoiser, exact.sigma_min, exact.sigma_max)
        self.end_error = EndError(exact, solver, schedule)
        guesses = [run_with(self.end_error, self.n, _RHO)]
        if not stop():
            guesses.append(self.end_error(guess(exact, step_costs(exact, solver, schedule), self.n)))
        self.run = min((run for run in guesses if run.nfe <= budget), key=lambda run: run.error)
        self.first_error = self.run.error
        self.converged = False
        runs = refine(self.end_error, self.run, budget=budget, free_first=free_first, stop=stop)
        self._improving = self._until_idle(runs, stop)

    def __str__(self) -> str:
        return name_of(self.sampler)

    def refine(self, iterations: int) -> None:
        """Take at most so many iterations."""
        for run in islice(self._improving, iterations):
            self.run = run

    def _until_idle(self, runs: Iterator[Run], stop: Callable[[], bool]) -> Iterator[Run]:
        error, idle = self.first_error, 0
        for run in runs:
            yield run
            idle = idle + 1 if run.error > (1 - _GAIN) * error else 0
            error = run.error
            if idle == _PATIENCE:
                break
        self.converged = not stop()
