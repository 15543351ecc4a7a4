"""Stochastic solvers on Gaussian data, where mean and variance of what they draw are known without drawing anything.

There D is affine, so a sample is an affine function of its latent and of the noise of each step. A batch in which
each sample sees one of these as 1 and the others as 0 tells all coefficients, and so the exact moments.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from elucidiff.design import schedules, steps
from elucidiff.sampling import Restart, Step, sample
from elucidiff.solvers import (
    ERSDE,
    DPMpp1,
    DPMpp2M,
    DPMpp3M,
    Heun,
    SASolver,
    Solver,
    UniPC,
)

MEAN, SPREAD = 0.3, 0.6


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """D of data N(MEAN, SPREAD^2)."""
    share = SPREAD**2 / (SPREAD**2 + sigma.reshape(-1, *[1] * (x.ndim - 1)) ** 2)
    return MEAN + share * (x - MEAN)


def moments(
    solver: Solver, sigmas: Tensor, schedule: schedules.Schedule | None = None, **options: object
) -> tuple[float, float, float]:
    """Mean and variance at the last positive noise level of a run that starts with the right ones; and that level."""
    schedule = schedules.EDM() if schedule is None else schedule
    highest, draws = float(sigmas[0]), 4 * len(sigmas)
    latents = torch.full((2 + draws, 1, 1), MEAN / highest, dtype=torch.float64)
    latents[1] += math.sqrt(SPREAD**2 + highest**2) / highest
    count = 0

    def noise(x: Tensor, index: int) -> Tensor:
        nonlocal count
        count += 1
        unit = torch.zeros_like(x)
        unit[1 + count] = 1
        return unit

    record: list[Step] = []
    sample(
        gaussian, latents, sigmas, solver=solver, schedule=schedule, noise=noise, callback=record.append, **options
    )
    last = record[-1]
    values = (last.x / float(schedule.scale(last.t))).flatten()
    return float(values[0]), float((values[1:] - values[0]).square().sum()), last.sigma


def error(solver: Solver, n: int, **options: object) -> float:
    """The relative error of the variance; the mean is right to rounding, whatever the steps."""
    mean, variance, sigma = moments(solver, steps.karras(n, 0.1, 10.0), **options)
    assert mean == pytest.approx(MEAN, abs=1e-13)
    return abs(variance / (SPREAD**2 + sigma**2) - 1)


WEAK_ORDERS = {
    "dpmpp_1_sde": (DPMpp1(1.0), 1),
    "dpmpp_2m_sde": (DPMpp2M(1.0), 2),
    "dpmpp_2m_sde, eta 0.3": (DPMpp2M(0.3), 2),
    "dpmpp_3m_sde": (DPMpp3M(1.0), 2),
    "er_sde 1": (ERSDE(1), 1),
    "er_sde 2": (ERSDE(2), 2),
    "sa_solver 2, 0": (SASolver(2, 0, 1.0, 0.0, math.inf), 2),
    "sa_solver 3, 3": (SASolver(3, 3, 1.0, 0.0, math.inf), 2),
    "sa_solver 3, 3, in part": (SASolver(3, 3, 1.0), 2),
}


@pytest.mark.parametrize("name", WEAK_ORDERS)
def test_weak_order(name: str) -> None:
    solver, order = WEAK_ORDERS[name]
    assert math.log2(error(solver, 80) / error(solver, 160)) == pytest.approx(order, abs=0.15)


def test_er_sde_3_is_closest() -> None:
    """Its order is 2, too, but the constant small: the noise of the recommended phi is little at these levels."""
    assert error(ERSDE(3), 40) < error(ERSDE(2), 40) / 20


@pytest.mark.parametrize("solver", [DPMpp2M(1.0), ERSDE(3), SASolver(3, 3)], ids=["dpmpp_2m_sde", "er_sde", "sa"])
def test_the_schedule_makes_no_difference(solver: Solver) -> None:
    there = moments(solver, steps.karras(12, 0.1, 10.0))
    for schedule in (schedules.VP(), schedules.Flow(), schedules.EDM(scaling="vp")):
        assert moments(solver, steps.karras(12, 0.1, 10.0), schedule) == pytest.approx(there, rel=1e-9)


@pytest.mark.parametrize("name", [name for name in WEAK_ORDERS if "in part" not in name])
def test_without_data_the_noise_level_is_met_exactly(name: str) -> None:
    """For D = 0, y is pure noise of the level: every solver keeps its variance at sigma^2, on any steps."""
    solver, _ = WEAK_ORDERS[name]
    draws: list[Tensor] = []

    def noise(x: Tensor, index: int) -> Tensor:
        draws.append(x)
        unit = torch.zeros_like(x)
        unit[len(draws)] = 1
        return unit

    latents = torch.zeros(8, 1, 1, dtype=torch.float64)
    latents[0] = 1
    record: list[Step] = []
    levels = [5.0, 4.5, 1.0, 0.9, 0.01, 0.0]
    sample(lambda x, sigma: torch.zeros_like(x), latents, levels, solver=solver, noise=noise, callback=record.append)
    for step in record:
        assert float(step.x.square().sum()) == pytest.approx(step.sigma**2, rel=1e-12)


def test_a_restart_keeps_the_distribution() -> None:
    """Up by noise is exact; down has the solver's error, which vanishes with the square of its steps."""
    plain, *errors = (
        error(Heun(), 160, restarts=[Restart(repeats, 0.3, 2.0, steps_down)])
        for repeats, steps_down in ((0, 1), (3, 10), (3, 20), (3, 40))
    )
    assert all(3 < before / after < 5 for before, after in pairwise(errors))
    assert plain < errors[-1] < 0.01


