"""The posterior denoiser where the posterior is known: a Gaussian prior with a full covariance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design import steps
from elucidiff.sampling import Sampler, sample
from elucidiff.sampling.inverse import Mask, Posterior, restore
from elucidiff.solvers import RK45

SIZE, MEASURED, NOISE = 6, 3, 0.2


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


FACTOR = normal(SIZE, SIZE, seed=0) / 2
COVARIANCE = FACTOR @ FACTOR.T + 0.05 * torch.eye(SIZE)
MEAN = normal(SIZE, seed=1)
MATRIX = normal(MEASURED, SIZE, seed=2)
Y = normal(1, MEASURED, seed=3)


def prior() -> GaussianMixture:
    return GaussianMixture(MEAN.reshape(1, 1, 2, 3), COVARIANCE[None], torch.ones(1))


def measure(x: Tensor) -> Tensor:
    return x.flatten(1) @ MATRIX.T.to(x)


def posterior(iterations: int = MEASURED) -> Posterior:
    return Posterior(prior(), measure, Y, NOISE, iterations=iterations, tolerance=1e-13)


def truth(covariance: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of a Gaussian given y, by the information form."""
    precision = torch.linalg.inv(covariance) + MATRIX.T @ MATRIX / NOISE**2
    given = torch.linalg.inv(precision)
    return given @ (torch.linalg.solve(covariance, mean) + MATRIX.T @ Y[0] / NOISE**2), given


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0, 50.0])
def test_denoiser_is_exact(sigma: float) -> None:
    x = MEAN.reshape(1, 1, 2, 3) + math.hypot(sigma, 1) * normal(4, 1, 2, 3, seed=4)
    # What x_t alone tells is a Gaussian, which y narrows.
    information = torch.linalg.inv(COVARIANCE) + torch.eye(SIZE, dtype=torch.float64) / sigma**2
    for row, found in zip(x, posterior()(x, sigma), strict=True):
        alone = torch.linalg.solve(information, torch.linalg.solve(COVARIANCE, MEAN) + row.flatten() / sigma**2)
        expected, _ = truth(torch.linalg.inv(information), alone)
        torch.testing.assert_close(found.flatten(), expected, rtol=0, atol=1e-10)


