"""Data to latents and back: against the closed form of a Gaussian, and round trips."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design import steps
from elucidiff.sampling import decode, encode, round_trip_error, sample
from elucidiff.solvers import RK45, Euler, Heun
from elucidiff.solvers.ipndm import IPNDM
from tests.sampling.closed_form import SCHEDULES, SIGMA_MAX, SIGMA_MIN, mixture

LEVELS = [SIGMA_MAX, SIGMA_MIN, 0.0]


def data(count: int) -> Tensor:
    return mixture().sample(count, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_latents_of_a_gaussian_are_known(schedule: str) -> None:
    """Along each axis the ODE keeps x in units of the noisy data's standard deviation."""
    spread = torch.tensor([0.3, 2.0], dtype=torch.float64)
    target = GaussianMixture(torch.zeros(1, 1, 2), torch.diag(spread.square())[None], torch.ones(1))
    x = data(3)
    latents, nfe = encode(target, x, LEVELS, solver=RK45(1e-7, 1e-7), schedule=SCHEDULES[schedule])
    grown = ((spread**2 + SIGMA_MAX**2) / (spread**2 + SIGMA_MIN**2)).sqrt()
    torch.testing.assert_close(latents, x * grown / SIGMA_MAX, rtol=0, atol=1e-5)
    assert bool((torch.as_tensor(nfe) > 10).all())


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_round_trip(schedule: str) -> None:
    """The error follows the tolerance, and is measured as what it is."""
    x = data(4)
    options = {"solver": RK45(1e-6, 1e-6), "schedule": SCHEDULES[schedule]}
    latents, _ = encode(mixture(), x, LEVELS, **options)
    assert float((latents - x).abs().max()) > 0.1
    back, _ = decode(mixture(), latents, LEVELS, **options)
    error = round_trip_error(x, back)
    assert error.shape == (4,)
    assert float(error.max()) < 2e-5
    torch.testing.assert_close(error, (x - back).flatten(1).norm(dim=1) / math.sqrt(2))


def test_fixed_steps_converge_and_count() -> None:
    x = data(3)
    true, _ = encode(mixture(), x, LEVELS, solver=RK45(1e-9, 1e-9))
    for solver, order, cost in ((Heun(), 2, 2), (Euler(), 1, 1)):
        errors = []
        for n in (40, 80):
            latents, nfe = encode(mixture(), x, steps.karras(n, SIGMA_MIN, SIGMA_MAX), solver=solver)
            assert nfe == cost * (n - 1)
            errors.append(float((latents - true).abs().max()))
        assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.25)


def test_sampling_goes_on_from_where_decoding_ends() -> None:
    latents = torch.randn(3, 1, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    levels = steps.karras(10, SIGMA_MIN, SIGMA_MAX)
    near, _ = decode(mixture(), latents, levels, solver=Heun())
    drawn = sample(mixture(), latents, levels, solver=Heun())
    torch.testing.assert_close(mixture()(near, SIGMA_MIN), drawn, rtol=0, atol=1e-13)


def test_labels_reach_the_denoiser() -> None:
    target = GaussianMixture(
        torch.tensor([[[-1.0, 0.0]], [[1.0, 0.0]]], dtype=torch.float64),
        0.1 * torch.eye(2, dtype=torch.float64).expand(2, 2, 2),
        torch.ones(2),
        labels=torch.tensor([0, 1]),
    )
    x = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    grown = math.sqrt((0.1 + SIGMA_MAX**2) / (0.1 + SIGMA_MIN**2)) / SIGMA_MAX
    for label, expected in ((0, -1 / SIGMA_MAX + 2 * grown), (1, 1 / SIGMA_MAX)):
        latents, _ = encode(target, x, LEVELS, labels=torch.tensor([label]), solver=RK45(1e-7, 1e-7))
        assert float(latents[0, 0, 0]) == pytest.approx(expected, abs=1e-5)


def test_bad_input() -> None:
    x = data(2)
    for function in (encode, decode):
        with pytest.raises(ValueError, match="IPNDM cannot follow the ODE both ways"):
            function(mixture(), x, LEVELS, solver=IPNDM())
        with pytest.raises(ValueError, match="at least two positive noise levels"):
            function(mixture(), x, [1.0, 0.0])
        with pytest.raises(ValueError, match=r"samples have shape \(1, 1\), but the denoiser takes \(1, 2\)"):
            function(mixture(), x[..., :1], LEVELS)
        with pytest.raises(ValueError, match="must be floating point"):
            function(mixture(), x.long(), LEVELS)
        with pytest.raises(ValueError, match="sample 1 of the batch holds values that are not finite"):
            function(mixture(), torch.cat([x[:1], x[1:] * math.inf]), LEVELS)
        with pytest.raises(
            ValueError,
            match=r"sample 0 of the batch .* gave values that are not finite: look for NaN",
        ):
            function(lambda x, sigma: x * math.nan, x, [1.0, 0.5, 0.1, 0.0], solver=Heun())
