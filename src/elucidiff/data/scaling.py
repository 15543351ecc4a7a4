"""From stored images to what a denoiser sees, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def is_picture(shape: Sequence[int]) -> bool:
    """True if samples of ``shape`` (C, *spatial) can be shown as they are: two dimensions, grey, RGB or RGBA."""
    return len(shape) == 3 and shape[0] in (1, 3, 4)


def to_unit(images: Tensor) -> Tensor:
    """Images as float32 in the units of the noise levels.

    8-bit images become x / 127.5 - 1, in [-1, 1], the range that sigma_data = 0.5 of Karras et al. 2022 (Table 1)
    refers to. Floating-point data already are in units of their owner's choosing and keep their values.

    Args:
        images: uint8 or floating point, any shape.

    Returns:
        float32, of the same shape and on the same device.

    Raises:
        ValueError: ``images`` are neither uint8 nor floating point.

    >>> import torch
    >>> import elucidiff as ed
    >>> ed.data.to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [-1.0, 1.0]
    """
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(127.5).sub_(1)
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}, but must be uint8 (0..255) or floating point")
    return images.to(torch.float32)


def to_uint8(x: Tensor) -> Tensor:
    """Images in [-1, 1] as 8-bit ones: 127.5 x + 128, clipped to [0, 255] and truncated; same shape.

    >>> import torch
    >>> import elucidiff as ed
    >>> ed.data.to_uint8(torch.tensor([-1.0, 1.0])).tolist()
    [0, 255]
    """
    return (x * 127.5 + 128).clip(0, 255).to(torch.uint8)
