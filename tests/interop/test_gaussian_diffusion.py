"""DDPM and DDIM against their closed forms, for a network that always answers with the same image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from elucidiff.interop.gaussian_diffusion import (
    alpha_bars_of,
    ancestral,
    betas_of,
    cosine_bar,
    ddim,
    large_variance,
    learned_variance,
    linear_betas,
    sigmoid_bar,
    small_variance,
)

BARS = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)
IMAGE = torch.tensor([[0.3, -0.5]], dtype=torch.float64)
START = torch.tensor([[1.2, 0.1]], dtype=torch.float64)
NOISE = torch.tensor([[[0.5, -2.0]], [[1.0, 3.0]], [[7.0, 7.0]]], dtype=torch.float64)


def constant(x: Tensor, index: int) -> tuple[Tensor, Tensor]:
    return IMAGE, torch.zeros_like(x)


def test_ddim_ends_at_the_image() -> None:
    assert torch.equal(ddim(constant, START, BARS, 0.0, None), IMAGE)
    # On the way, the noise keeps its direction: after one step of two it is x_0 and the noise at the next level.
    seen = []
    ddim(lambda x, index: (seen.append(x), constant(x, index))[1], START, BARS, 0.0, None)
    epsilon = (START - math.sqrt(0.1) * IMAGE) / math.sqrt(0.9)
    torch.testing.assert_close(seen[1], math.sqrt(0.4) * IMAGE + math.sqrt(0.6) * epsilon)
    torch.testing.assert_close(seen[2], math.sqrt(0.9) * IMAGE + math.sqrt(0.1) * epsilon)


def test_ddim_with_eta_1_is_ddpm_with_the_posterior_variance() -> None:
    """Song et al. 2020, Section 4.1."""
    seen: dict[str, list[Tensor]] = {"ddim": [], "ddpm": []}

    def noting(name: str):
        return lambda x, index: (seen[name].append(x), constant(x, index))[1]

    ddim(noting("ddim"), START, BARS, 1.0, lambda index: NOISE[index])
    ancestral(noting("ddpm"), START, BARS, small_variance(BARS), lambda index: NOISE[index])
    torch.testing.assert_close(seen["ddim"], seen["ddpm"])


def test_variances() -> None:
    large, small, learned = large_variance(BARS), small_variance(BARS), learned_variance(BARS)
    zero, one = torch.zeros(1), torch.ones(1, dtype=torch.float64)
    assert large(0, zero) == pytest.approx(0.75)  # 1 - 0.1 / 0.4
    assert small(0, zero) == pytest.approx(0.75 * 0.6 / 0.9)
    assert float(learned(0, one)) == pytest.approx(0.75)
    assert float(learned(0, -one)) == pytest.approx(0.5)
    assert float(learned(0, 0 * one)) == pytest.approx(math.sqrt(0.375))
    x = ancestral(constant, START, BARS, lambda index, _: 4.0, lambda index: NOISE[index])
    still = ancestral(constant, START, BARS, lambda index, _: 4.0, lambda index: 0 * NOISE[index])
    # The noise of the last step is not added; x_t enters a mean with (1 - following) sqrt(1 - beta) / (1 - bar).
    towards = [(1 - b) * math.sqrt(a / b) / (1 - a) for a, b in ((0.4, 0.9), (0.9, 1.0))]
    torch.testing.assert_close(x - still, 2 * towards[1] * (NOISE[1] + towards[0] * NOISE[0]))


def test_tables() -> None:
    assert linear_betas(1000)[[0, -1]].tolist() == pytest.approx([1e-4, 0.02])
    assert linear_betas(100)[[0, -1]].tolist() == pytest.approx([1e-3, 0.2])
    bars = alpha_bars_of(betas_of(cosine_bar, 50))
    t = torch.arange(1, 50, dtype=torch.float64) / 50
    torch.testing.assert_close(bars[:-1], cosine_bar(t) / cosine_bar(torch.zeros(1, dtype=torch.float64)))
    assert float(bars[-1] / bars[-2]) == pytest.approx(1e-3)
    ends = sigmoid_bar(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64))
