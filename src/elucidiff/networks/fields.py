"""Conditions that are fields: brought to the size of the sample, and seen by a network as further channels.

A network that takes a field is told its labels and the field under names, ``{"field": (B, C, *spatial), "labels":
(B, label_dim)}``; without labels the first alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

FIELD, LABELS = "field", "labels"
"""The names of the field and of the labels beside it."""

_A = -0.5  # Keys 1981: the one cubic kernel of this family whose error is of third order


def resampled(x: Tensor, sides: Sequence[int]) -> Tensor:
    """Fields on a grid of other sides over the same ground, by cubic convolution along one axis after the other.

    The kernel is that of Keys 1981 (IEEE TASSP 29, 1153) with a = -1/2, between the centres of cells; where the new
    grid is coarser it is as wide as the new cells, so that nothing is aliased. Beyond the border it is cut off and
    scaled to a sum of 1. In two dimensions this is PyTorch's ``interpolate(mode="bicubic", antialias=True)``.

    Args:
        x: ``(B, C, *spatial)``, with any number of spatial dimensions.
        sides: of the new grid.

    Returns:
        ``(B, C, *sides)`` in the type of ``x``; ``x`` itself if it has these sides.

    >>> import elucidiff as ed
    >>> [round(float(value), 3) for value in ed.networks.resampled(torch.tensor([[[0.0, 1.0]]]), [4])[0, 0]]
    [-0.088, 0.207, 0.793, 1.088]
    """
    for axis, side in enumerate(sides, 2):
        if x.shape[axis] != side:
            weights = x.new_tensor(cubic_weights(x.shape[axis], side))
            x = (x.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return x


@functools.lru_cache(256)
def cubic_weights(before: int, after: int) -> tuple[tuple[float, ...], ...]:
    """The weight of each old value in each new one, ``(after, before)``; see :func:`resampled`."""
    step = before / after
    width = max(1.0, step)
    rows = []
    for place in range(after):
        centre = (place + 0.5) * step
        row = [_cubic((old + 0.5 - centre) / width) for old in range(before)]
        total = math.fsum(row)
        rows.append(tuple(weight / total for weight in row))
    return tuple(rows)


def _cubic(t: float) -> float:
    t = abs(t)
    if t < 1:
        return ((_A + 2) * t - (_A + 3)) * t * t + 1
    return (((t - 5) * t + 8) * t - 4) * _A if t < 2 else 0.0


def split(conditions: Tensor | Mapping[str, Tensor] | None) -> tuple[Tensor | None, Tensor | None]:
    """The field and the labels among what a network is told."""
    if isinstance(conditions, Mapping):
        return conditions.get(FIELD), conditions.get(LABELS)
    return None, conditions


def beside(x: Tensor, field: Tensor | None, channels: int, presence: bool) -> Tensor:
    """The input of a network with a field behind its channels.

    Args:
        x: the scaled noisy samples, ``(B, C, *spatial)``.
        field: ``(B, channels, *spatial)`` or ``(1, channels, *spatial)``, of any sides; with ``presence`` one more
            channel may follow, 1 where there is a field and 0 where there is none. None: there is none.
        channels: of the field.
        presence: whether the network is told if there is a field.

    Returns:
        ``(B, C + channels (+ 1), *spatial)``.

    Raises:
        ValueError: the field has other channels or dimensions, or there is none and the network cannot do without.
    """
    if field is None:
        if not presence:
            raise ValueError(f"the network was made for a field of {channels} channels: give {{'{FIELD}': tensor}}")
        return torch.cat([x, x.new_zeros(x.shape[0], channels + 1, *x.shape[2:])], dim=1)
    if (
        field.ndim != x.ndim
        or field.shape[0] not in (1, x.shape[0])
        or field.shape[1] - channels not in (0, presence)
    ):
        sides = f"{x.ndim - 2} spatial dimension{'s' if x.ndim > 3 else ''}"
        raise ValueError(
            f"the field has shape {tuple(field.shape)}, but this network takes ({x.shape[0]}, {channels}, {sides})"
        )
    field = field.to(x.dtype)
    there = field[:, channels:]
    field = resampled(field[:, :channels], x.shape[2:])
    if presence:
        there = resampled(there, x.shape[2:]) if there.shape[1] else torch.ones_like(field[:, :1])
        field = torch.cat([field, there], dim=1)
    return torch.cat([x, field.expand(x.shape[0], *field.shape[1:])], dim=1)
