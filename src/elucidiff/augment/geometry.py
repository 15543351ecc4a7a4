"""The affine map of each image: scale, rotation, anisotropic scale and sub-pixel shift in one 3 x 3 matrix."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from elucidiff.augment.options import Options


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
