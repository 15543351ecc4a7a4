"""The wavelet filter and the resampling with it: what must be exact is, and what is approximate is close."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elucidiff.augment import Augment
from elucidiff.augment.geometry import SYM6, double, halve, inverse_matrices, margins, resample

IDENTITY = torch.eye(3, dtype=torch.float64)[None]


def smooth_images(n: int, channels: int, height: int, width: int) -> Tensor:
    """Sums of a few slow waves, float64."""
    random = np.random.default_rng(0)
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    images = torch.zeros(n, channels, height, width, dtype=torch.float64)
    for _ in range(4):
        fx, fy, phase = (torch.from_numpy(random.uniform(-1, 1, (n, channels, 1, 1))) for _ in range(3))
        images += 0.25 * torch.sin(0.25 * (fx * x + fy * y) + math.pi * phase)
    return images


def one(images: Tensor, option: str, w: Tensor, **more: Tensor) -> Tensor:
    return Augment(**{option: 1.0}).apply(images, {option: w, **more})[0]


def centre(images: Tensor, cut: int) -> Tensor:
    return images[..., cut:-cut, cut:-cut]


def test_filter_is_orthonormal_to_its_even_shifts() -> None:
    for shift in range(0, 12, 2):
        product = np.dot(SYM6[shift:], SYM6[: 12 - shift])
        assert product == pytest.approx(1.0 if shift == 0 else 0.0, abs=1e-15)
    assert sum(SYM6) == pytest.approx(math.sqrt(2), abs=1e-14)


def test_filter_has_six_vanishing_moments() -> None:
    k = np.arange(12)
    for power in range(6):
        # The centre is subtracted, so that the sixth power does not magnify the rounding of the coefficients.
        assert np.sum((-1.0) ** k * (k - 5.0) ** power * np.array(SYM6)) == pytest.approx(0, abs=1e-10)


def test_filter_is_the_least_asymmetric_factor_of_daubechies_polynomial() -> None:
    """Sum_k binom(5 + k, k) y^k at y = (2 - z - 1/z) / 4: one root of each pair (z, 1/z), conjugates together."""
    roots_y = np.roots([math.comb(5 + k, k) for k in range(5, -1, -1)])
    upper = [y for y in roots_y if y.imag > -1e-9]
    binomial = np.poly(np.full(6, -1.0))
    frequency = np.linspace(0.01, 2.0, 400)
    candidates = []
    for inside in itertools.product((True, False), repeat=len(upper)):
        zs = []
        for y, choice in zip(upper, inside, strict=True):
            z = min(np.roots([1, 4 * y - 2, 1]), key=abs)
            z = z if choice else 1 / z
            zs += [z] if abs(y.imag) < 1e-9 else [z, z.conj()]
        taps = np.convolve(binomial, np.poly(zs)).real
        taps *= math.sqrt(2) / taps.sum()
        response = np.exp(-1j * frequency[:, None] * np.arange(12)) @ taps
        phase = np.unwrap(np.angle(response))
        slope = np.dot(phase, frequency) / np.dot(frequency, frequency)
        candidates.append((np.abs(phase - slope * frequency).max(), taps))
    best = min(candidates, key=lambda pair: pair[0])[1]
    error = min(np.abs(best - SYM6).max(), np.abs(best[::-1] - SYM6).max())
    assert error < 1e-11


def test_origin_is_where_the_mass_of_the_filter_is() -> None:
    assert np.dot(np.arange(12), SYM6) / sum(SYM6) == pytest.approx(5.098, abs=1e-3)


@given(length=st.integers(1, 12), other=st.integers(1, 4), dim=st.sampled_from([2, 3]))
def test_doubling_is_the_definition(length: int, other: int, dim: int) -> None:
    shape = (1, 2, length, other) if dim == 2 else (1, 2, other, length)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(length))
    expected = np.zeros((2 * length, length))
    for i, n in itertools.product(range(2 * length), range(length)):
        if 0 <= i - 2 * n + 5 < 12:
            expected[i, n] = math.sqrt(2) * SYM6[i - 2 * n + 5]
    result = np.moveaxis(double(x, dim).numpy(), dim, 0)
    np.testing.assert_allclose(result, np.tensordot(expected, np.moveaxis(x.numpy(), dim, 0), 1), atol=1e-14)


@given(length=st.integers(1, 12), other=st.integers(1, 4), dim=st.sampled_from([2, 3]))
def test_halving_is_the_transpose_of_doubling(length: int, other: int, dim: int) -> None:
    random = torch.Generator().manual_seed(length)
    shape = [1, 1, other, other]
    shape[dim] = length + 12
    x = torch.randn(shape, dtype=torch.float64, generator=random)
    shape[dim] = 2 * length + 10
    y = torch.randn(shape, dtype=torch.float64, generator=random)
    # Samples -5 ... 2 n + 4 of the doubled signal, with six more original samples at each end.
    doubled = double(x, dim).narrow(dim, 12 - 5, 2 * length + 10)
    one_inside = x.narrow(dim, 6, length)
    inner = (doubled * y).sum()
    outside = x.clone()
    outside.narrow(dim, 6, length).zero_()
    inner -= (double(outside, dim).narrow(dim, 12 - 5, 2 * length + 10) * y).sum()
    assert inner.item() == pytest.approx(2 * (halve(y, dim) * one_inside).sum().item(), abs=1e-12)


@given(height=st.integers(8, 40), width=st.integers(8, 40), channels=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_identity_map_gives_the_image_back(height: int, width: int, channels: int) -> None:
    images = torch.rand(2, channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = resample(images, IDENTITY.expand(2, 3, 3))
    torch.testing.assert_close(result, images, rtol=0, atol=1e-11)
    in_float32 = resample(images.float(), IDENTITY.expand(2, 3, 3))
    torch.testing.assert_close(in_float32, images.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pixels", [(3, 0), (-2, 5), (0, -7)])
def test_whole_pixel_shifts_are_exact(pixels: tuple[int, int]) -> None:
    images = torch.rand(1, 2, 24, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x, y = pixels
    w = torch.tensor([[x / 32], [y / 24]], dtype=torch.float64) / 0.125
    result = one(images, "translate_frac", w)
    endless = np.pad(images[0].numpy(), ((0, 0), (9, 9), (9, 9)), mode="reflect")
    expected = endless[:, 9 - y : 33 - y, 9 - x : 41 - x]
    np.testing.assert_allclose(result[0].numpy(), expected, atol=1e-11)


def test_full_turns_give_the_image_back() -> None:
    images = torch.rand(2, 1, 20, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    turns = torch.tensor([2 * math.pi, -2 * math.pi], dtype=torch.float64)
    torch.testing.assert_close(one(images, "rotate_frac", turns), images, rtol=0, atol=1e-10)


def test_ninety_degrees_are_close_to_a_quarter_turn() -> None:
    images = smooth_images(3, 2, 32, 32)
    w = torch.tensor([1, 2, 3])
    exact = one(images, "rotate_int", w)
    resampled = one(images, "rotate_frac", w.double() * (math.pi / 2))
    # The centre of mass of the filter lies 0.05 pixels off, once in enlarging and, turned, once in reducing.
    slope = sum(exact.diff(dim=dim).abs().amax() for dim in (2, 3))
    assert (centre(exact, 4) - centre(resampled, 4)).abs().max() < 0.1 * slope < 0.05
    # A wrong direction, or a centre off by half a pixel, would be far off.
    assert (exact - one(images, "rotate_frac", -w.double() * (math.pi / 2)))[[0, 2]].abs().max() > 0.3


def test_sub_pixel_shift_of_a_wave() -> None:
    """A slow wave moved by a part of a pixel is the wave at moved places."""
    x = torch.arange(32, dtype=torch.float64).expand(1, 1, 32, 32)
    shift = 1.3
    result = one(torch.sin(0.4 * x), "translate_frac", torch.tensor([[shift / 32 / 0.125], [0]], dtype=torch.float64))
    assert (centre(result, 6) - centre(torch.sin(0.4 * (x - shift)), 6)).abs().max() < 0.01


def test_magnification_of_a_wave() -> None:
    place = torch.arange(-16, 17, dtype=torch.float64).expand(1, 1, 33, 33)
    result = one(torch.cos(0.3 * place), "scale", torch.ones(1))
    assert (centre(result, 3) - centre(torch.cos(0.3 * place / 2**0.2), 3)).abs().max() < 0.01


@pytest.mark.parametrize("w", [0.5, -1.5, 2.0])
def test_inverse_maps_undo_each_other_inside(w: float) -> None:
    images = smooth_images(2, 1, 48, 40)
    values = torch.full((2,), w, dtype=torch.float64)
    angle = torch.full((2,), 0.7, dtype=torch.float64)
    for option, more in (("scale", {}), ("rotate_frac", {}), ("aniso", {"aniso_angle": angle})):
        there = one(images, option, values, **more)
        back = one(there, option, -values, **more)
        assert (centre(there, 14) - centre(images, 14)).abs().max() > 0.03
        assert (centre(back, 14) - centre(images, 14)).abs().max() < 0.02, option


def test_stretch_is_along_the_turned_axis() -> None:
    """A wave along the axis gets longer by 2^(w std), one across shorter."""
    size, std, r = 49, 0.2, 0.6
    place = torch.arange(size, dtype=torch.float64) - 24
    up, right = -place[:, None], place[None, :]
    along, across = right * math.cos(r) + up * math.sin(r), up * math.cos(r) - right * math.sin(r)
    images = torch.stack([torch.cos(0.3 * along), torch.cos(0.3 * across)])[None]
    w = torch.ones(1, dtype=torch.float64)
    result = one(images, "aniso", w, aniso_angle=w * r)
    expected = torch.stack([torch.cos(0.3 * along / 2**std), torch.cos(0.3 * across * 2**std)])[None]
    assert (centre(result, 8) - centre(expected, 8)).abs().max() < 0.01


@given(height=st.integers(16, 32), width=st.integers(16, 32), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_constant_image_stays_constant(height: int, width: int, seed: int) -> None:
    """The filters have unit gain at every phase, and the margin leaves no zeros within reach of moderate maps."""
    augment = Augment(scale=1, rotate_frac=1, aniso=1, translate_frac=1, scale_std=0.05, aniso_std=0.05,
                      translate_frac_std=0.03, rotate_frac_max=0.05)  # fmt: skip
    params = augment.draw(4, torch.Generator().manual_seed(seed))
    params = {name: w.clamp(-2, 2) for name, w in params.items()}
    images = torch.full((4, 1, height, width), 0.7, dtype=torch.float64)
    torch.testing.assert_close(augment.apply(images, params)[0], images, rtol=0, atol=1e-11)


def test_sub_pixel_shift_keeps_the_mean_of_a_picture_on_a_flat_ground() -> None:
    images = torch.full((1, 3, 32, 32), -1.0, dtype=torch.float64)
    images[:, :, 12:20, 12:20] = torch.rand(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    w = torch.tensor([[0.83], [-0.41]], dtype=torch.float64)
    moved = one(images, "translate_frac", w)
    assert (moved - images).abs().max() > 0.3
    torch.testing.assert_close(moved.mean((2, 3)), images.mean((2, 3)), rtol=0, atol=1e-4)


@given(seed=st.integers(0, 1000), height=st.integers(8, 24), width=st.integers(8, 24))
@settings(max_examples=30, deadline=None)
def test_margin_is_wide_enough(seed: int, height: int, width: int) -> None:
    """The result equals the one with the largest margin: an image does not depend on its neighbours."""
    augment = Augment(scale=1, rotate_frac=1, aniso=1, translate_frac=1)
    params = {name: w.double() for name, w in augment.draw(1, torch.Generator().manual_seed(seed)).items()}
    images = torch.rand(1, 1, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    inverse = inverse_matrices(augment, params, 1, width, height)
    # A neighbour that reads far outside forces the largest margin.
    far = torch.diag(torch.tensor([9.0, 9.0, 1.0], dtype=torch.float64))[None]
    both = torch.cat([inverse, far])
    assert margins(both, width, height) == (width - 1, width - 1, height - 1, height - 1)
    alone, beside = resample(images, inverse), resample(images.expand(2, -1, -1, -1), both)
    torch.testing.assert_close(alone[0], beside[0], rtol=0, atol=1e-11)


def test_margin_of_the_identity_is_the_reach_of_the_filters() -> None:
    assert margins(IDENTITY, 32, 24) == (7, 7, 7, 7)
    assert margins(IDENTITY, 5, 1) == (4, 4, 0, 0)


def test_matmul_precision_does_not_matter() -> None:
    """Training often allows TF32; the filters use no matrix product or convolution that it would coarsen."""
    images = smooth_images(2, 1, 16, 16).float()
    w = torch.tensor([0.3, -0.8])
    before = torch.get_float32_matmul_precision()
    exact = one(images, "rotate_frac", w)
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(one(images, "rotate_frac", w), exact)
    finally:
        torch.set_float32_matmul_precision(before)
