"""Spherical interpolation: angles, lengths, and what happens where the sphere leaves the way open."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import elucidiff as ed
from elucidiff.sampling import slerp
from elucidiff.sampling.interpolation import mixed, path, stops


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def angle(u: Tensor, v: Tensor) -> float:
    u, v = u.flatten() / u.norm(), v.flatten() / v.norm()
    return 2 * math.atan2(float((u - v).norm()), float((u + v).norm()))


@given(seed=st.integers(0, 1000), weight=st.floats(0, 1))
def test_turns_evenly_in_the_plane_of_both(seed: int, weight: float) -> None:
    start, end = normal(seed, 1, 3, 4), 3 * normal(seed + 1, 1, 3, 4)
    between = slerp(start, end, weight)
    omega = angle(start, end)
    assert angle(start, between) == pytest.approx(weight * omega, abs=1e-7)
    assert angle(between, end) == pytest.approx((1 - weight) * omega, abs=1e-7)
    expected = (1 - weight) * float(start.norm()) + weight * float(end.norm())
    assert float(between.norm()) == pytest.approx(expected, rel=1e-12)


def test_is_the_textbook_formula() -> None:
    start, end = normal(0, 2, 1, 8), normal(1, 2, 1, 8)
    end = end * (start.flatten(1).norm(dim=1) / end.flatten(1).norm(dim=1))[:, None, None]
    weights = torch.tensor([0.25, 0.8], dtype=torch.float64)
    for row in range(2):
        omega, w = angle(start[row], end[row]), float(weights[row])
        expected = (math.sin((1 - w) * omega) * start[row] + math.sin(w * omega) * end[row]) / math.sin(omega)
        torch.testing.assert_close(slerp(start, end, weights)[row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("apart", [0.0, 1e-16, 1e-12, 1e-8, 1e-4])
@pytest.mark.parametrize("sign", [1, -1])
def test_is_stable_near_parallel_and_opposite_directions(sign: int, apart: float) -> None:
    start = normal(0, 1, 1, 16)
    end = sign * start + apart * normal(1, 1, 1, 16)
    way = [slerp(start, end, w) for w in (k / 20 for k in range(21))]
    torch.testing.assert_close(way[0], start, rtol=0, atol=1e-14)
    torch.testing.assert_close(way[-1], end, rtol=0, atol=1e-14)
    omega = angle(start, end)
    for k, here in enumerate(way):
        assert float(here.norm()) == pytest.approx(float(start.norm()), rel=10 * apart + 1e-12)
        assert angle(start, here) == pytest.approx(omega * k / 20, abs=1e-7)
    steps = [angle(u, v) for u, v in itertools.pairwise(way)]
    assert max(steps) - min(steps) < 1e-7


def test_keeps_gaussian_latents_as_long_as_they_are() -> None:
    """Linear mixing would take them to 1 / sqrt(2) of their length, where a denoiser has never seen any."""
    start, end = normal(0, 4, 1, 4000), normal(1, 4, 1, 4000)
    lengths = slerp(start, end, 0.5).flatten(1).norm(dim=1) / math.sqrt(4000)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=0.03)


def test_path_has_every_key_once_and_exactly() -> None:
    keys = normal(2, 3, 1, 5)
    way, places = path(keys, 4)
    assert places == [(0, 0.0), (0, 1 / 3), (0, 2 / 3), (1, 0.0), (1, 1 / 3), (1, 2 / 3), (2, 0.0)]
    assert torch.equal(way[::3], keys)
    torch.testing.assert_close(way[4], slerp(keys[1:2], keys[2:], 1 / 3)[0], rtol=0, atol=0)
    rows = torch.eye(3)
    assert mixed(rows, places)[4].tolist() == pytest.approx([0, 2 / 3, 1 / 3])
    assert torch.equal(mixed(rows, places)[::3], rows)


def test_bad_input() -> None:
    x = normal(0, 2, 1, 3)
    with pytest.raises(ValueError, match="cannot interpolate between shapes"):
        slerp(x, x[:1], 0.5)
    with pytest.raises(ValueError, match="a sample of end has no direction"):
        slerp(x, torch.zeros_like(x), 0.5)
    with pytest.raises(ValueError, match="nothing to interpolate between with 1 of them"):
        stops(1, 5)
    with pytest.raises(ValueError, match="frames is 1, but must be at least 2"):
        stops(2, 1)


POINTS = torch.tensor([[[-1.0, 0.5]], [[0.8, -0.2]]])


def test_a_frame_at_a_seed_is_its_sample() -> None:
    """To the bit, as samples of one batch size are; and half-way is where the turned latent leads."""
    denoiser, text = ed.ideal.DataPosterior(POINTS), "ipndm:order=2 steps=karras:n=6"
    way = ed.sampling.interpolate_seeds(denoiser, [4, 7], frames=3, sampler=text, batch_size=4)
    samples = ed.Sampler.parse(text).run(denoiser, [4, 7], batch_size=4)
    assert torch.equal(way.x[::2], samples.x.cpu())
    assert way.nfe == samples.nfe
    z = ed.SeededNoise([4, 7]).latents(denoiser.sample_shape)
    between = slerp(z[:1], z[1:], 0.5)
    expected = ed.Sampler.parse(text).prepare(denoiser).sample(denoiser, between, batch_size=4)
    torch.testing.assert_close(way.x[1:2], expected, rtol=0, atol=1e-12)


def test_given_samples_are_the_ends_of_their_way() -> None:
    """Of N(0, I) the ODE only scales, so frames turn on the circle of the data as latents do on theirs."""
    denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 2), torch.eye(2)[None], torch.ones(1))
    way = ed.sampling.interpolate_samples(denoiser, torch.tensor([[2.0, 0.0], [0.0, 2.0]]), frames=4)
    angles = torch.arange(4) * math.pi / 6
    circle = 2 * torch.stack([angles.cos(), angles.sin()], 1).double()
    torch.testing.assert_close(way.x, circle, rtol=0, atol=2e-4)
    assert way.round_trip is not None
    assert float(way.round_trip.max()) < 2e-4


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ("er_sde", "cannot follow the ODE both ways"),
        ("heun churn=3", "leave --churn out"),
        ("guidance=2", "leave --guidance out"),
    ],
)
def test_what_has_no_way_back_is_refused(choice: str, says: str) -> None:
    denoiser = ed.ideal.DataPosterior(POINTS)
    with pytest.raises(ValueError, match=says):
        ed.sampling.interpolate_samples(denoiser, POINTS.double(), sampler=choice)
