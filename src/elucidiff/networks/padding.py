"""The values beyond the borders of a sample: zeros, or, along periodic dimensions, its other end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Padding = Literal["zeros", "periodic"]
Periodic = tuple[bool, ...]
"""For each spatial dimension whether it is periodic, as longitude is; empty where none is."""


def periodic_from(padding: Sequence[Padding], dims: int) -> Periodic:
    """Whether each of ``dims`` spatial dimensions is periodic; empty where none is.

    Args:
        padding: for each of them, one for all, or none for zeros.
        dims: number of spatial dimensions.

    Raises:
        ValueError: there are other than 0, 1 or ``dims``.

    >>> periodic_from(("zeros", "periodic"), 2)
    (False, True)
    """
    if len(padding) not in (0, 1, dims):
        raise ValueError(
            f"padding has {len(padding)} entries for {dims} spatial dimensions: give one for all, or one each, as in "
            f"padding={'/'.join(['zeros'] * (dims - 1) + ['periodic'])}"
        )
    flags = tuple(each == "periodic" for each in padding)
    flags = flags * dims if len(flags) == 1 else flags
    return flags if any(flags) else ()


def extended(x: Tensor, amount: int, periodic: Periodic) -> Tensor:
    """``x`` with ``amount`` more values before and after every spatial dimension: its other end, or zeros.

    Args:
        x: ``(B, C, *spatial)``.
        amount: how many; may exceed a side, which is then repeated.
        periodic: which dimensions are.

    >>> extended(torch.tensor([[[1.0, 2.0, 3.0]]]), 1, (True,)).tolist()
    [[[3.0, 1.0, 2.0, 3.0, 1.0]]]
    """
    if amount == 0:
        return x
    zeros: list[int] = []
    for axis, wraps in enumerate(periodic, start=2):
        if wraps:
            places = torch.arange(-amount, x.shape[axis] + amount, device=x.device) % x.shape[axis]
            x = x.index_select(axis, places)
        zeros = [*([0, 0] if wraps else [amount, amount]), *zeros]  # the last dimension comes first
    return F.pad(x, zeros) if any(zeros) else x


def set_periodic(network: nn.Module, periodic: Periodic) -> None:
    """Make some dimensions of all layers of a network periodic that have an attribute of this name."""
    layer: Any
    for layer in network.modules():
        if hasattr(layer, "periodic"):
            layer.periodic = periodic
            if hasattr(layer, "padding_mode"):
                layer.padding_mode = "circular"  # to whoever computes convolutions in another way
