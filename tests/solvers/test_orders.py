"""Convergence orders on a closed form, on steps of very different sizes, and what does not depend on the schedule."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from elucidiff.design import steps
from elucidiff.design.schedules import VP, Schedule
from elucidiff.sampling import Step, sample
from elucidiff.solvers import (
    DEIS,
    ERSDE,
    IPNDM,
    DPMpp1,
    DPMpp2M,
    DPMpp3M,
    Euler,
    Heun,
    SASolver,
    Solver,
    UniPC,
)
from tests.sampling.closed_form import LATENTS, SCHEDULES, SIGMA_MAX, SIGMA_MIN, exact, mixture


def ode_phi(sigma: Tensor) -> Tensor:
    """The phi with which ER-SDE solves the ODE."""
    return sigma


def levels(n: int, order: int) -> Tensor:
    """n uneven steps in log(sigma), neighbours differing up to threefold; the first ones small.

    A method that knows k values yet takes steps of order k, with an error of h^(k+1). To leave no trace among errors
    of h^order, its first steps have to be as small as h^(order / (k + 1)).
    """
    sizes = torch.tensor([1.0, 0.4, 1.2, 0.7, 1.5], dtype=torch.float64).repeat(n // 5) / n
    first = torch.tensor([(1 / n) ** (order / k) / 3 for k in range(2, order + 1)], dtype=torch.float64)
    places = torch.cat([torch.zeros(1), first, sizes]).cumsum(0)
    places = places / places[-1]
    warped = 0.6 * places + 0.4 * places**2
    return torch.cat([SIGMA_MAX * (SIGMA_MIN / SIGMA_MAX) ** warped, torch.zeros(1, dtype=torch.float64)])


def end(solver: Solver, schedule: Schedule, sigmas: Tensor) -> Tensor:
    """Where a run arrives at the last noise level before 0, without scaling."""
    record: list[Step] = []
    sample(mixture(), LATENTS, sigmas, solver=solver, schedule=schedule, callback=record.append)
    return record[-1].x / float(schedule.scale(record[-1].t))


def measured_order(solver: Solver, schedule: Schedule, n: int) -> float:
    coarse, fine = (float((end(solver, schedule, levels(k, solver.order)) - exact()).norm()) for k in (n, 2 * n))
    return math.log2(coarse / fine)


INVARIANT: dict[str, Solver] = {
    "dpmpp_1": DPMpp1(),
    "dpmpp_2m": DPMpp2M(),
    "dpmpp_3m": DPMpp3M(),
    "unipc 1": UniPC(1),
    "unipc 2, bh1": UniPC(2, "bh1"),
    "unipc 2, bh2": UniPC(2),
    "unipc 3": UniPC(3),
    "er_sde 2": ERSDE(2, ode_phi),
    "er_sde 3": ERSDE(3, ode_phi),
    "sa_solver 3, 0": SASolver(3, 0, tau=0),
    "sa_solver 3, 2": SASolver(3, 2, tau=0),
    "sa_solver 2, 4": SASolver(2, 4, tau=0),
    "ipndm 2": IPNDM(2),
    "ipndm 4": IPNDM(4),
}


@pytest.mark.parametrize("name", [name for name in INVARIANT if "ipndm" not in name])
def test_order_on_uneven_steps(name: str) -> None:
    solver = INVARIANT[name]
    assert measured_order(solver, SCHEDULES["edm"], 60) == pytest.approx(solver.order, abs=0.25)


@pytest.mark.parametrize("name", INVARIANT)
def test_the_schedule_makes_no_difference_but_for_deis(name: str) -> None:
    sigmas = levels(10, 2)
    there = end(INVARIANT[name], SCHEDULES["edm"], sigmas)
    for schedule in SCHEDULES.values():
        torch.testing.assert_close(end(INVARIANT[name], schedule, sigmas), there, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("schedule", ["edm", "vp", "vp, no scaling", "ve", "flow"])
def test_order_of_deis_on_uneven_steps(schedule: str, order: int) -> None:
    assert measured_order(DEIS(order), SCHEDULES[schedule], 60) == pytest.approx(order, abs=0.3)


def test_deis_on_an_integrated_sde() -> None:
    """With beta(t) = 0.1 + 5 t it is a VP schedule, whose times are in closed form."""
    sigmas, vp = [3.0, 1.5, 0.4, 0.0], VP(5.0, 0.1)
    integrated, closed = (
        sample(mixture(), LATENTS, sigmas, solver=DEIS(3), schedule=s) for s in (SCHEDULES["sde"], vp)
    )
    torch.testing.assert_close(integrated, closed, rtol=1e-9, atol=1e-9)


def test_order_of_ipndm_on_equal_steps_and_on_others() -> None:
    """Its coefficients are those of equal steps in sigma: there it is DEIS on the edm schedule; elsewhere not."""
    equal = torch.cat([torch.linspace(SIGMA_MAX, SIGMA_MIN, 31, dtype=torch.float64), torch.zeros(1)])
    for order in (1, 2, 3, 4):
        ours, adams = (end(solver, SCHEDULES["edm"], equal) for solver in (IPNDM(order), DEIS(order)))
        torch.testing.assert_close(ours, adams, rtol=1e-11, atol=1e-11)
    for order in (2, 4):
        errors = [
            float(
                (end(IPNDM(order), SCHEDULES["edm"], steps.karras(n, SIGMA_MIN, SIGMA_MAX, rho=3)) - exact()).norm()
            )
            for n in (80, 160)
        ]
        assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.2)


def test_first_order_members_are_ddim() -> None:
    """Song et al. 2021: Euler's method in sigma without scaling."""
    euler = end(Euler(), SCHEDULES["edm"], levels(10, 2))
    for solver in (DPMpp1(), DEIS(1), IPNDM(1), ERSDE(1, ode_phi), SASolver(1, 0, tau=0)):
        torch.testing.assert_close(end(solver, SCHEDULES["vp"], levels(10, 2)), euler, rtol=1e-10, atol=1e-10)


