"""Schedules integrated from f(t) and g(t), against the closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from elucidiff.design.schedules import EDM, VE, VP, Flow, Schedule, from_sde

INTEGRATED = {
    "vp": (VP(), from_sde(lambda t: -(0.1 + 19.9 * t) / 2, lambda t: (0.1 + 19.9 * t).sqrt(), 1.0), 1.0),
    "ve": (VE(), from_sde(lambda t: 0.0, lambda t: 1.0, 1e4), 1e4),
    "edm": (EDM(), from_sde(torch.zeros_like, lambda t: (2 * t).sqrt(), 80.0), 80.0),
    "flow": (Flow(), from_sde(lambda t: -1 / (1 - t), lambda t: (2 * t / (1 - t)).sqrt(), 0.999), 0.999),
}


@pytest.mark.parametrize("name", INTEGRATED)
def test_equals_the_closed_form(name: str) -> None:
    """To 1e-11 relative, five orders better than promised, from 1e-9 t_max (where VP itself is off by 1e-7) on."""
    exact, numeric, t_max = INTEGRATED[name]
    t = t_max * torch.logspace(-9, 0, 400, dtype=torch.float64)
    t[-1] = t_max
    sigma = exact.sigma(t)
    if name == "vp":
        sigma = torch.expm1(0.5 * 19.9 * t.square() + 0.1 * t).sqrt()
    close = {"rtol": 1e-11, "atol": 0.0}
    torch.testing.assert_close(numeric.sigma(t), sigma, **close)
    torch.testing.assert_close(numeric.time(sigma), t, **close)
    torch.testing.assert_close(numeric.scale(t), exact.scale(t), **close)
    torch.testing.assert_close(numeric.scale_dot(t), exact.scale_dot(t), **close)
    torch.testing.assert_close(numeric.variance_dot(t), exact.variance_dot(t), **close)
    torch.testing.assert_close(numeric.f(t), exact.f(t), **close)
    torch.testing.assert_close(numeric.g(t), exact.g(t), **close)


@pytest.mark.parametrize("name", INTEGRATED)
def test_zero_is_exact(name: str) -> None:
    numeric = INTEGRATED[name][1]
    assert numeric.sigma(0.0) == 0
    assert numeric.time(0.0) == 0
    assert numeric.scale(0.0) == 1


@pytest.mark.parametrize("scaling", ["none", "vp"])
def test_scaling_can_be_replaced(scaling: str) -> None:
    t = torch.linspace(0.01, 1, 20, dtype=torch.float64)
    numeric = from_sde(lambda t: -(0.1 + 19.9 * t) / 2, lambda t: (0.1 + 19.9 * t).sqrt(), 1.0, scaling=scaling)
    exact = VP(scaling=scaling)
    torch.testing.assert_close(numeric.sigma(t), exact.sigma(t), rtol=1e-11, atol=0)
    torch.testing.assert_close(numeric.scale(t), exact.scale(t), rtol=1e-11, atol=0)
    torch.testing.assert_close(numeric.scale_dot(t), exact.scale_dot(t), rtol=1e-11, atol=0)


def test_jumps_and_kinks() -> None:
    """f jumps at 0.3, g at 0.7, neither of them a cut of the grid; the integrals stay elementary."""
    numeric = from_sde(lambda t: torch.where(t > 0.3, -2.0, 0.0), lambda t: torch.where(t > 0.7, 2.0, 1.0), 1.0)
    assert float(numeric.scale(1.0)) == pytest.approx(math.exp(-1.4), rel=1e-10)
    early = 0.3 + (math.exp(4 * 0.4) - 1) / 4  # int exp(4 (t - 0.3)) from 0.3 to 0.7
    late = 4 * (math.exp(4 * 0.7) - math.exp(4 * 0.4)) / 4
    assert float(numeric.sigma(0.3)) == pytest.approx(math.sqrt(0.3), rel=1e-10)
    assert float(numeric.sigma(0.7)) == pytest.approx(math.sqrt(early), rel=1e-10)
    assert float(numeric.sigma(1.0)) == pytest.approx(math.sqrt(early + late), rel=1e-10)


def test_root_at_the_start() -> None:
    """g^2 = sqrt(t) is no polynomial near 0: sigma^2 = t^(3/2) / (3/2)."""
    numeric = from_sde(lambda t: 0.0, lambda t: t**0.25, 2.0)
    t = torch.logspace(-8, 0.3, 100, dtype=torch.float64)
    torch.testing.assert_close(numeric.sigma(t), (t**1.5 / 1.5).sqrt(), rtol=1e-9, atol=0)
    torch.testing.assert_close(numeric.time((t**1.5 / 1.5).sqrt()), t, rtol=1e-9, atol=0)


def test_noise_that_starts_late() -> None:
    """Where sigma(t) is flat, the time of a noise level is any with that level."""
    numeric = from_sde(lambda t: 0.0, lambda t: (t - 0.5).clamp(min=0).sqrt(), 1.0)
    assert float(numeric.sigma(1.0)) == pytest.approx(math.sqrt(0.125), rel=1e-9)
    sigma = torch.tensor([0.0, 0.01, 0.2], dtype=torch.float64)
    torch.testing.assert_close(numeric.sigma(numeric.time(sigma)), sigma, rtol=1e-9, atol=1e-12)


def test_shapes_types_and_gradients() -> None:
    numeric: Schedule = INTEGRATED["vp"][1]
    t = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    assert numeric.sigma(t).dtype == torch.float32
    torch.testing.assert_close(numeric.time(numeric.sigma(t)), t, rtol=1e-5, atol=0)
    t = t.double().requires_grad_()
    slope = torch.autograd.grad(numeric.sigma(t).sum(), t)[0]
    torch.testing.assert_close(slope, VP().sigma_dot(t.detach()), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_sde(lambda t: 0.0, lambda t: 1.0, 0.0), "t_max is 0.0: it must be positive and finite"),
        (lambda: from_sde(lambda t: 0.0, lambda t: 0.0, 1.0), "g is 0 on \\[0, 1.0\\]"),
        (lambda: from_sde(lambda t: t.log() * 0 + math.nan, lambda t: 1.0, 1.0), "f\\(t\\) is not finite at t = "),
        (lambda: from_sde(lambda t: 0.0, lambda t: (0.5 - t).sqrt(), 1.0), "g\\(t\\) is not finite at t = 0.[5-9]"),
        (lambda: from_sde(lambda t: 0.0, lambda t: torch.rand_like(t), 1.0), "too rough to integrate"),
        (lambda: from_sde(lambda t: -1e3, lambda t: 1.0, 1.0), "overflows on \\[0, 1.0\\]: use a smaller t_max"),
        (lambda: from_sde(lambda t: 0.0, lambda t: 1.0, 1.0, scaling="x"), "scaling 'x' is unknown"),
        (lambda: INTEGRATED["vp"][1].sigma(1.1), "a time lies outside \\[0, 1.0\\]"),
        (lambda: INTEGRATED["vp"][1].sigma(-0.1), "a time lies outside"),
        (lambda: INTEGRATED["ve"][1].time(101.0), "a noise level lies outside \\[0, 100.0"),
        (lambda: INTEGRATED["ve"][1].time(math.nan), "a noise level lies outside"),
    ],
)
def test_bad_input(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
