"""The judge of an ablation, by the names of an extractor and of metrics."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from elucidiff.data import Dataset
from elucidiff.evaluation.quality import Judge, extractor_by_name, open_reference

NONE = "none"


def open_judge(
    extractor: str, dataset: Dataset, metrics: Sequence[str], count: int, device: torch.device, batch_size: int
) -> Judge | None:
    """A judge that compares samples with a data set; None for the extractor ``none``.

    Args:
        extractor: see :func:`.extractor_by_name`.
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
    made = extractor_by_name(extractor, dataset, device=device, batch_size=batch_size)
    judge = Judge(made, open_reference(dataset, made), metrics)
    judge.check(dataset.shape, dataset.dtype, count)
    return judge
