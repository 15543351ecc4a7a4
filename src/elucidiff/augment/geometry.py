"""Transforms of geometry: whole pixels that move, and affine maps.

Flips, quarter turns and integer shifts change no value, only its position. Scale, rotation, anisotropic scale and
sub-pixel shift are one 3 x 3 matrix an image, and one resampling with little aliasing and blur (Karras et al. 2020,
App. B.1).

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
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from elucidiff.augment.base import Options, place


def inverse_matrices(options: Options, params: Mapping[str, Tensor], n: int, width: int, height: int) -> Tensor:
    """The matrices G^-1 that say where each output pixel comes from.

    The image is changed by the transforms in their order, G = T A R S on column vectors (x, y, 1), so the inverse is
    G^-1 = S^-1 R^-1 A^-1 T^-1: each later transform multiplies from the right. The origin is the centre of the image,
    x points right and y down, the unit is the pixel.

    Returns:
        ``(n, 3, 3)``, float64, on the CPU.
    """
    inverse = torch.eye(3, dtype=torch.float64).expand(n, 3, 3)
    if "scale" in params:
        shrink = torch.exp2(-params["scale"] * options.scale_std)
        inverse = inverse @ _scaling(shrink, shrink)
    if "rotate_frac" in params:
        inverse = inverse @ _rotation(params["rotate_frac"])
    if "aniso" in params:
        angle = params["aniso_angle"]
        stretch = torch.exp2(params["aniso"] * options.aniso_std)
        inverse = inverse @ _rotation(-angle) @ _scaling(1 / stretch, stretch) @ _rotation(angle)
    if "translate_frac" in params:
        x, y = params["translate_frac"] * options.translate_frac_std
        inverse = inverse @ _translation(-x * width, -y * height)
    return inverse


def _rotation(angle: Tensor) -> Tensor:
    """Turns x towards y, clockwise on the screen; as an inverse it turns the image counter-clockwise."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _affine(cos, -sin, zero, sin, cos, zero)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero = torch.zeros_like(x)
    return _affine(x, zero, zero, zero, y, zero)


def _translation(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _affine(one, zero, x, zero, one, y)


def _affine(*upper: Tensor) -> Tensor:
    """The matrices ``(n, 3, 3)`` with these six entries of shape ``(n,)`` above the row 0, 0, 1."""
    zero, one = torch.zeros_like(upper[0]), torch.ones_like(upper[0])
    return torch.stack([*upper, zero, zero, one], dim=1).reshape(-1, 3, 3)


def move_pixels(images: Tensor, params: Mapping[str, Tensor], translate_int_max: float) -> Tensor:
    """Apply the transforms of this kind that are in ``params``, in their order.

    Args:
        images: ``(n, C, H, W)``; H = W if ``"rotate_int"`` is in ``params``.
        params: values w on the CPU, see :func:`elucidiff.augment.base.gated_values`.
        translate_int_max: largest shift as a part of the width or height.
    """
    if "xflip" in params:
        images = torch.where(_each(params["xflip"] == 1, images), images.flip(3), images)
    if "yflip" in params:
        images = torch.where(_each(params["yflip"] == 1, images), images.flip(2), images)
    if "rotate_int" in params:
        upright = images
        for turns in (1, 2, 3):
            turned = _each(params["rotate_int"] == turns, images)
            images = torch.where(turned, upright.rot90(turns, (2, 3)), images)
    if "translate_int" in params:
        height, width = images.shape[2:]
        right, up = shifts(params["translate_int"], width, height, translate_int_max)
        rows = reflect(torch.arange(height) + up[:, None].long(), height)
        columns = reflect(torch.arange(width) - right[:, None].long(), width)
        images = images.gather(2, place(rows, images.device)[:, None, :, None].expand_as(images))
        images = images.gather(3, place(columns, images.device)[:, None, None, :].expand_as(images))
    return images


def shifts(w: Tensor, width: int, height: int, maximum: float) -> tuple[Tensor, Tensor]:
    """Whole pixels to the right and up for ``w`` ``(2, n)`` in [-1, 1]; halves are rounded to even."""
    return (w[0] * (width * maximum)).round(), (w[1] * (height * maximum)).round()


def reflect(index: Tensor, size: int) -> Tensor:
    """Fold any integer into 0 ... size - 1 by mirrors on the first and the last pixel, which are not repeated."""
    last = size - 1
    period = max(2 * last, 1)
    return last - (index % period - last).abs()


def _each(mask: Tensor, images: Tensor) -> Tensor:
    return place(mask, images.device)[:, None, None, None]


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
    """Points at which the enlarged image is sampled, ``(n, 2 H + 10, 2 W + 10, 2)``, in ``grid_sample``'s [-1, 1].

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
