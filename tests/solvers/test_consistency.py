"""Multistep consistency sampling: closed forms, and noise by the seed alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.solvers import Consistency


class EndOfNormal(DenoiserModule):
    """f(x; sigma) = x / sqrt(1 + sigma^2): the end of the ODE for data with distribution N(0, 1)."""

    sample_shape = (1, 2)

    def forward(self, x: Tensor, sigma: Tensor, labels: None = None) -> Tensor:
        return x / (1 + torch.as_tensor(sigma, dtype=x.dtype) ** 2).sqrt().reshape(-1, 1, 1)


LEVELS = torch.tensor([80.0, 3.0, 0.7, 0.0], dtype=torch.float64)


def test_a_step_by_hand() -> None:
    x, noise = torch.ones(1, 1, 2, dtype=torch.float64), torch.full((1, 1, 2), 0.25, dtype=torch.float64)
    found = ed.sample(EndOfNormal(), x, LEVELS, solver="consistency", noise=lambda x, index: noise)
    at = 80 * x / (1 + 80**2) ** 0.5 + 3.0 * noise
    at = at / 10**0.5 + 0.7 * noise
    torch.testing.assert_close(found, at / 1.49**0.5, rtol=1e-12, atol=0)


def test_samples_of_normal_data_stay_normal_at_every_level() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(20_000, 1, 2, generator=generator, dtype=torch.float64)
    seen = []
    found = ed.sample(
        EndOfNormal(), latents, LEVELS, solver=Consistency(), batch_size=None, callback=seen.append,
        noise=lambda x, index: torch.randn(x.shape, generator=generator, dtype=x.dtype),
    )  # fmt: skip
    # The standard error of a standard deviation of 40,000 numbers is 0.0035 of it.
    assert float(found.std()) == pytest.approx(1.0, rel=0.0125)
    for step in seen[1:]:
        assert float(step.x.std()) == pytest.approx((1 + step.sigma**2) ** 0.5, rel=0.0125)


def test_a_sample_depends_on_its_seed_alone() -> None:
    sampler = ed.Sampler(ed.steps.Levels(tuple(LEVELS.tolist())), solver="consistency")
    together = sampler.run(EndOfNormal(), range(7))
    alone = [sampler.run(EndOfNormal(), [seed]).x[0] for seed in (0, 3, 6)]
    assert torch.equal(torch.stack(alone), together.x[[0, 3, 6]])
    assert together.nfe == 3


def test_one_step_is_the_function_itself() -> None:
    found = ed.Sampler(ed.steps.Levels((80.0, 0.0)), solver="consistency").run(EndOfNormal(), [5])
    latent = ed.SeededNoise([5]).latents((1, 2)).double() * 80
    torch.testing.assert_close(found.x, latent / (1 + 80**2) ** 0.5, rtol=1e-6, atol=0)
    assert found.nfe == 1


def test_text_form() -> None:
    assert ed.Sampler.parse("steps=karras:n=2 solver=consistency").to_text() == "steps=karras:n=2 solver=consistency"
    assert not ed.Sampler.parse("consistency").deterministic
