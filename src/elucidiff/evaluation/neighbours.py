"""Distances to the nearest image of a reference set: the plainest check for memorisation."""

from __future__ import annotations

import torch
from torch import Tensor

from elucidiff.data.nearest import nearest_images


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
