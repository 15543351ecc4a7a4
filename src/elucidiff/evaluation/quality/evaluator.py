"""An extractor, a reference and some metrics, ready to judge images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from elucidiff.data.scaling import to_uint8
from elucidiff.evaluation.quality import metrics as figures_of
from elucidiff.evaluation.quality.extractors import Extractor, Rows
from elucidiff.evaluation.quality.metrics import BLOCKS, check_count, jackknife, spread_of_blocks
from elucidiff.evaluation.quality.quality import Measured, Quality, warnings_for
from elucidiff.evaluation.quality.reference import Reference


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


_SMOOTH = ("fid", "fid_infinity", "precision", "recall")
_ENOUGH_SUBSETS = 10  # of a block: as many comparisons in all blocks as of all images


class Evaluator:
    """Figures of images.

    Args:
        extractor: describes images; with logits where ``is`` is asked for.
        reference: what they are compared with, described by the same extractor.
        metrics: some of fid, fid_infinity, kid, precision, recall, is.

    Raises:
        ValueError: a metric is unknown or cannot be had, or the reference is of another extractor.
    """

    def __init__(self, extractor: Extractor, reference: Reference, metrics: Sequence[str] = ("fid",)) -> None:
        if reference.extractor not in (None, extractor.id):
            raise ValueError(
                f"the reference was described by {reference.extractor}, but images by {extractor.id}: choose one"
            )
        figures_of.check_metrics(metrics, extractor, reference.name, reference.store is not None)
        self.extractor, self.reference = extractor, reference
        self._names = [name for name in figures_of.LOWER_IS_BETTER if name in metrics]

    @property
    def metrics(self) -> Mapping[str, bool]:
        """The figures by name, and for each whether lower is better."""
        return {name: figures_of.LOWER_IS_BETTER[name] for name in self._names}

    @property
    def steps(self) -> int:
        """How often :meth:`quality` calls ``tick``."""
        smooth = figures_of.of_rows([name for name in self._names if name in _SMOOTH], self.reference, 0)
        return BLOCKS * (len(smooth) + ("kid" in self._names))

    def check(self, shape: Sequence[int], dtype: torch.dtype, count: int) -> None:
        """Find what is wrong with images before they are made or read.

        Args:
            shape: of an image, (C, *spatial).
            dtype: torch.uint8 for pictures.
            count: number of images in each repeat.

        Raises:
            ValueError: the extractor cannot describe them, the reference has another size or other channels, or there
                are too few.
        """
        check_images(self.extractor, self._names, shape, dtype, count, self.reference, self.reference.count)

    def describe(self, x: Tensor) -> Rows:
        """Features (B, D) of samples (B, C, *spatial), as :func:`~elucidiff.sampling.sample` returns them.

        Pictures, in [-1, 1], are rounded to 8 bits first, as they are in files. A sample that is not finite has
        features that are not.
        """
        broken = ~x.flatten(1).isfinite().all(1).cpu()
        if self.reference.dtype is not None and self.reference.dtype.is_floating_point:
            images = x.nan_to_num().to(self.reference.dtype)
        else:
            images = to_uint8(x.nan_to_num())
        rows = self.extractor(images.cpu())
        if bool(broken.any()):
            rows[broken.numpy()] = np.nan
        return rows

    def figures(self, features: Rows) -> dict[str, float]:
        """The figures of images with these features (n, D), without errors.

        Raises:
            ValueError: there are too few, or some are not finite.
        """
        self._check(features)
        chosen = figures_of.of_rows(self._names, self.reference, self.extractor.dim)
        found: dict[str, float] = {}
        for figure in chosen.values():
            found |= figure(features)
        return {name: found[name] for name in self._names}

    def quality(self, features: Rows, tick: Callable[[], object] = lambda: None, *, errors: bool = True) -> Quality:
        """The figures of images with these features (n, D), in the order of their seeds, with errors and warnings.

        Args:
            features: as :meth:`describe` makes them.
            tick: called :attr:`steps` times; may raise to end the work.
            errors: False to leave errors out (NaN), where :func:`.repeated` is to find them.

        Raises:
            ValueError: there are too few, or some are not finite.
        """
        values, dim = self.figures(features), self.extractor.dim
        unknown = float("nan"), "none"
        found = self._errors(features, tick) if errors else dict.fromkeys(self._names, unknown)
        measured = {name: Measured(values[name], *found[name], (values[name],)) for name in self._names}
        return Quality(
            measured,
            {name: figures_of.title(name, self.extractor) for name in self._names},
            len(features),
            self.extractor.id,
            self.reference.id,
            self.reference.count,
            warnings_for(self._names, len(features), dim, self.reference.count),
        )

    def measure(self, batches: Iterable[Tensor]) -> Quality:
        """The same, from batches of images (B, C, *spatial) as a data set holds them; only features are kept.

        Batches of whole multiples of the extractor's ``batch_size`` give the same bits as all images at once.
        """
        return self.quality(np.concatenate([self.extractor(images) for images in batches]))

    def _errors(self, features: Rows, tick: Callable[[], object]) -> dict[str, tuple[float, str]]:
        """The standard error of each figure, and how it was found."""
        dim, errors = self.extractor.dim, {}
        smooth = [name for name in self._names if name in _SMOOTH]
        for figure in figures_of.of_rows(smooth, self.reference, dim).values():
            for name, error in jackknife(figure, features, tick).items():
                errors[name] = error, f"jackknife, {BLOCKS} blocks"
        if "kid" in self._names:
            size = min(len(features) // BLOCKS, figures_of.KID_SUBSET)
            subsets = min(figures_of.KID_SUBSETS, _ENOUGH_SUBSETS * figures_of.KID_SUBSET // size)
            of_block = partial(figures_of.kernel, reference=self.reference, subsets=subsets)
            errors["kid"] = spread_of_blocks(of_block, features[:, :dim], tick), f"{BLOCKS} blocks"
        if "is" in self._names:
            errors["is"] = figures_of.inception_score(features[:, dim:])[1], f"{figures_of.SPLITS} splits"
        return errors

    def _check(self, features: Rows) -> None:
        figures_of.check_count(self._names, len(features), self.extractor.dim)
        if not np.isfinite(features).all():
            place = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
            raise ValueError(f"image {place} is not finite, or its features are not: look for NaN in the samples")
