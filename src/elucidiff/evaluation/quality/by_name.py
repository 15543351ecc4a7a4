"""Extractors by the names that commands know."""

from __future__ import annotations

import os
import re

import torch

from elucidiff.data.dataset import Dataset
from elucidiff.evaluation.quality.extractors import Extractor, open_extractor
from elucidiff.evaluation.quality.principal import principal_components


def extractor_by_name(
    name: str,
    reference: Dataset | os.PathLike[str],
    *,
    device: torch.device,
    batch_size: int | None,
    weights: str | os.PathLike[str] | None = None,
) -> Extractor:
    """A feature network, or ``pca-20``, with any other number, for principal components of the reference.

    Args:
        name: ``pca-N``, or what :func:`.open_extractor` takes.
        reference: what images will be compared with; the path of a file if it holds statistics alone.
        device: where to compute.
        batch_size: as for :func:`.open_extractor`.
        weights: likewise.

    Raises:
        ValueError: there is none of that name, or it cannot be had with the rest.
        OSError: weights are missing.
    """
    found = re.fullmatch(r"pca-(\d+)", name)
    if found is None:
        return open_extractor(name, weights=weights, device=device, batch_size=batch_size)
    if weights is not None:
        raise ValueError(f"--weights would have no effect with {name}: leave it out")
    if not isinstance(reference, Dataset):
        raise ValueError(
            f"{name} is fitted to the images of the reference, but {reference} holds statistics alone: give images"
        )
    return principal_components(reference, int(found[1]))
