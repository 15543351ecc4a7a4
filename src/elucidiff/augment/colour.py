"""Transforms of values: colours, and bands of frequencies.

Colours are changed by one 4 x 4 matrix on (red, green, blue, 1) for each image (Karras et al. 2020, App. B.1),
frequency bands are amplified or damped by random factors (App. B.2).

The frequencies along each axis are split into four bands, each an octave but the lowest: up to pi / 8, to pi / 4, to
pi / 2 and to pi. An image is filtered along its rows and its columns with sum_i g_i B_i, where B_i passes band i and
g_i is the band's gain, so that gains of 1 give it back.

The bands come from an orthogonal wavelet's low-pass filter H (z-transform). L(z) = H(z) H(1/z) / 2 passes the lower
half of all frequencies without a shift of phase, L(-z) the upper half, and L(z) + L(-z) = 1. In octaves,

    B_4 = L(-z),  B_3 = L(z) L(-z^2),  B_2 = L(z) L(z^2) L(-z^4),  B_1 = L(z) L(z^2) L(z^4),

which add up to 1. The wavelet is "sym2", Daubechies' with two vanishing moments: h = (1 + r, 3 + r, 3 - r, 1 - r) /
(4 sqrt 2) with r = sqrt 3 (Daubechies 1992).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.augment.base import Options, place
from elucidiff.augment.geometry import reflect

# The projection onto the grey axis v = (1, 1, 1) / sqrt 3, and the cross product with v.
_GREY = torch.full((3, 3), 1 / 3, dtype=torch.float64)
_CROSS = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], dtype=torch.float64) / 3**0.5


def colour_matrices(options: Options, params: Mapping[str, Tensor], n: int) -> Tensor:
    """The matrices ``(n, 4, 4)``, float64 on the CPU; each later transform multiplies from the left."""
    matrix = torch.eye(4, dtype=torch.float64).expand(n, 4, 4)
    one = torch.eye(3, dtype=torch.float64)
    if "brightness" in params:
        added = _linear(one.expand(n, 3, 3))
        added[:, :3, 3] = params["brightness"][:, None] * options.brightness_std
        matrix = added @ matrix
    if "contrast" in params:
        matrix = _linear(_each(torch.exp2(params["contrast"] * options.contrast_std)) * one) @ matrix
    if "lumaflip" in params:
        matrix = _linear(one - 2 * _each(params["lumaflip"]) * _GREY) @ matrix
    if "hue" in params:
        cos, sin = _each(params["hue"].cos()), _each(params["hue"].sin())
        # Rodrigues' formula for the rotation about v.
        matrix = _linear(cos * one + (1 - cos) * _GREY + sin * _CROSS) @ matrix
    if "saturation" in params:
        factor = _each(torch.exp2(params["saturation"] * options.saturation_std))
        matrix = _linear(factor * one + (1 - factor) * _GREY) @ matrix
    return matrix


def recolour(images: Tensor, matrix: Tensor) -> Tensor:
    """Apply ``matrix`` ``(n, 4, 4)`` to ``images`` ``(n, 3, H, W)``, or to grey ones ``(n, 1, H, W)``.

    A grey image is taken as three equal channels, and the mean of the three results is kept.
    """
    if images.shape[1] == 1:
        mean = matrix[:, :3].mean(1)
        factor, added = mean[:, :3].sum(1), mean[:, 3]
        return images * _on(factor[:, None], images) + _on(added[:, None], images)
    result = _on(matrix[:, :3, 3], images)
    for channel in range(3):
        result = result + _on(matrix[:, :3, channel], images) * images[:, channel, None]
    return result


def _linear(block: Tensor) -> Tensor:
    """The matrices ``(n, 4, 4)`` with ``block`` ``(n, 3, 3)`` in the upper left corner and 1 in the lower right."""
    matrix = torch.zeros(len(block), 4, 4, dtype=block.dtype)
    matrix[:, :3, :3] = block
    matrix[:, 3, 3] = 1
    return matrix


def _each(values: Tensor) -> Tensor:
    return values[:, None, None]


def _on(values: Tensor, images: Tensor) -> Tensor:
    """Numbers ``(n, C)`` as a factor for ``images``, on their device and in their type."""
    return place(values, images.device, images.dtype)[:, :, None, None]


_R = math.sqrt(3)
SYM2 = tuple(tap / (4 * math.sqrt(2)) for tap in (1 + _R, 3 + _R, 3 - _R, 1 - _R))
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)
"""Expected power of natural images in each band, lowest first; a filtered image keeps this much in all."""


def _filter_bank() -> npt.NDArray[np.float64]:
    """The filters B_1 ... B_4, (4, taps), centred."""
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    high = low * (-1.0) ** (np.arange(len(low)) - len(low) // 2)
    bands, passed = [], np.ones(1)
    for level in range(len(POWER) - 1):
        bands.append(np.convolve(passed, _stretched(high, 2**level)))
        passed = np.convolve(passed, _stretched(low, 2**level))
    bands.append(passed)
    taps = len(passed)
    return np.stack([np.pad(band, (taps - len(band)) // 2) for band in reversed(bands)])


def _stretched(taps: npt.NDArray[np.float64], factor: int) -> npt.NDArray[np.float64]:
    """From F(z) to F(z^factor)."""
    result = np.zeros((len(taps) - 1) * factor + 1)
    result[::factor] = taps
    return result


BANK = _filter_bank()


def gains(w: Tensor, std: float) -> Tensor:
    """Gains g ``(4, n)`` of the bands, lowest first.

    One band after the other is multiplied by 2^(w_i std), and the whole is then scaled so that the expected power
    stays what it was: with t = (1, ..., 2^(w_i std), ..., 1), g is multiplied by t / sqrt(sum_j POWER_j t_j^2).

    Args:
        w: ``(4, n)``, one normal number a band, 0 where it is left alone.
        std: standard deviation of the log2 of a band's gain.
    """
    power = torch.tensor(POWER, dtype=w.dtype)[:, None]
    result = torch.ones_like(w)
    for band in range(len(w)):
        factors = torch.ones_like(w)
        factors[band] = torch.exp2(w[band] * std)
        result = result * factors / (power * factors.square()).sum(0).sqrt()
    return result


def filter_images(images: Tensor, gain: Tensor) -> Tensor:
    """Filter ``images`` ``(n, C, H, W)`` along both axes with gains ``(4, n)``, float64 on the CPU.

    Beyond its border an image goes on as its reflection, as often as it takes.
    """
    taps = place(gain.T @ torch.from_numpy(BANK), images.device, images.dtype)
    for dim in (2, 3):
        images = _along(images, taps, dim)
    return images


def _along(images: Tensor, taps: Tensor, dim: int) -> Tensor:
    """Convolve along ``dim``, as a sum of shifted copies: a convolution call may round to TF32 on CUDA."""
    size, reach = images.shape[dim], taps.shape[1] // 2
    index = place(reflect(torch.arange(-reach, size + reach), size), images.device)
    wide = images.index_select(dim, index)
    total = torch.zeros_like(images)
    for k in range(taps.shape[1]):
        # The filters are symmetric, so it does not matter which way the copies move.
        total += taps[:, k, None, None, None] * wide.narrow(dim, k, size)
    return total
