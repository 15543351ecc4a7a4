"""The error at the end, its derivatives through restarted runs, and the descent."""

from __future__ import annotations

import itertools

import pytest
import torch

from elucidiff.design import steps
from elucidiff.design.schedules import EDM, VP
from elucidiff.sampling import Sampler
from elucidiff.sampling.optimise import ExactSolutions, solve_exactly
from elucidiff.sampling.optimise.candidate import RHOS, best_rho, run_with
from elucidiff.sampling.optimise.exact import EndError
from elucidiff.sampling.optimise.levels import _directions, refine
from elucidiff.solvers import IPNDM, Heun, Solver, UniPC
from tests.sampling.optimise.mixtures import mixture


@pytest.fixture(scope="module")
def exact() -> ExactSolutions:
    return solve_exactly(mixture(classes=2), range(16), 0.002, 80.0, batch_size=16)


def test_the_error_is_that_of_sampling(exact: ExactSolutions) -> None:
    for sampler in (
        Sampler(steps="karras:n=7"),
        Sampler(steps="karras:n=7", solver="unipc"),
        Sampler(steps="karras:n=7", schedule="vp_fitted", solver="euler"),
    ):
        prepared = sampler.prepare(None)
        run = EndError(exact, prepared.solver, prepared.schedule)(prepared.sigmas)
        result = sampler.run(mixture(classes=2), range(16))
        assert torch.equal(run.residual, (result.x - exact.x).flatten())
        assert run.nfe == result.nfe
        assert run.error == pytest.approx(float((result.x - exact.x).square().mean().sqrt()), rel=1e-12)


@pytest.mark.parametrize("solver", [Heun(), IPNDM(order=4), UniPC(p=3)])
def test_a_run_that_begins_in_the_middle_is_the_whole_run(exact: ExactSolutions, solver: Solver) -> None:
    error, levels = EndError(exact, solver, VP()), steps.karras(8)
    before = error(levels)
    for changed in (1, 4, 7):
        other = levels.clone()
        other[changed] *= 0.9
        assert torch.equal(error(other, before, changed - 1).residual, error(other).residual)
        assert not torch.equal(error(other).residual, before.residual)


def test_every_run_is_better_and_the_last_is_a_minimum(exact: ExactSolutions) -> None:
    error = EndError(exact, UniPC(p=2), EDM())
    start = error(steps.karras(5))
    runs = [start, *itertools.islice(refine(error, start, budget=5), 40)]
    errors = [run.error for run in runs]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]
    best = runs[-1].sigmas
    assert float(best[0]) == float(start.sigmas[0])
    for k in range(1, 5):
        for factor in (0.97, 1.03):
            other = best.clone()
            other[k] *= factor
            assert error(other).error > errors[-1] * (1 - 1e-3)


def test_many_levels_move_together_and_few_by_themselves() -> None:
    assert torch.equal(_directions(5, 1), torch.eye(5, dtype=torch.float64)[1:])
    assert torch.equal(_directions(3, 0), torch.eye(3, dtype=torch.float64))
    many = _directions(40, 1)
    assert many.shape == (12, 40)
    torch.testing.assert_close(many.sum(0)[1:], torch.ones(39, dtype=torch.float64))
    assert float(many[:, 0].abs().max()) == 0


def test_the_first_level_moves_only_if_it_may(exact: ExactSolutions) -> None:
    error = EndError(exact, Heun(), EDM())
    start = error(steps.karras(3))
    held = list(itertools.islice(refine(error, start, budget=5), 12))[-1]
    free = list(itertools.islice(refine(error, start, budget=5, free_first=True), 12))[-1]
    assert float(held.sigmas[0]) == float(start.sigmas[0])
    assert float(free.sigmas[0]) < 60
    assert free.error < held.error


def test_it_stops_when_told_and_keeps_within_the_budget(exact: ExactSolutions) -> None:
    error = EndError(exact, Heun(), EDM())
    start, asked = error(steps.karras(4)), itertools.count()
    # An iteration asks once for each of the three derivatives, and once or more for its trials.
    assert len(list(refine(error, start, budget=7, stop=lambda: next(asked) >= 6))) == 1
    assert list(refine(error, start, budget=7, stop=lambda: True)) == []
    assert list(refine(error, start, budget=6)) == []


def test_the_best_rho(exact: ExactSolutions) -> None:
    error = EndError(exact, Heun(), EDM())
    rho, run = best_rho(error, 6)
    assert run.error <= min(run_with(error, 6, other).error for other in (*RHOS, rho * 1.1, rho / 1.1))
    assert run.error == run_with(error, 6, rho).error