def test_unipc_2_without_corrector_is_dpmpp_2m() -> None:
    """Zhao et al. 2023, Section 3.4: with bh2, the predictor alone."""

    class Predictor(UniPC):
        corrects = False

    ours, theirs = (end(solver, SCHEDULES["edm"], levels(10, 2)) for solver in (Predictor(2), DPMpp2M()))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


ALL = {**INVARIANT, "deis": DEIS(4), "sa_solver": SASolver(), "er_sde": ERSDE(), "dpmpp_3m_sde": DPMpp3M(1.0)}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("schedule", ["edm", "vp", "flow"])
def test_the_last_step_ends_at_the_denoised_image(name: str, schedule: str) -> None:
    """Log-SNR is infinite there; noise is interpolated up to 0. An evaluation a step, the corrector's included."""
    record: list[Step] = []
    chosen = SCHEDULES[schedule]
    x = sample(
        mixture(), LATENTS, levels(5, 2), solver=ALL[name], schedule=chosen, callback=record.append, batch_size=None
    )
    if getattr(ALL[name], "uses", "denoised") == "denoised":
        torch.testing.assert_close(x, record[-1].denoised * float(chosen.scale(0.0)), rtol=0, atol=0)
    assert bool(x.isfinite().all())
    assert record[-1].nfe == len(record) == len(levels(5, 2)) - 1
    assert sample(mixture(), LATENTS, [1.0, 0.0], solver=ALL[name], schedule=chosen).isfinite().all()


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("schedule", ["edm", "vp", "ve", "flow", "exponential"])
def test_deis_is_exact_for_noise_that_is_a_polynomial_in_time(schedule: str, order: int) -> None:
    """On steps of any sizes, the last one included: dx = eps dsigma, whatever x is."""
    chosen = SCHEDULES[schedule]
    coefficients = (0.7, -1.1, 0.4, 2.0)[:order]

    def noise(sigma: float | Tensor) -> Tensor:
        t = chosen.time(sigma)
        return sum((c * t**k for k, c in enumerate(coefficients)), torch.zeros_like(t))

    record: list[Step] = []
    sigmas = [3.0, 2.9, 1.1, 0.7, 0.1, 0.0]
    x = sample(
        lambda x, sigma: x - sigma * noise(sigma),
        LATENTS,
        sigmas,
        solver=DEIS(order),
        schedule=chosen,
        callback=record.append,
    )
    places = [*(step.x / float(chosen.scale(step.t)) for step in record), x]
    for i in range(order - 1, len(sigmas) - 1):
        gone = quad(lambda sigma: float(noise(sigma)), sigmas[i], sigmas[i + 1], epsabs=1e-12)[0]
        torch.testing.assert_close(places[i + 1] - places[i], torch.full_like(x, gone), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", ["edm", "flow", "exponential"])
def test_the_last_step_of_deis_does_not_amplify_rounding(schedule: str) -> None:
    """With many steps the one to 0 is hundreds of times as long as those before; a network is right to 1e-6."""
    smooth = mixture()

    def rounded(x: Tensor, sigma: Tensor) -> Tensor:
        denoised: Tensor = smooth(x, sigma)
        return denoised + 1e-6 * torch.sin(1e7 * denoised)

    sigmas = steps.karras(400, 0.002, SIGMA_MAX)
    there, close = (
        sample(denoiser, LATENTS, sigmas, solver=DEIS(4), schedule=SCHEDULES[schedule])
        for denoiser in (smooth, rounded)
    )
    assert float((there - close).abs().max()) < 5e-5


@pytest.mark.parametrize("name", [name for name in ALL if not ALL[name].stochastic])
def test_a_repeated_noise_level_changes_nothing(name: str) -> None:
    """As tables of noise levels give: the values known at the same level twice are one."""
    sigmas = [3.0, 2.0, 1.2, 0.7, 0.3, 0.1, 0.0]
    once = sample(mixture(), LATENTS, sigmas, solver=ALL[name])
    twice = sample(mixture(), LATENTS, [3.0, 2.0, 2.0, 1.2, 0.7, 0.7, 0.7, 0.3, 0.1, 0.1, 0.0], solver=ALL[name])
    assert torch.equal(twice, once)


def test_more_values_than_heun_at_equal_cost() -> None:
    """What they are for: with 16 evaluations of either, the best of them is ten times as close as Heun's method."""
    heun = float((end(Heun(), SCHEDULES["edm"], steps.karras(8, SIGMA_MIN, SIGMA_MAX)) - exact()).norm())
    unipc = float((end(UniPC(3), SCHEDULES["edm"], steps.karras(15, SIGMA_MIN, SIGMA_MAX)) - exact()).norm())
    assert unipc < heun / 10
