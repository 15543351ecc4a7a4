"""Distances to the nearest image of a reference set: the plainest check for memorisation."""

from __future__ import annotations

import torch
from torch import Tensor


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
    """
    if images.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"images of shape {tuple(images.shape[1:])} cannot be compared with {tuple(reference.shape[1:])}"
        )
    if not len(reference):
        raise ValueError("the reference set is empty; it needs at least one image")
    flat, others = images.double().flatten(1), reference.double().flatten(1)
    # Squared distances through a matrix product would lose half of the digits of a small distance.
    found = [
        torch.cdist(part, others, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
        for part in torch.split(flat, chunk)
    ]
    distance = torch.cat([part.values for part in found]) / flat.shape[1] ** 0.5
    return distance, torch.cat([part.indices for part in found])
