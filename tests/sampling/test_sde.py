"""The SDE and predictor-corrector samplers: marginals on a Gaussian mixture, limits, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from elucidiff.design import schedules, steps
from elucidiff.sampling import SeededNoise, Step, sample, sample_predictor_corrector, sample_sde
from elucidiff.solvers import Euler
from tests.sampling.test_churn import assert_moments, mixture


def latents(count: int) -> Tensor:
    return torch.randn(count, 1, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def noise_from(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return lambda x, _: torch.randn(x.shape, generator=generator, dtype=x.dtype)


@pytest.mark.parametrize(
    ("beta", "schedule"),
    [
        (None, schedules.EDM()),
        (None, schedules.VP()),
        (lambda t: 0.3 / t, schedules.EDM()),
        (lambda t: 1.0 / (0.1 + t), schedules.EDM()),
    ],
    ids=["edm", "vp", "a third of the noise", "vanishing at low noise"],
)
def test_sde_keeps_the_distribution(beta, schedule: schedules.Schedule) -> None:
    x = sample_sde(
        mixture(),
        latents(2048),
        steps.log_uniform(500, 0.01, 40.0),
        beta=beta,
        schedule=schedule,
        noise=noise_from(7),
        batch_size=None,
    )
    assert_moments(x, mixture())


@pytest.mark.parametrize("schedule", [schedules.EDM(), schedules.VP(), schedules.VE()], ids=["edm", "vp", "ve"])
def test_sde_without_noise_is_euler(schedule: schedules.Schedule) -> None:
    sigmas = steps.karras(12)
    ode = sample(mixture(), latents(3), sigmas, solver=Euler(), schedule=schedule)
    sde = sample_sde(mixture(), latents(3), sigmas, beta=lambda t: 0.0, schedule=schedule)
    assert torch.equal(sde, ode)


def test_sde_step_is_equation_6() -> None:
    """One step in Karras et al.'s own terms, sigma = t, s = 1, with the score instead of the denoiser."""
    x0, t, t_next, beta = latents(4) * 2.0, 2.0, 1.5, 0.4
    record: list[Step] = []
    unit = latents(4).flip(0)
    sample_sde(
        mixture(), latents(4), [2.0, 1.5, 0.0], beta=lambda _: beta, noise=lambda x, _: unit, callback=record.append
    )
    x = x0.clone().requires_grad_()
    (score,) = torch.autograd.grad(mixture().log_prob(x, t).sum(), x)
    dt = t_next - t
    ode, langevin = -t * score * dt, -beta * t**2 * score * dt + (2 * beta) ** 0.5 * t * abs(dt) ** 0.5 * unit
    torch.testing.assert_close(record[1].x, x0 + ode + langevin, rtol=1e-10, atol=1e-10)
    assert [step.nfe for step in record] == [1, 2]


@pytest.mark.parametrize("corrections", [0, 1, 2])
def test_predictor_corrector_keeps_the_distribution(corrections: int) -> None:
    record: list[Step] = []
    x = sample_predictor_corrector(
        mixture(),
        latents(2048),
        steps.log_uniform(400, 0.01, 40.0),
        snr=0.1,
        corrections=corrections,
        noise=noise_from(9),
        callback=record.append,
        batch_size=None,
    )
    assert_moments(x, mixture())
    assert record[-1].nfe == 400 + 399 * corrections


def test_predictor_corrector_step() -> None:
    """The two updates in Song et al.'s own terms: scores, and noise z_1 for the predictor, z_2 for the corrector."""
    draws = [latents(4).flip(0), latents(4).roll(1, 0)]
    record: list[Step] = []
    x = sample_predictor_corrector(
        mixture(), latents(4), [2.0, 1.5, 0.0], snr=0.2, noise=lambda x, index: draws[index], callback=record.append
    )

    def score(x: Tensor, sigma: float) -> Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(mixture().log_prob(x, sigma).sum(), x)[0]

    expected = latents(4) * 2.0
    expected = expected + (4 - 2.25) * score(expected, 2.0) + (4 - 2.25) ** 0.5 * draws[0]
    g = score(expected, 1.5)
    size = 2 * (0.2 * 1.5) ** 2
    expected = expected + size * g + (2 * size) ** 0.5 * draws[1]
    torch.testing.assert_close(record[1].x, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(x, mixture()(expected, 1.5), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("draw", [sample_sde, sample_predictor_corrector])
def test_a_sample_does_not_depend_on_its_batch(draw) -> None:
    def elementwise(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + sigma * sigma)

    def run(seeds: list[int]) -> Tensor:
        noise = SeededNoise(seeds)
        return draw(elementwise, noise.latents((1, 5)), steps.karras(8), noise=noise)

    together = run(list(range(20)))
    assert torch.equal(run([7]), together[[7]])
    assert torch.equal(run([19, 3, 0]), together[[19, 3, 0]])


def test_bad_input() -> None:
    start = latents(1)
    with pytest.raises(ValueError, match="beta"):
        sample_sde(mixture(), start, [1.0, 0.0], beta=lambda t: -1.0)
    with pytest.raises(ValueError, match="snr is 0"):
        sample_predictor_corrector(mixture(), start, [1.0, 0.0], snr=0)
    with pytest.raises(ValueError, match="corrections is -1"):
        sample_predictor_corrector(mixture(), start, [1.0, 0.0], corrections=-1)
    for draw in (sample_sde, sample_predictor_corrector):
        with pytest.raises(ValueError, match="the last of sigmas is"):
            draw(mixture(), start, [2.0, 1.0])
