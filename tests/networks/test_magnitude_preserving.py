"""Layers that keep magnitudes: their closed forms, and the geometry of normalised weights."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from elucidiff.networks.layers import CONVOLVE
from elucidiff.networks.magnitude_preserving import (
    SILU_MAGNITUDE,
    FoldedLayer,
    UnitLayer,
    folded,
    mp_cat,
    mp_sum,
    normalise_weights,
    sum_weights,
    unit_magnitude,
)
from tests.networks.small import random, small_network

KERNELS = [(), (1,), (3,), (3, 3), (1, 1, 1), (3, 3, 3)]


def magnitude(x):
    return float(x.detach().double().square().mean().sqrt())


def layer(in_channels, out_channels, kernel, seed=0, gain=1.0):
    torch.manual_seed(seed)
    return UnitLayer(in_channels, out_channels, kernel, gain).double()


def test_magnitude_of_silu():
    """By quadrature: the root of E[silu(x)^2] for unit Gaussian x."""
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    second_moment = torch.trapezoid(F.silu(x).square() * density, x)
    assert math.sqrt(second_moment) == pytest.approx(SILU_MAGNITUDE, abs=5e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_unit_inputs_give_unit_outputs(kernel):
    sides = {0: (), 1: (64,), 2: (16, 16), 3: (8, 8, 8)}[len(kernel)]
    x = random(512 if not kernel else 16, 32, *sides)
    y = layer(32, 48, kernel)(x)
    assert y.shape == (x.shape[0], 48, *sides)
    # Zeros stand outside of the sides, so only the middle has all of its inputs.
    middle = y[(..., *[slice(1, -1)] * len(kernel))]
    assert magnitude(middle) == pytest.approx(1.0, abs=0.03)
    per_output = middle.transpose(0, 1).flatten(1).square().mean(1).sqrt()
    assert (per_output - 1).abs().max() < 0.2


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_definition(kernel):
    unit = layer(4, 6, kernel, gain=1.7)
    with torch.no_grad():
        unit.weight.copy_(random(*unit.weight.shape, seed=3) * 7)
    x = random(2, 4, *[6] * len(kernel))
    norms = unit.weight.flatten(1).square().sum(1).sqrt().reshape(-1, *[1] * (unit.weight.ndim - 1))
    weight = unit.weight / norms
    expected = CONVOLVE[len(kernel)](x, weight, padding=kernel[0] // 2) if kernel else x @ weight.T
    torch.testing.assert_close(unit(x), 1.7 * expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients(kernel):
    unit = layer(2, 3, kernel, gain=0.8)
    x = random(2, 2, *[4] * len(kernel)).requires_grad_()
    weight = unit.weight.detach().clone().requires_grad_()

    def run(x, weight):
        return torch.func.functional_call(unit, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(run, (x, weight))
    assert torch.autograd.gradgradcheck(run, (x, weight))


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from(KERNELS), st.integers(0, 99), st.floats(0.01, 100))
@settings(max_examples=40, deadline=None)
def test_gradients_are_orthogonal_and_lengths_do_not_matter(inputs, outputs, kernel, seed, length):
    unit = layer(inputs, outputs, kernel, seed)
    x = random(3, inputs, *[3] * len(kernel), seed=seed)
    y = unit(x)
    (gradient,) = torch.autograd.grad((y * random(*y.shape, seed=seed + 1)).sum(), unit.weight)
    along = (gradient * unit.weight).flatten(1).sum(1)
    assert along.abs().max() <= 1e-12 * (1 + gradient.norm() * unit.weight.norm())
    with torch.no_grad():
        unit.weight.mul_(length)
    torch.testing.assert_close(unit(x), y, rtol=1e-12, atol=1e-12)


def test_weights_are_normalised_from_the_start():
    torch.manual_seed(0)
    magnitudes = UnitLayer(16, 8, (3, 3)).weight.flatten(1).double().square().mean(1)
    assert (magnitudes - 1).abs().max() < 1e-6


def test_a_weight_of_zeros_gives_zeros():
    unit = layer(3, 2, (3,))
    with torch.no_grad():
        unit.weight[0] = 0
    x = random(2, 3, 5)
    y = unit(x)
    assert torch.equal(y[:, 0], torch.zeros(2, 5, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(y.sum(), unit.weight)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_normalised_weights_have_magnitude_1_and_their_direction(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(UnitLayer(16, 8, (3, 3)), nn.Linear(5, 5), UnitLayer(7, 3)).to(dtype)
    plain = model[1].weight.detach().clone()
    eps = torch.finfo(dtype).eps
    normalise_weights(model)
    for unit in (model[0], model[2]):
        assert (unit.weight.double().flatten(1).square().mean(1) - 1).abs().max() < 4 * eps
        with torch.no_grad():
            unit.weight.mul_(3.3).add_(0.5)
        before = unit.weight.detach().clone()
        normalise_weights(model)
        assert (unit.weight.double().flatten(1).square().mean(1) - 1).abs().max() < 4 * eps
        cosine = F.cosine_similarity(unit.weight.double().flatten(1), before.double().flatten(1), dim=1)
        assert cosine.min() > 1 - 4 * eps
    assert torch.equal(model[1].weight, plain)


def test_half_precision_weights_are_rounded_once():
    unit = layer(64, 8, (3, 3)).bfloat16()
    exact = unit.weight.double().flatten(1)
    exact = (exact / exact.norm(dim=1, keepdim=True)).view_as(unit.weight)
    # Neighbouring bfloat16 numbers are 2^-7 apart at most, so rounding to the nearest is off by 2^-8.
    assert ((unit.unit_weight().double() - exact).abs() <= exact.abs() * 2**-7.99).all()


@given(st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_sums_of_independent_inputs_keep_their_magnitude(t, seed):
    a, b = random(200_000, seed=seed), random(200_000, seed=1000 + seed)
    assert magnitude(mp_sum(a, b, t)) == pytest.approx(1.0, abs=0.015)
    first, second = sum_weights(t)
    assert math.hypot(first, second) == pytest.approx(1.0, rel=1e-12)
    assert first * t == pytest.approx(second * (1 - t), abs=1e-12)


def test_sum_by_hand():
    # ((1 - 0.3) 1 + 0.3 * 2) / sqrt(0.49 + 0.09)
    ones = torch.ones(1, dtype=torch.float64)
    assert mp_sum(ones, 2 * ones, 0.3).item() == pytest.approx(1.3 / math.sqrt(0.58), rel=1e-14)


@pytest.mark.parametrize(("first", "second"), [(8, 8), (4, 12), (30, 2)])
def test_concatenation_keeps_the_magnitude_and_shares_it_equally(first, second):
    a, b = random(4, first, 50, 50, seed=1), random(4, second, 50, 50, seed=2)
    y = mp_cat(a, b)
    shares = [float(part.square().sum()) for part in (y[:, :first], y[:, first:])]
    assert magnitude(y) == pytest.approx(1.0, abs=0.02)
    assert shares[0] == pytest.approx(shares[1], rel=0.05)
    # What a following layer sees of each: |y_a|^2 = |y_b|^2 = half of all channels.
    torch.testing.assert_close(y[:, :first], a * math.sqrt((first + second) / 2 / first), rtol=0, atol=1e-14)
    torch.testing.assert_close(y[:, first:], b * math.sqrt((first + second) / 2 / second), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dim", [1, -1])
def test_unit_magnitude(dim):
    x = random(3, 5, 4, 6) * torch.tensor([0.5, 3.0, 100.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    means = unit_magnitude(x, dim).square().mean(dim)
    expected = x.square().mean(dim) / (x.square().mean(dim) + 1e-4)
    torch.testing.assert_close(means, expected, rtol=1e-12, atol=0)
    zero = torch.zeros(1, 4, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(unit_magnitude(zero, dim).sum(), zero)
    assert torch.equal(gradient, torch.full_like(zero, 100.0)), "1 / sqrt(eps) where there is nothing to normalise"


def test_unit_magnitude_of_half_precision_is_computed_in_float32():
    # The squares overflow float16, and the root of their mean does not.
    x = torch.full((1, 64, 2), 200.0, dtype=torch.float16)
    x[:, ::2] *= -1
    torch.testing.assert_close(unit_magnitude(x, 1).abs(), torch.ones_like(x), rtol=0, atol=1e-3)
    large = torch.full((1, 4, 2), 3000.0, dtype=torch.float16)
    torch.testing.assert_close(unit_magnitude(large, 1), torch.ones_like(large), rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 16), (2, 8, 8), (2, 4, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_same_function(shape, dtype):
    network = small_network("mp-unet", shape, label_dim=3).to(dtype)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    made = folded(network)
    x, labels = random(4, *shape).to(dtype), torch.eye(3, dtype=dtype)[[0, 2, 1, 1]]
    noise_labels = torch.linspace(-1, 1, 4, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(made(x, noise_labels, labels), network(x, noise_labels, labels))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(isinstance(layer, FoldedLayer) for layer in network.modules())
    unit = [layer for layer in made.modules() if isinstance(layer, UnitLayer)]
    assert len(unit) > 10
    assert all(isinstance(layer, FoldedLayer) for layer in unit)


def test_weights_are_computed_once(monkeypatch):
    made = folded(small_network("mp-unet", (2, 8, 8)))

    def fail(*_, **__):
        raise AssertionError("a norm was computed")

    monkeypatch.setattr(torch.linalg, "vector_norm", fail)
    with torch.no_grad():
        made(random(2, 2, 8, 8), torch.zeros(2, dtype=torch.float64))
    with pytest.raises(AssertionError, match="a norm was computed"):
        small_network("mp-unet", (2, 8, 8))


def test_what_has_none_of_these_layers_is_a_copy_in_evaluation_mode():
    network = small_network("ddpmpp", (2, 8, 8), dropout=0.5).train()
    made = folded(network)
    assert network.training
    assert not made.training
    assert not any(parameter.requires_grad for parameter in made.parameters())
    x, noise_labels = random(2, 2, 8, 8), torch.zeros(2, dtype=torch.float64)
    assert torch.equal(made(x, noise_labels), network.eval()(x, noise_labels))
    with torch.no_grad():
        next(iter(network.parameters())).add_(1)
    assert not torch.equal(made(x, noise_labels), network(x, noise_labels))


def test_a_layer_by_itself():
    layer = UnitLayer(3, 4, gain=0.7)
    made = folded(nn.Sequential(layer))
    assert torch.equal(made[0].weight, layer.unit_weight())
    assert made[0].weight.norm(dim=1).sub(0.7).abs().max() < 1e-6
    assert torch.equal(folded(layer).weight, layer.unit_weight())
