"""Repeated churn on Gaussian data, where every round is a linear map with noise: variances follow a recursion."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.fft
import torch
from torch import Tensor

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.figures.repeated_churn import high_frequency_share, repeated_churn

STD, LOW, HIGH = 0.5, 0.1, 0.5
SHAPE = (400, 1, 8, 8)


def images() -> Tensor:
    return STD * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def shrinking(share: float, x: Tensor, sigma: float) -> Tensor:
    """The exact denoiser of the images, times ``share``."""
    return share * STD**2 / (STD**2 + sigma**2) * x


def power(trace_images: np.ndarray) -> np.ndarray:
    return (trace_images**2).mean(axis=(1, 2, 3, 4))


def test_an_exact_denoiser_keeps_the_distribution() -> None:
    trace = repeated_churn(lambda x, sigma: shrinking(1.0, x, sigma), images(), looks=(0, 5, 40))
    # 400 x 64 values have a variance that is known to 0.9%.
    np.testing.assert_allclose(power(trace.images), STD**2, rtol=0.02)
    np.testing.assert_allclose(trace.contrast.mean(1), STD, rtol=0.02)
    assert trace.cycles == (0, 5, 40)


@pytest.mark.parametrize(("share", "noise_scale"), [(0.9, 1.0), (1.0, 1.1), (1.0, 1.0)])
def test_variances_follow_the_recursion(share: float, noise_scale: float) -> None:
    def factor(levels: list[float]) -> float:
        """What DPM-Solver++ 2M (Lu et al. 2022, Algorithm 2) multiplies x by, in their variables with alpha = 1."""
        x, before, h_before = 1.0, 0.0, 0.0
        for sigma, sigma_next in itertools.pairwise(levels):
            denoised = share * STD**2 / (STD**2 + sigma**2) * x
            if sigma_next == 0:
                return denoised
            h = math.log(sigma / sigma_next)
            ahead = denoised + (denoised - before) * h / (2 * h_before) if h_before else denoised
            x = sigma_next / sigma * x - math.expm1(-h) * ahead
            before, h_before = denoised, h
        return x

    def karras(n: int, low: float, high: float) -> list[float]:
        return [(high ** (1 / 7) + i / (n - 1) * (low ** (1 / 7) - high ** (1 / 7))) ** 7 for i in range(n)]

    down, out = factor(karras(9, LOW, HIGH)), factor([*karras(12, 0.002, LOW), 0.0])
    start = images().double()
    variance = float(start.square().mean()) + LOW**2
    expected = [variance * out**2]
    for _ in range(6):
        variance = down**2 * (variance + noise_scale**2 * (HIGH**2 - LOW**2))
        expected.append(variance * out**2)
    trace = repeated_churn(
        lambda x, sigma: shrinking(share, x, sigma),
        start.float(), sigma_min=LOW, sigma_max=HIGH, noise_scale=noise_scale, looks=tuple(range(7)),
    )  # fmt: skip
    np.testing.assert_allclose(power(trace.images), expected, rtol=0.03)


def test_looks_differ_by_their_cycles_alone() -> None:
    mixture = GaussianMixture(torch.tensor([[[[-0.5]]], [[[0.5]]]]), 0.01 * torch.ones(2, 1, 1), torch.ones(2))
    few = torch.tensor([0.4, -0.6]).reshape(2, 1, 1, 1)
    every = repeated_churn(mixture, few, looks=(0, 1, 2, 3))
    some = repeated_churn(mixture, few, looks=(3,))
    np.testing.assert_array_equal(every.images[3], some.images[0])


def test_saturation_and_contrast_of_known_colours() -> None:
    colours = torch.zeros(2, 3, 4, 4)
    colours[1, 0] = 0.6  # red: grey is 0.2, so the distances are 0.4, 0.2 and 0.2
    trace = repeated_churn(lambda x, sigma: colours.double(), colours, looks=(0,))
    np.testing.assert_allclose(trace.saturation, [[0, np.sqrt(0.08)]], atol=1e-9)
    np.testing.assert_allclose(trace.contrast, [[0, np.sqrt(0.08)]], atol=1e-9)
    assert repeated_churn(lambda x, sigma: x, colours[:, :1], looks=(0,)).saturation is None


def test_share_of_high_frequencies() -> None:
    coefficients = np.zeros((4, 1, 9, 9))
    coefficients[0, 0, 0, 0] = 5  # the mean alone
    coefficients[1, 0, 4, 0] = 1  # just half of the highest frequency
    coefficients[2, 0, 0, 5] = 1
    coefficients[3, 0, [1, 8], [1, 0]] = [3, 1]
    found = high_frequency_share(scipy.fft.idctn(coefficients, axes=(2, 3), norm="ortho"))
    np.testing.assert_allclose(found, [0, 0, 1, 0.1], atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"looks": (3, 1)}, "increasing"),
        ({"looks": ()}, "increasing"),
        ({"sigma_min": 0.6}, "not below"),
        ({"noise_scale": 0.0}, "noise_scale"),
    ],
)
def test_bad_settings(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        repeated_churn(lambda x, sigma: x, torch.zeros(1, 1, 2, 2), **settings)
