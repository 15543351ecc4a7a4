"""What ``elucidiff evaluate`` judges by: the extractor and the reference."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from elucidiff.cli.evaluate_subject import Subject
from elucidiff.cli.progress import Progress
from elucidiff.data import Dataset
from elucidiff.evaluation.quality import (
    Extractor,
    Reference,
    open_extractor,
    open_images,
    open_reference,
    principal_components,
)
from elucidiff.evaluation.quality.checks import check_images
from elucidiff.evaluation.quality.metrics import LOWER_IS_BETTER, check_metrics
from elucidiff.evaluation.quality.reference import is_statistics
from elucidiff.suggest import suggestion

if TYPE_CHECKING:
    from elucidiff.cli.evaluate import Options

_DEFAULT = ["fid", "kid"]


def chosen_metrics(text: str | None, reference: str) -> list[str]:
    """The metrics that were asked for.

    Raises:
        ValueError: one is unknown; the nearest is suggested.
    """
    if text is None:
        return _DEFAULT[:1] if _holds_statistics(reference) else _DEFAULT
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in LOWER_IS_BETTER:
            raise ValueError(f"--metrics {text}: {name!r} is unknown; {suggestion(name, LOWER_IS_BETTER)}")
    return names


def open_both(
    options: Options,
    metrics: list[str],
    subject: Subject,
    count: int,
    device: torch.device,
    stop_if_asked: Callable[[], object],
) -> tuple[Extractor, Reference]:
    """The extractor, and the reference as it describes it. Everything is checked before anything is described.

    Raises:
        ValueError: something does not fit the rest, or a file is damaged.
        OSError: something cannot be read, written or fetched.
    """
    statistics = _holds_statistics(options.reference)
    source: Any = Path(options.reference) if statistics else open_images(options.reference)
    extractor = _extractor(options, source, device)
    name = source.name
    check_metrics(metrics, extractor, name, not statistics)
    if isinstance(source, Dataset):
        check_images(extractor, metrics, subject.shape, subject.dtype, count, source, len(source))
    else:
        extractor.check(subject.shape, subject.dtype)
    total = len(source) if isinstance(source, Dataset) else 1
    with Progress("reference", total, "images") as bar:

        def tick(images: int) -> None:
            bar.advance(images)
            stop_if_asked()

        return extractor, open_reference(source, extractor, cache=options.cache, tick=tick)


def _extractor(options: Options, source: Any, device: torch.device) -> Extractor:
    found = re.fullmatch(r"pca-(\d+)", options.extractor)
    if found is None:
        return open_extractor(
            options.extractor,
            weights=options.weights,
            device=device,
            batch_size=options.extractor_batch_size,
        )
    if options.weights is not None:
        raise ValueError(f"--weights would have no effect with {options.extractor}: leave it out")
    if not isinstance(source, Dataset):
        raise ValueError(
            f"{options.extractor} is fitted to the images of the reference, but {options.reference} holds statistics "
            "alone: give images"
        )
    return principal_components(source, int(found[1]))


def _holds_statistics(reference: str) -> bool:
    path = Path(reference).expanduser()
    return path.suffix.lower() == ".npz" and path.is_file() and is_statistics(path)
