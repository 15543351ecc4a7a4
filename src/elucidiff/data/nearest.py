"""The images of a set that are nearest to given ones: the plainest check for memorisation."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from elucidiff.data.dataset import Dataset
from elucidiff.data.scaling import AsStored, Scaling
from elucidiff.data.subsets import Places, evenly_spread

# Of a set with more values, images evenly spread over it stand for all.
_VALUES = 1 << 28
_VALUES_AT_ONCE = 1 << 22
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


def compared_with(dataset: Dataset, least: int = 1) -> Places:
    """Positions of the images among which the nearest are looked for: all, or of a large set some, evenly spread.

    Args:
        dataset: the images.
        least: so many at least, if there are.
    """
    return evenly_spread(np.arange(len(dataset)), max(least, _VALUES // math.prod(dataset.shape)))


def in_pieces(dataset: Dataset, places: Places) -> list[Places]:
    """Positions in pieces of so many images as are read at a time."""
    size = max(1, _VALUES_AT_ONCE // math.prod(dataset.shape))
    return [places[start : start + size] for start in range(0, len(places), size)]


def nearest_in(
    images: Tensor,
    dataset: Dataset,
    places: Places,
    count: int,
    scaling: Scaling = AsStored(),  # noqa: B008 (frozen)
) -> tuple[Tensor, Places]:
    """The images of a data set that are nearest to each image.

    Args:
        images: ``(B, C, *spatial)`` on the CPU, as a denoiser sees them. Missing values of the data set (NaN) count
            as 0, the mean.
        dataset: what to search.
        places: positions of the images to compare with, at least ``count``.
        count: how many neighbours.
        scaling: from the data set to what a denoiser sees; distances do not depend on the data's units then.

    Returns:
        Distances as those of :func:`nearest_images`, and the neighbours' positions in the data set, ``(B, count)``.
    """
    reference = (scaling.to_model(dataset.images(piece)).nan_to_num(0.0) for piece in in_pieces(dataset, places))
    distances, numbers = nearest_images(images, reference, count)
    return distances, places[numbers.numpy()]


def nearest(images: Tensor, reference: Tensor, *, chunk: int = 256) -> tuple[Tensor, Tensor]:
    """The nearest neighbour of each image in the reference set.

    Args:
        images: ``(B, C, *spatial)``.
        reference: ``(N, C, *spatial)``, in the same units.
        chunk: images compared at a time; memory grows with ``chunk * N``.

    Returns:
        Root mean square difference per pixel to the nearest reference image, float64 ``(B,)``, and its index
        ``(B,)``.

    Raises:
        ValueError: shapes of single images that differ, or an empty reference set.

    >>> import elucidiff as ed
    >>> dark, grey, light = (torch.full((1, 1, 2, 2), value) for value in (-1.0, 0.0, 0.8))
    >>> distance, index = ed.evaluation.nearest(light, torch.cat([dark, grey]))
    >>> round(float(distance), 4), int(index)
    (0.8, 1)
    """
    if images.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"images of shape {tuple(images.shape[1:])} cannot be compared with {tuple(reference.shape[1:])}"
        )
    if not len(reference):
        raise ValueError("the reference set is empty; it needs at least one image")
    found = [nearest_images(part.cpu(), [reference.cpu()], 1) for part in torch.split(images, chunk)]
    return torch.cat([part[0] for part in found])[:, 0], torch.cat([part[1] for part in found])[:, 0]
