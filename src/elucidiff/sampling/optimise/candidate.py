"""One solver in the race for the smallest error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice

from scipy.optimize import minimize_scalar

from elucidiff.design import steps
from elucidiff.sampling.optimise.choices import name_of, steps_within
from elucidiff.sampling.optimise.end_error import EndError, Run
from elucidiff.sampling.optimise.exact import ExactSolutions
from elucidiff.sampling.optimise.least_squares import refine
from elucidiff.sampling.optimise.shortest_path import guess, step_costs
from elucidiff.sampling.sampler import Sampler

RHOS = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0, 30.0, 50.0, 100.0)


def best_rho(end_error: EndError, n: int) -> tuple[float, Run]:
    """The rho with the smallest error, and its run.

    The error has several minima in rho, so the best of a dozen values is refined between its neighbours.
    """
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
