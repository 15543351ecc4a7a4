"""DDIM with fractional eta: its limits, the paper's own coordinates, and the exact variance on Gaussian data."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff import parts
from elucidiff.design import schedules, steps
from elucidiff.sampling import Step, sample
from elucidiff.solvers import DPMpp1, Euler, Solver
from elucidiff.solvers.ddim import DDIM
from elucidiff.solvers.multistep import Node
from tests.sampling.closed_form import LATENTS, SCHEDULES, mixture
from tests.solvers.test_noise import MEAN, SPREAD, error, moments
from tests.solvers.test_orders import end, levels, measured_order

ETAS = [0.0, 0.5, 1.0]


def drawn(solver: Solver, schedule: schedules.Schedule) -> list[Tensor]:
    """y at all levels of a run with the noise of fixed seeds."""
    record: list[Step] = []
    noise, sigmas = ed.SeededNoise(range(3)), levels(10, 1)
    x = sample(mixture(), LATENTS, sigmas, solver=solver, schedule=schedule, noise=noise, callback=record.append)
    return [*(step.x / float(schedule.scale(step.t)) for step in record), x / float(schedule.scale(0.0))]


@pytest.mark.parametrize(("eta", "other"), [(0.0, Euler()), (0.0, DPMpp1()), (1.0, DPMpp1(1.0))], ids=repr)
def test_limits(eta: float, other: Solver) -> None:
    ours, theirs = (drawn(solver, SCHEDULES["edm"]) for solver in (DDIM(eta), other))
    assert len(ours) == 12
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_schedule_makes_no_difference(eta: float, name: str) -> None:
    ours, there = (drawn(DDIM(eta), SCHEDULES[schedule]) for schedule in (name, "edm"))
    torch.testing.assert_close(ours, there, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", ETAS)
def test_a_run_is_that_of_the_paper_in_its_coordinates(eta: float) -> None:
    """Song, Meng and Ermon 2021, Eq. 12 and 16, with x = sqrt(abar) x0 + sqrt(1 - abar) n, VP's."""
    vp, sigmas, noise = schedules.VP(), levels(10, 1), ed.SeededNoise(range(3))
    bars = (1 / (1 + sigmas**2)).tolist()
    x = LATENTS * math.sqrt(1 - bars[0])
    for index, (bar, bar_next) in enumerate(pairwise(bars)):
        x0 = mixture()(x / math.sqrt(bar), sigmas[index])
        predicted_noise = (x - math.sqrt(bar) * x0) / math.sqrt(1 - bar)
        std = eta * math.sqrt((1 - bar_next) / (1 - bar)) * math.sqrt(1 - bar / bar_next)
        x = math.sqrt(bar_next) * x0 + math.sqrt(1 - bar_next - std**2) * predicted_noise
        x = x + std * noise(x, index)
    ours = sample(mixture(), LATENTS, sigmas, solver=DDIM(eta), schedule=vp, noise=ed.SeededNoise(range(3)))
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["edm", "vp", "flow"])
@pytest.mark.parametrize("eta", ETAS)
def test_variance_on_gaussian_data(eta: float, name: str) -> None:
    """With x0 in D's place a step keeps the marginal; so (1 - k)^2 times the variance of x0 given y is missing:

    v' = (variance before, less what it should be) A^2 + c^2 + sigma'^2 - (1 - k)^2 c^2 sigma^2 / (c^2 + sigma^2),

    where A = (c^2 + k sigma^2) / (c^2 + sigma^2) is the factor of y - mean.
    """
    sigmas = steps.karras(12, 0.1, 10.0)
    wrong = 0.0
    for before, after in pairwise(sigmas[:-1].tolist()):
        std = eta * after / before * math.sqrt(before**2 - after**2)
        k = math.sqrt(after**2 - std**2) / before
        shrink = (SPREAD**2 + k * before**2) / (SPREAD**2 + before**2)
        wrong = shrink**2 * wrong - (1 - k) ** 2 * (SPREAD * before) ** 2 / (SPREAD**2 + before**2)
    mean, variance, sigma = moments(DDIM(eta), sigmas, SCHEDULES[name])
    assert sigma == pytest.approx(0.1, rel=1e-12)
    assert mean == pytest.approx(MEAN, abs=1e-12)
    assert variance == pytest.approx(SPREAD**2 + sigma**2 + wrong, rel=1e-9)
    assert -wrong / variance > 0.01  # the run is coarse enough to tell one eta from another


