"""The images of a data set that are nearest to given ones."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# So many more than are asked for are compared value by value, in case rounding misplaced some.
_SPARE = 2


def nearest_images(images: Tensor, reference: Iterable[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """The nearest neighbours of each image in a reference set that is read in pieces.

    Squared distances through a matrix product find them, fast but with half of the digits of a small distance; then
    the few that are nearest are compared value by value.

    Args:
        images: ``(B, C, *spatial)`` on the CPU.
        reference: pieces ``(n, C, *spatial)`` in the same units, together at least ``count`` images.
        count: how many neighbours.

    Returns:
        Root mean square difference per value to each neighbour, float64 ``(B, count)``, increasing, and their numbers
        in the reference set ``(B, count)``.
    """
    flat = images.double().flatten(1)
    distances = flat.new_full((len(flat), 0), 0.0)
    indices = torch.zeros(len(flat), 0, dtype=torch.int64)
    start = 0
    for piece in reference:
        others = piece.double().flatten(1)
        squares = others.square().sum(1) - 2 * flat @ others.T  # up to |x|^2
        found = squares.topk(min(count + _SPARE, len(others)), largest=False).indices
        exact = torch.stack(
            [(one - others[candidates]).square().mean(1).sqrt() for one, candidates in zip(flat, found, strict=True)]
        )
        distances, indices = torch.cat([distances, exact], 1), torch.cat([indices, found + start], 1)
        order = distances.argsort(dim=1, stable=True)[:, :count]
        distances, indices = distances.gather(1, order), indices.gather(1, order)
        start += len(others)
    return distances, indices
