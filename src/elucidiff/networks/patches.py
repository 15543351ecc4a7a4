"""Patches of pixels as channels, and back: a network between the two computes a fraction of the positions."""

from __future__ import annotations

from torch import Tensor


def in_patches(x: Tensor, side: int) -> Tensor:
    """The values of every patch as channels.

    Args:
        x: ``(B, C, *spatial)``, every side a multiple of ``side``.
        side: of a patch, along every spatial dimension; 1 changes nothing.

    Returns:
        ``(B, C side^dims, *spatial / side)``, the channels of C in order, of each the patch in C order. In two
        dimensions it is PyTorch's ``pixel_unshuffle``.

    >>> import torch
    >>> in_patches(torch.arange(8.0).reshape(1, 2, 4), 2)[0].tolist()
    [[0.0, 2.0], [1.0, 3.0], [4.0, 6.0], [5.0, 7.0]]
    """
    if side == 1:
        return x
    dims = x.ndim - 2
    split = x.reshape(*x.shape[:2], *(part for length in x.shape[2:] for part in (length // side, side)))
    order = [0, 1, *range(3, 3 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2)]
    return split.permute(order).reshape(
        x.shape[0], x.shape[1] * side**dims, *(length // side for length in x.shape[2:])
    )


def in_pixels(x: Tensor, side: int) -> Tensor:
    """The inverse of :func:`in_patches`: ``(B, C side^dims, *spatial)`` as ``(B, C, *spatial side)``.

    >>> import torch
    >>> x = torch.arange(48.0).reshape(1, 3, 4, 4)
    >>> torch.equal(in_pixels(in_patches(x, 2), 2), x)
    True
    """
    if side == 1:
        return x
    dims = x.ndim - 2
    split = x.reshape(x.shape[0], -1, *(side,) * dims, *x.shape[2:])
    order = [0, 1, *(axis for place in range(dims) for axis in (2 + dims + place, 2 + place))]
    return split.permute(order).reshape(x.shape[0], split.shape[1], *(length * side for length in x.shape[2:]))
