"""Convergence orders on closed forms, RK2's second evaluation near t = 0, and DDIM."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from elucidiff.denoisers.adapters import AdaptedDenoiser, DiscreteTime
from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.design import schedules, steps
from elucidiff.design.schedules import Schedule
from elucidiff.sampling import Step, sample
from elucidiff.solvers import RK2, RK45, Euler, Heun, Solver
from tests.sampling.closed_form import LATENTS, SCHEDULES, SIGMA_MAX, SIGMA_MIN, exact, mixture


def error(solver: Solver, schedule: Schedule, n: int) -> float:
    """The error at the last noise level before 0: the step from there to 0 is of first order for all solvers."""
    record: list[Step] = []
    sigmas = steps.karras(n, SIGMA_MIN, SIGMA_MAX, rho=3)
    sample(mixture(), LATENTS, sigmas, solver=solver, schedule=schedule, callback=record.append)
    return float((record[-1].x / float(schedule.scale(record[-1].t)) - exact()).norm())


def measured_order(solver: Solver, schedule: Schedule) -> float:
    return math.log2(error(solver, schedule, 60) / error(solver, schedule, 120))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_euler_is_of_first_order(schedule: str) -> None:
    assert measured_order(Euler(), SCHEDULES[schedule]) == pytest.approx(Euler().order, abs=0.1)


@pytest.mark.parametrize("alpha", [1 / 2, 2 / 3, 1.0, 1.1])
@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "sde"])
def test_rk2_is_of_second_order(schedule: str, alpha: float) -> None:
    assert measured_order(RK2(alpha), SCHEDULES[schedule]) == pytest.approx(RK2(alpha).order, abs=0.15)


def test_heun_is_of_second_order_on_an_integrated_sde() -> None:
    assert measured_order(Heun(), SCHEDULES["sde"]) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "sde"])
def test_rk45_meets_its_tolerance(schedule: str) -> None:
    """Errors of single steps add up over tens of steps, so the bar is somewhat above the tolerance."""
    for tolerance in (1e-4, 1e-6, 1e-8):
        assert error(RK45(tolerance, tolerance), SCHEDULES[schedule], 4) < 30 * tolerance


def test_heun_is_rk2_with_alpha_1() -> None:
    assert Heun().alpha == 1
    for n in (4, 9):
        assert error(Heun(), SCHEDULES["vp"], n) == error(RK2(1.0), SCHEDULES["vp"], n)


@pytest.mark.parametrize("n", [1, 2, 5, 18])
def test_nfe_is_counted(n: int) -> None:
    calls = 0
    target = mixture()

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return target(x, sigma)

    levels = torch.linspace(3, 0, n + 1)
    for solver, expected in ((Heun(), 2 * n - 1), (RK2(0.5), 2 * n - 1), (Euler(), n)):
        calls, record = 0, []
        sample(denoiser, torch.zeros(2, 1, 2), levels, solver=solver, callback=record.append)
        assert calls == record[-1].nfe == expected


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_euler_step_to_zero_lands_on_the_denoised_image(schedule: str) -> None:
    """It does wherever s = 1 and sigma = t; elsewhere it goes the known part of the way, (t sigma' / sigma)."""
    chosen = SCHEDULES[schedule]
    target, latents = mixture(), torch.tensor([[[1.0, -0.5]]], dtype=torch.float64)
    x = sample(target, latents, [2.0, 0.0], solver=Euler(), schedule=chosen)
    t = chosen.time(2.0)
    scale, drag = chosen.scale(t), t * chosen.scale_dot(t) / chosen.scale(t)
    way = t * chosen.sigma_dot(t) / 2.0
    noisy, clean = 2.0 * latents, target(2.0 * latents, 2.0)
    torch.testing.assert_close(x, scale * ((1 - drag - way) * noisy + way * clean), rtol=1e-9, atol=1e-12)
    if schedule == "edm":
        torch.testing.assert_close(x, clean, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("n", [2, 3, 18])
def test_alpha_above_1_stays_finite_where_the_second_evaluation_passes_zero(schedule: str, n: int) -> None:
    points = DataPosterior(torch.tensor([[[1.0, -1.0]], [[-1.0, 0.5]]], dtype=torch.float64))
    latents = torch.randn(16, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = sample(points, latents, steps.karras(n, 0.002, 2.0), solver=RK2(2.5), schedule=SCHEDULES[schedule])
    assert bool(x.isfinite().all())
    if n == 18 and SCHEDULES[schedule] == schedules.EDM():  # enough steps, and the noise level itself as time
        assert float((x[:, None] - points.points).flatten(2).norm(dim=2).amin(1).max()) < 1e-2


def test_alpha_above_1_under_ve_falls_back_to_heun() -> None:
    """sigma = sqrt(t) ends at t = 0: with two steps the second evaluation of RK2(1.5) would lie beyond it."""
    target, latents = mixture(), torch.tensor([[[1.0, -0.5]]], dtype=torch.float64)
    beyond, heun = (
        sample(target, latents, [2.0, 0.1, 0.0], solver=solver, schedule=schedules.VE())
        for solver in (RK2(1.5), Heun())
    )
    assert torch.equal(beyond, heun)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf, math.nan])
def test_bad_alpha(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha is .* but must be a finite number > 0"):
        RK2(alpha)


def ddim(predict: AdaptedDenoiser, table: Tensor, latents: Tensor, indices: list[int]) -> list[Tensor]:
    """Song et al. 2021 (DDIM), Eq. 12 with zero noise, as it stands there: alpha-bars, noise prediction, x scaled."""
    x = latents * (1 - table[indices[0]]).sqrt()  # pure noise, without the mean's share
    trajectory = [x]
    for index, following in zip(indices, [*indices[1:], None], strict=True):
        bar = table[index]
        bar_next = torch.ones(()) if following is None else table[following]
        epsilon = predict.network(x, torch.full((len(x),), index))
        clean = (x - (1 - bar).sqrt() * epsilon) / bar.sqrt()
        x = bar_next.sqrt() * clean + (1 - bar_next).sqrt() * epsilon
        trajectory.append(x)
    return trajectory


def test_euler_with_sigma_equal_to_t_is_ddim() -> None:
    """Karras et al. 2022, Section 3: DDIM is Euler's method for sigma(t) = t, s(t) = 1."""
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(6, 1, 3, generator=generator, dtype=torch.float64)
    posterior = DataPosterior(points)
    table = torch.linspace(0.9999, 0.02, 100, dtype=torch.float64)
    sigmas = ((1 - table) / table).sqrt()

    def epsilon(x: Tensor, index: Tensor) -> Tensor:
        sigma = sigmas[index]
        unscaled = x / table[index].sqrt().reshape(-1, 1, 1)
        return (unscaled - posterior(unscaled, sigma)) / sigma.reshape(-1, 1, 1)

    denoiser = AdaptedDenoiser(epsilon, "epsilon", DiscreteTime(table), dtype=torch.float64)
    indices = list(range(99, 0, -9))
    latents = torch.randn(4, 1, 3, generator=generator, dtype=torch.float64)
    expected = ddim(denoiser, table, latents, indices)

    record: list[Step] = []
    levels = torch.cat([sigmas[indices], torch.zeros(1, dtype=torch.float64)])
    x = sample(denoiser, latents, levels, solver=Euler(), callback=record.append)

    scales = [*table[indices].sqrt(), torch.ones(())]
    for ours, theirs, scale in zip([*(step.x for step in record), x], expected, scales, strict=True):
        torch.testing.assert_close(ours * scale, theirs, rtol=1e-12, atol=1e-12)
