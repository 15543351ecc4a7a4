"""Churn: gamma against its formula, and the marginals of stochastic sampling."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design import schedules, steps
from elucidiff.sampling import Churn, Step, sample
from elucidiff.solvers import Heun


def mixture() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([[[-1.0, 0.5]], [[1.2, -0.3]]], dtype=torch.float64),
        torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.1, -0.05], [-0.05, 0.4]]], dtype=torch.float64),
        torch.tensor([0.35, 0.65]),
    )


def assert_moments(x: Tensor, target: GaussianMixture) -> None:
    """Mean and covariance of the samples within three standard errors of the truth."""
    flat, mean = x.flatten(1), target.mean.flatten()
    root = math.sqrt(len(flat))
    assert bool(((flat.mean(0) - mean).abs() < 3 * flat.std(0) / root).all())
    products = (flat - mean)[:, :, None] * (flat - mean)[:, None, :]
    assert bool(((products.mean(0) - target.covariance).abs() < 3 * products.std(0) / root).all())


def test_gamma_includes_both_ends_and_is_clipped() -> None:
    sigma = torch.tensor([80.0, 50.0, 10.0, 0.05, 0.0499], dtype=torch.float64)
    gamma = Churn(40, sigma_min=0.05, sigma_max=50).gamma(sigma, 256)
    assert gamma.tolist() == [0, 40 / 256, 40 / 256, 40 / 256, 0]
    assert Churn(40).gamma(sigma, 18).tolist() == [math.sqrt(2) - 1] * 5
    assert Churn(0).gamma(sigma, 18).tolist() == [0.0] * 5
    assert Churn(1).gamma(sigma.float(), 3).dtype == torch.float32


def test_noise_is_raised_by_gamma_and_scaled() -> None:
    """The raised state has the variance of t_hat: with sigma(t_hat)^2 - sigma(t)^2 of it new."""
    record: list[Step] = []
    latents = torch.zeros(1, 1, 2, dtype=torch.float64)
    churn = Churn(1.2, sigma_min=0.1, sigma_max=1.1, noise_scale=1.5)
    schedule = schedules.VP()
    levels = [2.0, 1.0, 0.5, 0.05, 0.0]
    sample(
        mixture(),
        latents,
        levels,
        schedule=schedule,
        churn=churn,
        noise=lambda x, _: torch.ones_like(x),
        callback=record.append,
    )
    assert [round(step.sigma_hat / step.sigma - 1, 9) for step in record] == [0, 0.3, 0.3, 0]
    for step in record:
        scale, scale_hat = float(schedule.scale(step.t)), float(schedule.scale(step.t_hat))
        added = math.sqrt(max(step.sigma_hat**2 - step.sigma**2, 0)) * 1.5 * scale_hat
        torch.testing.assert_close(step.x_hat, step.x * scale_hat / scale + added, rtol=1e-9, atol=1e-9)


def test_noise_is_drawn_at_every_step_or_never() -> None:
    drawn: list[int] = []

    def noise(x: Tensor, index: int) -> Tensor:
        drawn.append(index)
        return torch.zeros_like(x)

    def run(churn: Churn | None) -> list[int]:
        drawn.clear()
        sample(mixture(), torch.ones(1, 1, 2), [2.0, 1.0, 0.5, 0.0], churn=churn, noise=noise)
        return drawn

    assert run(Churn(5, sigma_min=0.9, sigma_max=1.1)) == [0, 1, 2]
    assert run(Churn(0)) == []
    assert run(Churn(5, sigma_min=3, sigma_max=4)) == []
    assert run(None) == []


@pytest.mark.parametrize("schedule", [schedules.EDM(), schedules.VP()], ids=["edm", "vp"])
def test_stochastic_sampling_keeps_the_distribution(schedule: schedules.Schedule) -> None:
    target, generator = mixture(), torch.Generator().manual_seed(11)
    latents = torch.randn(4096, 1, 2, generator=generator, dtype=torch.float64)
    x = sample(
        target,
        latents,
        steps.karras(256),
        solver=Heun(),
        schedule=schedule,
        churn=Churn(40, sigma_min=0.01, sigma_max=50),
        noise=lambda x, _: torch.randn(x.shape, generator=generator, dtype=x.dtype),
        batch_size=None,
    )
    assert_moments(x, target)
    # It is not the deterministic sampler in disguise: almost nothing is left of the latents.
    deterministic = sample(target, latents, steps.karras(32))
    assert float((x - deterministic).std()) > 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"amount": -1}, "churn amount is -1"),
        ({"amount": math.nan}, "churn amount is nan"),
        ({"amount": math.inf}, "churn amount is inf"),
        ({"amount": 1, "sigma_min": 2, "sigma_max": 1}, "churn range is 2 to 1"),
        ({"amount": 1, "sigma_min": -1}, "churn range is -1 to inf"),
        ({"amount": 1, "noise_scale": 0}, "churn noise_scale is 0"),
    ],
)
def test_bad_values(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Churn(**arguments)
