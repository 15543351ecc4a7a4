"""The judge of an ablation, by the names of an extractor and of metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from elucidiff.data import Dataset
from elucidiff.evaluation.quality import Judge, extractor_by_name, open_reference
from elucidiff.evaluation.quality.metrics import check_metrics

NONE = "none"


def open_judge(
    extractor: str,
    source: Dataset | Path,
    metrics: Sequence[str],
    shape: Sequence[int],
    count: int,
    device: torch.device,
    batch_size: int,
    *,
    weights: Path | None = None,
    cache: Path | None = None,
    tick: Callable[[int], object] = lambda _: None,
) -> Judge | None:
    """A judge that compares samples with a data set, or with statistics; None for the extractor ``none``.

    Args:
        extractor: see :func:`.extractor_by_name`.
        source: the reference; see :func:`.open_reference`.
        metrics: by name.
        shape: of a sample, (C, *spatial).
        count: samples that are judged together.
        device: where to compute features.
        batch_size: samples in one call of the extractor.
        weights: of the extractor, where they are not to be fetched.
        cache: folder for features of data sets.
        tick: called with the number of images of the reference described since; may raise to end the work.

    Raises:
        ValueError: there is no such extractor or metric, it cannot describe such data, or there are too few samples.
        OSError: weights are missing, or features cannot be kept.
    """
    if extractor == NONE:
        return None
    # Of statistics nobody knows what they were made of; pictures have 8 bits.
    dtype = source.dtype if isinstance(source, Dataset) else torch.uint8
    made = extractor_by_name(extractor, source, device=device, batch_size=batch_size, weights=weights)
    check_metrics(metrics, made, source.name, isinstance(source, Dataset))
    judge = Judge(made, open_reference(source, made, cache=cache, tick=tick), metrics)
    judge.check(shape, dtype, count)
    return judge
