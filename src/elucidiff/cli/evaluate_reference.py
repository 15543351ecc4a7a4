"""What ``elucidiff evaluate`` judges by: the extractor, the reference and the metrics."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from elucidiff.cli.common.progress import Progress
from elucidiff.cli.evaluate_subject import Subject
from elucidiff.data import Dataset
from elucidiff.evaluation.class_frequencies import frequencies_advice
from elucidiff.evaluation.quality import (
    Evaluator,
    OfModel,
    extractor_by_name,
    open_images,
    open_reference,
)
from elucidiff.evaluation.quality.evaluator import check_images
from elucidiff.evaluation.quality.metrics import check_metrics, metrics_of
from elucidiff.evaluation.quality.reference import holds_statistics

if TYPE_CHECKING:
    from elucidiff.cli.evaluate import Options

_DEFAULT = ["fid", "kid"]


def chosen_metrics(text: str | None, reference: str) -> list[str]:
    """The metrics that were asked for.

    Raises:
        ValueError: one is unknown; the nearest is suggested.
    """
    if text is None:
        return _DEFAULT[:1] if holds_statistics(reference) else _DEFAULT
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        return list(metrics_of(names))
    except ValueError as error:
        raise ValueError(f"--metrics {text}: {error}") from None


def evaluator_for(
    options: Options,
    metrics: list[str],
    subject: Subject,
    count: int,
    device: torch.device,
    stop_if_asked: Callable[[], object],
) -> Evaluator:
    """What images are judged by. Everything is checked before anything is described.

    Raises:
        ValueError: something does not fit the rest, or a file is damaged.
        OSError: something cannot be read, written or fetched.
    """
    statistics = holds_statistics(options.reference)
    source: Any = Path(options.reference) if statistics else open_images(options.reference)
    extractor = extractor_by_name(
        options.extractor,
        source,
        device=device,
        batch_size=options.extractor_batch_size,
        weights=options.weights,
    )
    name = source.name
    check_metrics(metrics, extractor, name, not statistics)
    if isinstance(source, Dataset):
        check_images(extractor, metrics, subject.shape, subject.dtype, count, source, len(source))
        if isinstance(subject.images, OfModel) and (advice := frequencies_advice(subject.images, source)):
            print(advice, file=sys.stderr)
    else:
        extractor.check(subject.shape, subject.dtype)
    total = len(source) if isinstance(source, Dataset) else 1
    with Progress("reference", total, "images") as bar:

        def tick(images: int) -> None:
            bar.advance(images)
            stop_if_asked()

        reference = open_reference(source, extractor, cache=options.cache, tick=tick)
    evaluator = Evaluator(extractor, reference, metrics)
    evaluator.check(subject.shape, subject.dtype, count)
    return evaluator
