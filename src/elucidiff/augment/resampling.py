r"""Resample images under affine maps with little aliasing and blur (Karras et al. 2020, App. B.1).

Bilinear sampling alone blurs. So the image is enlarged twofold with a good low-pass filter, sampled bilinearly at
twice the output resolution, and reduced twofold with the same filter. The filter is an orthogonal wavelet's: reducing
is the transpose, and the inverse, of enlarging, so the identity map gives the image back.

The wavelet is the least asymmetric one of Daubechies' with six vanishing moments, "sym6" (Daubechies 1992, Ten
Lectures on Wavelets, Sec. 8.1): twelve taps. Its centre of mass lies close to tap 5, at 5.098; with that tap at the
origin, sample u of the enlarged signal lies at u / 2 in the original one, and an upside-down turn is 0.1 pixels off.

The filters are sums of shifted copies rather than convolution calls: on CUDA those may round to TF32 (relative 1e-3),
and on a CPU these are faster for images of one to three channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from elucidiff.augment.placing import place

# The low-pass filter of sym6, factored with 60 digits and rounded to float64 (the tables that are handed round are
# good to 12 digits only); the tests derive it again from Daubechies' polynomial.
SYM6 = (
    0.015404109327044824,
    0.0034907120842221626,
    -0.11799011114852002,
    -0.04831174258569806,
    0.49105594192797375,
    0.787641141028651,
    0.3379294217281658,
    -0.07263752278637658,
    -0.02106029251237085,
    0.04472490177078139,
    0.0017677118642540077,
    -0.00780070832503238,
)
_ORIGIN = 5
# Pixels beyond the corner of the output that its filter reaches, and pixels beyond a sampled place that the bilinear
# weights (1/2) and the filter (3) reach in the input.
_OUTPUT_REACH, _INPUT_REACH = 3.0, 3.5


def resample(images: Tensor, inverse: Tensor) -> Tensor:
    """Draw each image as its affine map moves it.

    Outside the image lies its reflection (without a second edge pixel), as far as one reflection goes, then zeros.
    All images get the same margin, just wide enough for the widest: what a result reads is never cut, so it does not
    depend on the other images beyond rounding (about 1e-6 in float32). The largest margin of all, size - 1, would
    need no look at the matrices, but about three times the memory and time.

    Args:
        images: ``(n, C, H, W)``, floating, on any device.
        inverse: ``(n, 3, 3)``, float64 on the CPU, from centred output to centred input pixels; see
            :func:`elucidiff.augment.geometry.inverse_matrices`. Being on the CPU, it yields the margin without
            waiting for the images' device.
    """
    height, width = images.shape[2:]
    left, right, top, bottom = margins(inverse, width, height)
    # One axis after the other: the rows of the margin are copies, and need no horizontal filter of their own.
    wide = double(F.pad(images, (left, right, 0, 0), mode="reflect"), 3)
    enlarged = double(F.pad(wide, (0, 0, top, bottom), mode="reflect"), 2)
    grid = _grid(inverse, (width, height), (left, top), (enlarged.shape[3], enlarged.shape[2]), images)
    sampled = F.grid_sample(enlarged, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return halve(halve(sampled, 2), 3)


def margins(inverse: Tensor, width: int, height: int) -> tuple[int, int, int, int]:
    """Pixels to add left, right, above and below, so that every place which is read exists.

    At most size - 1, which is as far as one reflection goes.
    """
    sizes = torch.tensor([width, height], dtype=inverse.dtype)
    half = (sizes - 1) / 2
    # An affine map takes the box |x| <= a, |y| <= b to one that reaches |g_1| a + |g_2| b from its centre g_3.
    reach = inverse[:, :2, :2].abs() @ (half + _OUTPUT_REACH)
    centre = inverse[:, :2, 2]
    before, after = ((reach + sign * centre).amax(0) - half + _INPUT_REACH for sign in (-1, 1))
    limits = sizes - 1
    (left, top), (right, bottom) = (
        side.ceil().clamp(min=torch.zeros_like(limits), max=limits).long().tolist() for side in (before, after)
    )
    return left, right, top, bottom


def _grid(
    inverse: Tensor, size: tuple[int, int], before: tuple[int, int], enlarged: tuple[int, int], like: Tensor
) -> Tensor:
    """Where to sample the enlarged image ``(n, 2 H + 10, 2 W + 10, 2)``, in ``grid_sample``'s units of [-1, 1].

    Each pair of output pixels is halved from places v / 2, v = -5 ... 2 size + 4; place x of the input is sample
    2 (x + margin) of the enlarged image.
    """
    half = [(length - 1) / 2 for length in size]
    x, y = (
        (torch.arange(2 * length + len(SYM6) - 2, device=like.device, dtype=like.dtype) - _ORIGIN) / 2 - middle
        for length, middle in zip(size, half, strict=True)
    )
    axes = []
    for axis in range(2):
        unit = 4 / (enlarged[axis] - 1)
        row = inverse[:, axis] * unit
        row[:, 2] += (half[axis] + before[axis]) * unit - 1
        gx, gy, g1 = place(row, like.device, like.dtype)[:, :, None, None].unbind(1)
        axes.append(gx * x + (gy * y[:, None] + g1))
    return torch.stack(axes, dim=-1)


def double(x: Tensor, dim: int) -> Tensor:
    """Enlarge ``dim`` twofold: put zeros between the samples and filter, u_i = sqrt 2 sum_n x_n h_(i - 2 n + 5)."""
    length = x.shape[dim]
    before = [0, 0] * (x.ndim - 1 - dim)
    padded = F.pad(x, [*before, 3, 3])
    # Sample i = 2 m + phase meets only every other tap k, for which n = m + (phase + 5 - k) / 2.
    phases = []
    for phase in (0, 1):
        taps = range((_ORIGIN + phase) % 2, len(SYM6), 2)
        starts = [3 + (phase + _ORIGIN - k) // 2 for k in taps]
        phases.append(
            _weighted_sum(
                [padded.narrow(dim, start, length) for start in starts], [SYM6[k] * math.sqrt(2) for k in taps]
            )
        )
    return torch.stack(phases, dim=dim + 1).flatten(dim, dim + 1)


def halve(x: Tensor, dim: int) -> Tensor:
    """Reduce ``dim`` from 2 n + 10 samples to n, the transpose of enlarging: y_m = sum_k x_(2 m + k) h_k / sqrt 2."""
    length = (x.shape[dim] - len(SYM6) + 2) // 2
    window = 2 * length - 1
    copies = [x.narrow(dim, k, window)[(slice(None),) * dim + (slice(None, None, 2),)] for k in range(len(SYM6))]
    return _weighted_sum(copies, [tap / math.sqrt(2) for tap in SYM6])


def _weighted_sum(terms: list[Tensor], weights: list[float]) -> Tensor:
    total = terms[0] * weights[0]
    for term, weight in zip(terms[1:], weights[1:], strict=True):
        total.add_(term, alpha=weight)
    return total
