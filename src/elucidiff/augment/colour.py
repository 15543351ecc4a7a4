"""Colour transforms: one 4 x 4 matrix on (red, green, blue, 1) for each image (Karras et al. 2020, App. B.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from elucidiff.augment.options import Options
from elucidiff.augment.placing import place

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