def test_a_restart_contracts_errors() -> None:
    """Xu et al. 2023: a run that has gone wrong is forgotten by the share that the noise drowns."""
    highest = 10.0
    wrong = torch.tensor([[[0.0]], [[1.0]]], dtype=torch.float64)
    sigmas = steps.karras(40, 0.1, highest)

    def apart(repeats: int) -> float:
        x = sample(
            gaussian,
            wrong,
            sigmas,
            solver=UniPC(3),
            restarts=[Restart(repeats, 0.2, 5.0, 30)],
            noise=lambda x, index: torch.zeros_like(x),
        )
        return float(x[1] - x[0])

    # One time up and down takes back (spread^2 + low^2) / (spread^2 + high^2) of the variance in what was before.
    low = float(sigmas[(sigmas[:-1].log() - math.log(0.2)).abs().argmin()])
    share = math.sqrt((SPREAD**2 + low**2) / (SPREAD**2 + 5.0**2))
    assert apart(1) / apart(0) == pytest.approx(share, rel=1e-3)
    assert apart(2) / apart(0) == pytest.approx(share**2, rel=2e-3)


def test_noise_is_drawn_at_every_step_and_by_seed_order() -> None:
    """So that a generator advances evenly; before the step for churn and restarts, after it for the solver."""
    calls: list[int] = []

    def noise(x: Tensor, index: int) -> Tensor:
        calls.append(index)
        return torch.zeros_like(x)

    latents = torch.ones(1, 1, 1)
    sample(gaussian, latents, [3.0, 1.0, 0.5, 0.0], solver=SASolver(), noise=noise)
    assert calls == [0, 1, 2]
    calls.clear()
    restarts = [Restart(1, 0.5, 0.9, 1)]
    sample(gaussian, latents, [3.0, 1.0, 0.5, 0.0], solver=SASolver(), noise=noise, restarts=restarts)
    assert calls == [0, 0, 1, 1, 2, 2, 3, 3]
    calls.clear()
    sample(gaussian, latents, [3.0, 1.0, 0.0], solver=SASolver(tau=0), noise=noise)
    sample(gaussian, latents, [3.0, 1.0, 0.0], solver=UniPC(), noise=noise)
    assert calls == []


def test_phi_that_grows_too_slowly() -> None:
    with pytest.raises(ValueError, match="phi must grow at least as fast as sigma, but does not from 1 to 3"):
        sample(gaussian, torch.ones(1, 1, 1), [3.0, 1.0, 0.0], solver=ERSDE(1, torch.sqrt))
