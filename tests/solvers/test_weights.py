"""Weights and integrals against polynomials, SymPy-free closed forms and SciPy's quadrature."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from elucidiff.solvers.multistep import exponential_moments, integral, polynomial_weights


@settings(deadline=None)
@given(st.lists(st.floats(-5, 1), min_size=1, max_size=4).filter(lambda p: _apart(p)), st.floats(-2, 2))
def test_weights_integrate_their_polynomials(places: list[float], shift: float) -> None:
    """With the moments of w = 1: int_0^1 (tau - shift)^k for every degree that the places allow."""
    weights = polynomial_weights(places, [1 / (k + 1) for k in range(len(places))])
    size = sum(abs(weight) for weight in weights)
    for k in range(len(places)):
        expected = ((1 - shift) ** (k + 1) - (-shift) ** (k + 1)) / (k + 1)
        got = sum(weight * (place - shift) ** k for weight, place in zip(weights, places, strict=True))
        assert got == pytest.approx(expected, abs=1e-10 * size * 7**k)


def _apart(places: list[float]) -> bool:
    ordered = sorted(places)
    return all(after - before > 0.05 for before, after in pairwise(ordered))


@pytest.mark.parametrize("h", [1e-12, 1e-3, 0.1, 0.999, 1.001, 3.0, 40.0])
def test_exponential_moments(h: float) -> None:
    """On both sides of where the series takes over, and where the recurrence would cancel."""
    for k, moment in enumerate(exponential_moments(h, 5)):
        expected = quad(lambda tau, k=k: h * math.exp(-h * (1 - tau)) * tau**k, 0, 1, epsabs=0, epsrel=1e-13)[0]
        assert moment == pytest.approx(expected, rel=2e-12)


@pytest.mark.parametrize(("start", "end"), [(80.0, 0.002), (3.0, 2.9), (0.5, 0.1), (0.1, 0.5)])
def test_integrals_over_the_noise_level(start: float, end: float) -> None:
    got = integral(lambda s: torch.stack([s**0, s**3, 1 / s, s / (1 + s * s)]), start, end).tolist()
    expected = [
        end - start,
        (end**4 - start**4) / 4,
        math.log(end / start),
        0.5 * math.log((1 + end**2) / (1 + start**2)),
    ]
    assert got == pytest.approx(expected, rel=1e-13)


def test_integrals_down_to_no_noise() -> None:
    """Polynomials, and powers of log(sigma), for which int_0^s log(sigma / s)^k dsigma = (-1)^k k! s."""
    got = integral(lambda s: torch.stack([s**0, s**3, (s / 0.3).log(), (s / 0.3).log() ** 2]), 0.3, 0.0).tolist()
    assert got == pytest.approx([-0.3, -(0.3**4) / 4, 0.3, -0.6], rel=1e-12)
