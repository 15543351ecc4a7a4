"""The judge of an ablation, by the names of an extractor and of metrics."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from elucidiff.data import Dataset
from elucidiff.evaluation.quality import Judge, open_extractor, open_reference, principal_components

NONE = "none"


def open_judge(
    extractor: str, dataset: Dataset, metrics: Sequence[str], count: int, device: torch.device, batch_size: int
) -> Judge | None:
    """A judge that compares samples with a data set; None for the extractor ``none``.

    Args:
        extractor: ``pca-20``, or with any other number, for principal components of the data set; or what
            :func:`.open_extractor` takes.
        dataset: the reference.
        metrics: by name.
        count: samples that are judged together.
        device: where to compute features.
        batch_size: samples in one call of the extractor.

    Raises:
        ValueError: there is no such extractor or metric, it cannot describe such data, or there are too few samples.
        OSError: weights are missing, or features cannot be kept.
    """
    if extractor == NONE:
        return None
    found = re.fullmatch(r"pca-(\d+)", extractor)
    made = (
        principal_components(dataset, int(found[1]))
        if found
        else open_extractor(extractor, device=device, batch_size=batch_size)
    )
    judge = Judge(made, open_reference(dataset, made), metrics)
    judge.check(dataset.shape, dataset.dtype, count)
    return judge
