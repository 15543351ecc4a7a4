"""Errors of single steps for a Gaussian, whose ODE and whose Heun steps are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design import steps
from elucidiff.figures.step_errors import StepErrors, step_errors
from elucidiff.sampling.seeds import SeededNoise
from elucidiff.solvers import RK45, Euler, Heun, Solver, UniPC
from tests.sampling.closed_form import mixture

STD, N, RHOS = 0.5, 8, (3.0, 7.0)
SEEDS = range(5)


def gaussian() -> GaussianMixture:
    return GaussianMixture(torch.zeros(1, 1, 3), STD**2 * torch.eye(3)[None], torch.ones(1))


@pytest.mark.parametrize("solver", [Heun(), Euler()])
def test_a_gaussian_in_closed_form(solver: Solver) -> None:
    found = step_errors(gaussian(), SEEDS, n=N, rhos=RHOS, solver=solver)
    latents = SeededNoise(SEEDS).latents((1, 3)).double().numpy()
    size = np.sqrt((latents**2).mean())
    for row, rho in enumerate(RHOS):
        sigma = steps.karras(N, rho=rho).numpy()
        np.testing.assert_array_equal(found.sigma[row], sigma[:-2])
        # dx/dsigma = x sigma / (std^2 + sigma^2), and x grows as sqrt(std^2 + sigma^2) from the latents at the top.
        exact = 80 * np.sqrt((STD**2 + sigma[:-1] ** 2) / (STD**2 + 80**2))
        here, there = sigma[:-2], sigma[1:-1]
        h, slope = there - here, here / (STD**2 + here**2)
        factor = 1 + h * slope
        if isinstance(solver, Heun):
            factor = 1 + h / 2 * (slope + (1 + h * slope) * there / (STD**2 + there**2))
        local = abs(factor * exact[:-1] - exact[1:]) * size
        np.testing.assert_allclose(found.local[row], local, rtol=8e-3, atol=2e-5 * size)
        shrunk = STD**2 / (STD**2 + sigma[-2] ** 2)  # the last step ends at the denoised sample
        end = abs(80 * factor.prod() - exact[-1]) * shrunk * size
        assert found.end[row] == pytest.approx(end, rel=5e-3, abs=2e-5)


def test_totals_and_the_rho_to_choose() -> None:
    found = StepErrors(
        np.array([1.0, 3.0, 7.0]),
        np.ones((3, 2)),
        np.array([[0.0, 4.0], [1.0, 1.0], [0.5, 1.0]]),
        np.array([4, 2, 1]),
    )
    np.testing.assert_allclose(found.total, [4, 2, 1.5])
    np.testing.assert_allclose(found.unevenness, [1, 0, 1 / 3])
    assert (found.most_even, found.best) == (3.0, 7.0)


def test_the_exact_solution_is_exact_for_curved_data() -> None:
    """Ten times as many steps leave what Heun's method, of third order in a single step, leaves: far less."""
    coarse, fine = (
        step_errors(mixture(), range(3), n=n, rhos=(7.0,), sigma_min=0.1, sigma_max=3.0) for n in (12, 111)
    )
    assert coarse.local.max() > 1e-3
    assert fine.local.max() < 3e-3 * coarse.local.max()


@pytest.mark.parametrize("solver", [UniPC(2), RK45()])
def test_only_single_steps(solver: Solver) -> None:
    with pytest.raises(ValueError, match="takes no single steps"):
        step_errors(gaussian(), SEEDS, solver=solver)


def test_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="0 exponents"):
        step_errors(gaussian(), SEEDS, rhos=())
