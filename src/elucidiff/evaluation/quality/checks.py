"""What can be wrong with images that are to be judged, found before they are made or described."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import torch

from elucidiff.evaluation.quality.extractors import Extractor
from elucidiff.evaluation.quality.metrics import check_count


class KnownImages(Protocol):
    """What is known of a reference: a data set before it is described, or what it became."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...] | None: ...


def check_images(
    extractor: Extractor,
    metrics: Collection[str],
    shape: Sequence[int],
    dtype: torch.dtype,
    count: int,
    reference: KnownImages,
    reference_count: int | None,
) -> None:
    """Find what is wrong.

    Args:
        extractor: is to describe the images.
        metrics: by name.
        shape: of an image, (C, *spatial).
        dtype: torch.uint8 for pictures.
        count: number of images in each repeat.
        reference: what they are compared with; a file of statistics does not know its shape.
        reference_count: its number of images; None if nobody knows.

    Raises:
        ValueError: the extractor cannot describe such images, those of the reference have another size or other
            channels, or there are too few of either.
    """
    if reference.shape is not None and tuple(shape) != tuple(reference.shape):
        raise ValueError(
            f"images have shape {tuple(shape)} (channels, then size), but those of the reference {reference.name} "
            f"{tuple(reference.shape)}: compare images of one kind"
        )
    extractor.check(shape, dtype)
    check_count(metrics, count, extractor.dim)
    if reference_count is not None:
        check_count((), reference_count, extractor.dim, "reference images")
