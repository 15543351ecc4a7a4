"""Exact solutions: as exact as they say, from the draws that sampling makes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from elucidiff.sampling import SeededNoise
from elucidiff.sampling.optimise import solve_exactly
from tests.sampling.optimise.mixtures import mixture

VARIANCE = 0.3


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """D of N(0, VARIANCE I), whose ODE takes x at sigma_max to x sqrt(v / (v + sigma_max^2))."""
    level = torch.as_tensor(sigma).reshape(-1, *[1] * (x.ndim - 1))
    return x * VARIANCE / (VARIANCE + level**2)


def test_solutions_and_path_of_a_gaussian() -> None:
    exact = solve_exactly(gaussian, range(5, 25), 0.002, 20.0, shape=(2, 3))
    start = SeededNoise(range(5, 25)).latents((2, 3)).double() * 20
    truth = start * math.sqrt(VARIANCE / (VARIANCE + 400))
    off = float((exact.x - truth).square().mean().sqrt())
    assert off < 1e-5
    assert off < exact.error < 10 * off
    assert [exact.path[0].sigma, exact.path[-1].sigma] == [pytest.approx(20), 0]
    for point in exact.path[:-1]:
        there = start[:8] * math.sqrt((VARIANCE + point.sigma**2) / (VARIANCE + 400))
        torch.testing.assert_close(point.x, there, rtol=2e-4, atol=0)
        torch.testing.assert_close(
            point.denoised, gaussian(point.x, torch.tensor(point.sigma, dtype=torch.float64)), rtol=1e-12, atol=0
        )


def test_labels_are_drawn_as_sampling_draws_them() -> None:
    denoiser = mixture(classes=2)
    exact = solve_exactly(denoiser, range(12), 0.002, 80.0, fine_steps=16)
    noise = SeededNoise(range(12))
    noise.latents((1, 2))
    assert exact.labels is not None
    assert torch.equal(exact.labels.argmax(1), noise.labels(2))


def test_what_is_not_finite_is_named() -> None:
    def broken(x: Tensor, sigma: Tensor) -> Tensor:
        # The sample of the third seed breaks as the noise falls below 1, which the end of step 5 does.
        bad = (torch.arange(len(x)) == 2).reshape(-1, 1, 1) & (torch.as_tensor(sigma).reshape(-1, 1, 1) < 1)
        return (x * 0).masked_fill(bad, math.nan)

    with pytest.raises(
        ValueError, match=r"seed 42 gave values that are not finite at step 6, from noise level 0.267"
    ) as caught:
        solve_exactly(broken, [40, 41, 42, 43], 0.002, 80.0, shape=(1, 2), fine_steps=8)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="does not state the shape"):
        solve_exactly(broken, [1], 0.002, 80.0)
