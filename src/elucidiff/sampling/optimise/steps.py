"""Noise levels made for one model, one solver and one budget, as close to the exact ODE solution as they get."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike
from elucidiff.denoisers.shapes import Labels
from elucidiff.sampling.optimise.candidate import (
    CANDIDATES,
    Candidate,
    best_rho,
    check_choices,
    check_deterministic,
    guided_alike,
    with_levels,
)
from elucidiff.sampling.optimise.exact import EndError, ExactSolutions, solve_exactly
from elucidiff.sampling.optimise.levels import never
from elucidiff.sampling.sampler import Sampler


@dataclass(frozen=True)
class Measurement:
    """Errors are root mean squares over all values of all samples, in units of the data.

    Attributes:
        nfe: network evaluations per sample, counted.
        error: distance to the exact ODE solution.
        baseline_error: the same of as many karras steps with the same solver, and the rho that is best for these
            very seeds.
        baseline_rho: that rho.
    """

    nfe: int
    error: float
    baseline_error: float
    baseline_rho: float

    @property
    def cut(self) -> float:
        """By how much the error is smaller than that of the best karras steps: 0.3 is 30%, negative is worse."""
        return 1 - self.error / self.baseline_error


def measure(exact: ExactSolutions, sampler: Sampler) -> Measurement:
    """Measure a sampler, guidance aside, which is that of the exact solutions.

    Raises:
        ValueError: the sampler is adaptive or draws noise, its levels are outside the denoiser's range, or the
            denoiser gave values that are not finite.
    """
    check_deterministic(sampler)
    prepared = sampler.prepare(exact.denoiser)
    end_error = EndError(exact, prepared.solver, prepared.schedule)
    run = end_error(prepared.sigmas)
    rho, baseline = best_rho(end_error, len(prepared.sigmas) - 1)
    return Measurement(run.nfe, run.error, baseline.error, rho)


# Samples are usually drawn from small seeds: these leave them unseen.
WARM_UP_SEEDS = range(1_000_000, 1_000_032)
FRESH_SEEDS = range(2_000_000, 2_000_064)

_LAP, _MOST = 4, 60  # iterations for every candidate, and for the best


def _silent(line: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class OptimisedSteps:
    """Noise levels, and what was measured. Errors are root mean squares over all values of all samples.

    Attributes:
        sampler: the solver with the levels, ready to run.
        sigmas: the noise levels (N + 1,), float64.
        measured: error and baseline over ``fresh_seeds``, which the optimisation never saw, and the evaluations.
        warm_up_error: distance to the exact ODE solution over ``seeds``.
        exact_error: estimated error of what counts as the exact solution.
        seeds: what the levels were optimised on.
        fresh_seeds: what they were measured on.
        tried: solver and error over ``seeds`` of each candidate, the best first.
        stopped: whether the optimisation was stopped before it had converged.

    >>> import elucidiff as ed
    >>> points = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    >>> found = ed.sampling.optimise_steps(
    ...     ed.ideal.DataPosterior(points), 5, [ed.Sampler(solver="heun")], seeds=range(4), fresh_seeds=range(4, 8)
    ... )
    >>> len(found.sigmas), float(found.sigmas[-1]), found.sampler.solver
    (4, 0.0, Heun(alpha=1.0))
    """

    sampler: Sampler
    sigmas: Tensor
    measured: Measurement
    warm_up_error: float
    exact_error: float
    seeds: Sequence[int]
    fresh_seeds: Sequence[int]
    tried: tuple[tuple[str, float], ...]
    stopped: bool


def optimise_steps(
    denoiser: DenoiserLike,
    nfe: int,
    solvers: Sequence[Sampler] = CANDIDATES,
    *,
    seeds: Sequence[int] = WARM_UP_SEEDS,
    fresh_seeds: Sequence[int] = FRESH_SEEDS,
    labels: Labels | int | None = None,
    shape: Sequence[int] | None = None,
    free_first: bool = False,
    max_seconds: float | None = None,
    batch_size: int = 16,
    device: torch.device | None = None,
    tell: Callable[[str], object] = _silent,
) -> OptimisedSteps:
    """Find the noise levels with which a solver comes closest to the exact ODE solution. Needs no data.

    Equal arguments give equal levels, unless ``max_seconds`` cuts the search short.

    Args:
        denoiser: D, as for :meth:`.Sampler.run`; a module is used where it is.
        nfe: largest number of network evaluations per sample.
        solvers: candidates; the best becomes the result. Each a sampler whose solver, schedule, guidance and range
            count; how it spaces its levels does not.
        seeds: warm-up seeds, on which the error is minimised; a few dozen.
        fresh_seeds: other seeds, on which the result is measured.
        labels: as for :meth:`.Sampler.run`, for both; by default each seed draws its own, as sampling does.
        shape: shape (C, *spatial) of a sample; by default the denoiser's ``sample_shape``.
        free_first: whether the first noise level may be lower than where sampling starts now.
        max_seconds: the optimisation, not counting exact solutions and validation, ends soon after so long.
        batch_size: samples in one call of the denoiser.
        device: where the denoiser is; by default where its weights are.
        tell: is told in a line what goes on.

    Raises:
        ValueError: the budget is too small for a solver, a solver is adaptive or draws noise, the candidates differ
            in guidance or range, the sets of seeds overlap, labels or shape do not fit, or the denoiser gave values
            that are not finite.

    >>> import elucidiff as ed
    >>> points = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    >>> found = ed.sampling.optimise_steps(
    ...     ed.ideal.DataPosterior(points), 5, [ed.Sampler(solver="heun")], seeds=range(4), fresh_seeds=range(4, 8)
    ... )
    >>> found.measured.nfe, found.measured.error < found.measured.baseline_error  # of karras steps
    (5, True)
    """
    check_seeds(seeds, fresh_seeds)
    denoiser = guided_alike(solvers, denoiser)
    sigma_min, sigma_max = check_choices(solvers, denoiser, nfe)
    warm_up, fresh = (
        solve_exactly(
            denoiser, part, sigma_min, sigma_max, labels=labels, shape=shape, batch_size=batch_size, device=device
        )
        for part in (seeds, fresh_seeds)
    )
    end = None if max_seconds is None else time.monotonic() + max_seconds
    stop = never if end is None else lambda: time.monotonic() > end
    return optimise_on(warm_up, fresh, nfe, solvers, free_first=free_first, stop=stop, tell=tell)


_MOST_SEEDS = 10**6


def check_seeds(seeds: Sequence[int], fresh_seeds: Sequence[int]) -> None:
    """Raise ValueError if a seed is in both, one of them is empty, or they are more than can be kept in memory."""
    if not seeds or not fresh_seeds:
        raise ValueError("no seeds were given")
    if (count := max(len(seeds), len(fresh_seeds))) > _MOST_SEEDS:
        raise ValueError(
            f"{count:,} seeds are too many to be measured at once, of which each sample is kept in memory: give at "
            f"most {_MOST_SEEDS:,}"
        )
    if shared := set(seeds) & set(fresh_seeds):
        raise ValueError(f"seed {min(shared)} is both for the optimisation and for the validation: choose others")


def optimise_on(
    warm_up: ExactSolutions,
    fresh: ExactSolutions,
    nfe: int,
    solvers: Sequence[Sampler] = CANDIDATES,
    *,
    free_first: bool = False,
    stop: Callable[[], bool] = never,
    tell: Callable[[str], object] = _silent,
) -> OptimisedSteps:
    """:func:`optimise_steps` between exact solutions that are there already, so that several budgets share them.

    Args:
        warm_up: what the error is minimised on.
        fresh: what the result is measured on.
        nfe: see :func:`optimise_steps`, also for ``solvers``, ``free_first`` and ``tell``.
        stop: asked often; once it says so, the best so far is measured and returned.

    Raises:
        ValueError: as :func:`optimise_steps`.
    """
    check_choices(solvers, warm_up.denoiser, nfe)
    race: list[Candidate] = []
    for sampler in solvers:
        race.append(Candidate(warm_up, sampler, nfe, free_first, stop))
        race[-1].refine(_LAP)
        tell(f"{race[-1]}: from {race[-1].first_error:.4g} to {race[-1].run.error:.4g}")
        if stop():
            break
    race.sort(key=lambda each: each.run.error)
    best = race[0]
    best.refine(_MOST)
    ending = "in the end" if best.converged else "when it was stopped"
    tell(f"{best}: {best.run.error:.4g} {ending}; now on fresh seeds")
    sampler = with_levels(best.sampler, best.run.sigmas)
    return OptimisedSteps(
        sampler,
        best.run.sigmas,
        measure(fresh, sampler),
        best.run.error,
        max(warm_up.error, fresh.error),
        warm_up.seeds,
        fresh.seeds,
        tuple((str(each), each.run.error) for each in race),
        not best.converged,
    )