def test_noise_levels_of_their_own() -> None:
    x, levels = normal(3, 1, 2, 3, seed=5), torch.tensor([0.1, 1.0, 10.0])
    together = posterior()(x, levels)
    for row in range(3):
        torch.testing.assert_close(together[row], posterior()(x[row : row + 1], levels[row])[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", ["heun", "rk45"])
def test_samples_have_the_moments_of_the_posterior(solver: str) -> None:
    """Within four standard errors of 1000 draws, by a solver of the ODE; the prior's own moments are far away."""
    count = 1000
    levels = steps.karras(60, 0.002, 300)
    options = {} if solver == "heun" else {"solver": RK45(1e-3, 1e-3)}
    x = sample(posterior(), normal(count, 1, 2, 3, seed=6), levels, batch_size=None, **options).flatten(1)
    mean, covariance = truth(COVARIANCE, MEAN)
    # In the posterior's own axes: independent, of unit variance.
    axes = torch.linalg.inv(torch.linalg.cholesky(covariance))
    white = (x - mean) @ axes.T
    assert float(white.mean(0).abs().max()) < 4 / math.sqrt(count)
    moments = white.T @ white / count
    error = torch.where(torch.eye(SIZE, dtype=torch.bool), math.sqrt(2), 1.0) / math.sqrt(count)
    assert float(((moments - torch.eye(SIZE)) / error).abs().max()) < 4
    assert float(((MEAN - mean) @ axes.T).abs().max()) > 1


def test_every_way_to_sample_takes_it() -> None:
    result = Sampler(steps="karras:n=8").run(posterior(), range(3), batch_size=2)
    assert result.nfe == 15
    assert posterior().products == MEASURED + 1
    alone = Sampler(steps="karras:n=8").run(posterior(), [2], batch_size=2)
    assert torch.equal(alone.x[0], result.x[2])


def test_labels_reach_the_denoiser() -> None:
    two = GaussianMixture(
        torch.tensor([[[-5.0, 0.0]], [[5.0, 0.0]]], dtype=torch.float64),
        torch.eye(2, dtype=torch.float64).expand(2, 2, 2),
        torch.ones(2),
        labels=torch.tensor([0, 1]),
    )
    known = Mask(torch.tensor([[False, True]]))
    given = Posterior(two, known, torch.zeros(1, 1, 2, dtype=torch.float64), 0.1)
    x = torch.zeros(2, 1, 2, dtype=torch.float64)
    assert given(x, 100.0, torch.tensor([0, 1]))[:, 0, 0].tolist() == pytest.approx([-5, 5], abs=1e-2)


@pytest.mark.parametrize(("apart", "stops"), [(5e-7, True), (5e-6, False)])
def test_linear_solver_ends_at_a_residual_of_a_millionth(apart: float, stops: bool) -> None:
    """Two directions whose eigenvalues differ by a share 2 e have the first residual e |b|."""
    spread = torch.tensor([1.0, 1.0 + 2.2 * apart], dtype=torch.float64)
    # D keeps v / (v + 1) of each direction at sigma = 1, so V = v / (v + 1) and M = noise^2 + V.
    kept = (spread / (spread + 1)).reshape(1, 1, 2)
    noise = 0.1
    system = noise**2 + kept
    given = Posterior(
        lambda x, sigma: kept * x, lambda x: x, torch.ones(1, 1, 2, dtype=torch.float64), noise, sample_shape=(1, 2)
    )
    found = given(torch.zeros(1, 1, 2, dtype=torch.float64), 1.0)
    residual = (1 - system * found / kept).norm() / math.sqrt(2)
    # The share by which the eigenvalues of M differ, over two.
    first = float(system[..., 1] / system[..., 0] - 1) / 2
    assert float(residual) == pytest.approx(first if stops else 0, rel=0.01, abs=1e-12)
    assert (first < 1e-6) is stops


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"noise": 0.0}, r"noise is 0\.0, but must be a finite number > 0"),
        ({"noise": math.inf}, "noise is inf"),
        ({"iterations": 0}, "iterations is 0"),
        ({"tolerance": 1.0}, "tolerance is 1"),
        ({"y": Y * math.nan}, "y must be floating point and finite"),
        ({"y": Y[:, :2]}, r"y has shape \(1, 2\)"),
        ({"measure": lambda x: measure(x) + 1}, "not a linear function"),
        ({"denoiser": lambda x, sigma: x}, "does not state the shape"),
    ],
)
def test_bad_input(values: dict[str, object], says: str) -> None:
    arguments = {"denoiser": prior(), "measure": measure, "y": Y, "noise": NOISE} | values
    with pytest.raises(ValueError, match=says):
        Posterior(**arguments)


def test_restored_samples_are_those_of_the_gaussian_posterior() -> None:
    """Of N(0, I) with x_0 = 2 measured with noise 0.5: mean 2 / 1.25, variance 0.2; x_1 stays N(0, 1)."""
    prior = GaussianMixture(torch.zeros(1, 1, 2), torch.eye(2)[None], torch.ones(1))
    y = torch.tensor([[[2.0, 0.0]]])
    known, sampler = Mask(torch.tensor([True, False])), "heun steps=karras:n=18,sigma_max=20"
    found = restore(prior, known, y, 1000, noise=0.5, sampler=sampler, batch_size=1000)
    x = found.x[:, 0]
    assert x.mean(0).tolist() == pytest.approx([1.6, 0.0], abs=0.1)
    assert x.var(0).tolist() == pytest.approx([0.2, 1.0], rel=0.15)
    torch.testing.assert_close(found.misfit, (x[:, 0] - 2).abs())  # over what is known alone
    assert (found.nfe, found.products) == (35, 4)