def test_order() -> None:
    """Of the ODE in x, of the others in distribution: the error of the variance."""
    assert DDIM().order == 1
    assert measured_order(DDIM(), SCHEDULES["edm"], 60) == pytest.approx(1, abs=0.1)
    for eta in (0.5, 1.0):
        assert math.log2(error(DDIM(eta), 80) / error(DDIM(eta), 160)) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("ratio", [0.999999, 0.5, 1e-3, 1e-9])
def test_the_noise_level_is_met_exactly(eta: float, ratio: float) -> None:
    """(k sigma)^2 + std^2 = sigma'^2 on steps of any length; for eta = 1, k = r^2 to rounding."""
    move = DDIM(eta).predict([Node(7.0, 7.0)], Node(7 * ratio, 7 * ratio), schedules.EDM())
    assert math.hypot(move.keep * 7, move.std) == pytest.approx(7 * ratio, rel=1e-14)
    assert move.std == pytest.approx(eta * 7 * ratio * math.sqrt((1 - ratio) * (1 + ratio)), rel=1e-14)
    assert move.keep + sum(move.weights) == 1
    if eta == 1:
        assert move.keep == pytest.approx(ratio**2, rel=1e-14)


def test_dpmpp_1_has_the_square_of_this_eta_in_small_steps() -> None:
    start, ends = Node(2.0, 2.0), [Node(2 * ratio, 2 * ratio) for ratio in (0.99, 0.999)]
    far, near = (
        DDIM(0.6).predict([start], end, schedules.EDM()).std / DPMpp1(0.36).predict([start], end, schedules.EDM()).std
        for end in ends
    )
    assert near == pytest.approx(1, abs=1e-3)
    assert (far - 1) / (near - 1) == pytest.approx(10, rel=0.05)


def test_the_last_step_a_repeated_level_and_a_run_from_pure_noise() -> None:
    assert torch.equal(
        sample(mixture(), LATENTS, [2.0, 0.0], solver=DDIM(0.5)), mixture()(2 * LATENTS, torch.tensor(2.0))
    )
    begun = sample(mixture(), LATENTS, [math.inf, 1.0, 0.2, 0.0], solver=DDIM(0.5), schedule=schedules.Flow())
    assert bool(begun.isfinite().all())
    levels_given = ([3.0, 1.0, 0.2, 0.0], [3.0, 1.0, 1.0, 0.2, 0.0])  # as tables repeat some
    once, twice = (end(DDIM(), SCHEDULES["edm"], torch.tensor(sigmas)) for sigmas in levels_given)
    assert torch.equal(once, twice)


def test_by_name() -> None:
    assert parts.parse("solver", "ddim") == DDIM(0.0)
    assert parts.to_text(DDIM(0.5)) == "ddim:eta=0.5"
    denoiser = ed.ideal.GaussianMixture(torch.tensor([[0.3]]), torch.tensor([[[0.25]]]), torch.tensor([1.0]))
    assert torch.equal(ed.sample(denoiser, 4, solver="ddim:eta=0.5"), ed.sample(denoiser, 4, solver=DDIM(0.5)))


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_eta_outside_its_range(eta: float) -> None:
    with pytest.raises(ValueError, match=rf"eta is {eta}, but must be between 0 \(the ODE\) and 1"):
        DDIM(eta)
