"""8-bit images as continuous data, and log-densities as bits/dim."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from elucidiff.data.scaling import to_unit

_WIDTH = 1 / 127.5  # of what to_uint8 turns into one value, in units of the data


def dequantise(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """8-bit images with uniform noise of the width of a grey level: Theis et al. 2016, Section 3.1.

    The level v becomes (v + u) / 127.5 - 1 with u ~ U[-1/2, 1/2). :func:`~elucidiff.data.to_unit` has u = 0, and
    :func:`~elucidiff.data.scaling.to_uint8` turns all of that interval back into v. So a density over the result is
    the density of what is sampled and then rounded.

    Args:
        images: uint8 (B, C, *spatial).
        seeds: of the noise, one an image.

    Returns:
        float64, on the CPU.

    Raises:
        ValueError: the images are not uint8, or the seeds are not one an image.

    >>> import elucidiff as ed
    >>> x = ed.sampling.dequantise(torch.tensor([[[0, 255]]], dtype=torch.uint8), seeds=[0])
    >>> bool((x - torch.tensor([[[-1.0, 1.0]]])).abs().max() <= 0.5 / 127.5)
    True
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}, but only uint8 ones have grey levels to be dequantised")
    if len(seeds) != len(images):
        raise ValueError(f"there are {len(seeds)} seeds for {len(images)} images")
    drawn = [
        torch.rand(images.shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    return to_unit(images.cpu()).double() + (torch.stack(drawn) - 0.5) * _WIDTH


def bits_per_dim(log_prob: Tensor, size: int, *, eight_bits: bool) -> Tensor:
    """Bits for each value of a sample: -log2 P / n.

    For 8-bit images P is the probability of the grey levels. By Jensen's inequality

        -log2 P(v) <= E_u[ -log2 p(x) ] + n log2(127.5)

    as a level is 1 / 127.5 wide in x (images in [-1, 1]). For other data it is the density itself, which has units
    and may exceed 1.

    Args:
        log_prob: log p(x) in nats, any shape.
        size: values in a sample, n = C H W.
        eight_bits: whether ``x`` was dequantised from 8-bit images.

    >>> import elucidiff as ed
    >>> round(float(ed.sampling.bits_per_dim(torch.tensor(0.0), 1, eight_bits=True)), 3)  # log2(127.5)
    6.994
    """
    bits = -log_prob / (size * math.log(2))
    return bits - math.log2(_WIDTH) if eight_bits else bits
