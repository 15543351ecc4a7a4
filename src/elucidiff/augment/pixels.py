"""Transforms that move whole pixels: flips, quarter turns and integer shifts. No value is changed, only its place."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from elucidiff.augment.placing import place


def move_pixels(images: Tensor, params: Mapping[str, Tensor], translate_int_max: float) -> Tensor:
    """Apply the transforms of this kind that are in ``params``, in their order.

    Args:
        images: ``(n, C, H, W)``; H = W if ``"rotate_int"`` is in ``params``.
        params: values w on the CPU, see :func:`elucidiff.augment.draws.gated_values`.
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
