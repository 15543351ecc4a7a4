"""Metrics of images, each with its error and all that is needed to make sense of it; the evaluator computes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from elucidiff.data.scaling import AsStored, Pixels, Scaling
from elucidiff.evaluation.quality.extractors import Extractor, Features
from elucidiff.evaluation.quality.metric_sets import (
    check_count,
    check_metrics,
    error_steps,
    errors_of,
    metrics_of,
    values_of,
)
from elucidiff.evaluation.quality.metrics import standard_error
from elucidiff.evaluation.quality.reference import Reference
from elucidiff.notebooks import table_html


@dataclass(frozen=True)
class Warned:
    """A warning.

    Attributes:
        text: what is wrong, and what to do.
        metrics: names of those that it is about.
    """

    text: str
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """A metric, measured.

    Attributes:
        value: its value.
        error: its standard error, for the choice of the images.
        method: how the error was found.
        values: of each repeat; of one, ``value`` alone.
    """

    value: float
    error: float
    method: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Quality:
    """Metrics of some images.

    Attributes:
        metrics: value and error, by name.
        titles: what each is called in print.
        count: images in each repeat.
        extractor: id of what described them.
        reference: id of what they were compared with.
        reference_count: images in the reference; None if nobody knows.
        warnings: reasons not to trust one of them.

    >>> import elucidiff as ed
    >>> from elucidiff.evaluation.quality.evaluator import Measured
    >>> fid = Measured(2.5, 0.1, "jackknife", (2.5,))
    >>> quality = ed.evaluation.Quality({"fid": fid}, {"fid": "FID"}, 5000, "pca-5", "digits", 1797, ())
    >>> quality.to_dict()["metrics"]["fid"]["value"]
    2.5
    """

    metrics: Mapping[str, Measured]
    titles: Mapping[str, str]
    count: int
    extractor: str
    reference: str
    reference_count: int | None
    warnings: tuple[Warned, ...]

    def _repr_html_(self) -> str:
        """A table of the metrics, for notebooks."""
        rows = [(self.titles[name], f"{each.value:.4g} ± {each.error:.2g}") for name, each in self.metrics.items()]
        caption = f"{self.count:,} images against {self.reference}, by {self.extractor}"
        return table_html(caption, [*rows, *(("warning", each.text) for each in self.warnings)])

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return {
            "images": self.count,
            "extractor": self.extractor,
            "reference": self.reference,
            "reference_images": self.reference_count,
            "metrics": {
                name: {"title": self.titles[name], **vars(each), "values": list(each.values)}
                for name, each in self.metrics.items()
            },
            "warnings": [{"text": each.text, "metrics": list(each.metrics)} for each in self.warnings],
        }


def repeated(qualities: Sequence[Quality]) -> Quality:
    """Several seed blocks as one: the mean of each metric, and its standard error over the blocks.

    Args:
        qualities: of blocks of equally many images, by one extractor against one reference. A single one is returned
            as it is.

    Raises:
        ValueError: there are none, or they differ in more than their values.

    >>> import elucidiff as ed
    >>> from elucidiff.evaluation.quality.evaluator import Measured
    >>> def block(fid):
    ...     measured = {"fid": Measured(fid, 0.3, "jackknife", (fid,))}
    ...     return ed.evaluation.Quality(measured, {"fid": "FID"}, 5000, "pca-5", "digits", 1797, ())
    ...
    >>> fid = ed.evaluation.repeated([block(2.0), block(3.0)]).metrics["fid"]
    >>> fid.value, fid.error  # std / sqrt(2)
    (2.5, 0.5)
    """
    if not qualities:
        raise ValueError("there is nothing to take the mean of")
    first = qualities[0]
    if len(qualities) == 1:
        return first
    for other in qualities[1:]:
        if replace(other, metrics=first.metrics) != first or other.metrics.keys() != first.metrics.keys():
            raise ValueError("repeats differ in number of images, extractor or reference: compare like with like")
    metrics = {}
    for name in first.metrics:
        values = [each.metrics[name].value for each in qualities]
        metrics[name] = Measured(
            float(np.mean(values)), standard_error(values), f"{len(values)} repeats", tuple(values)
        )
    return replace(first, metrics=metrics)


def markdown(quality: Quality) -> str:
    """A table, with the warnings below it."""
    repeats = max(len(each.values) for each in quality.metrics.values())
    images = f"{quality.count:,}" if repeats == 1 else f"{repeats} x {quality.count:,}"
    of = "unknown" if quality.reference_count is None else f"{quality.reference_count:,}"
    lines = [
        "| metric | value | standard error | images | extractor | reference | reference images |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in quality.metrics.items():
        mark = " (!)" if any(name in warned.metrics for warned in quality.warnings) else ""
        cells = [
            quality.titles[name],
            f"{_digits(each.value, each.error)}{mark}",
            f"{each.error:.2g} ({each.method})",
            images,
            quality.extractor,
            quality.reference,
            of,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if quality.warnings:
        lines += ["", *(f"(!) {warned.text}" for warned in quality.warnings)]
    return "\n".join(lines) + "\n"


def _digits(value: float, error: float) -> str:
    """The value with as many decimals as its error has at two digits."""
    if not error > 0:
        return f"{value:.6g}"
    return f"{value:.{max(0, 1 - int(np.floor(np.log10(error))))}f}"


class KnownImages(Protocol):
    """A reference before or after its features are extracted: its size, shape and type."""

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


class Evaluator:
    """Computes metrics of images: distances of their features from those of a reference.

    Args:
        extractor: describes images; with logits where ``is`` is asked for.
        reference: what they are compared with, described by the same extractor.
        metrics: some of fid, fid_infinity, kid, precision, recall, is.
        scaling: brings samples to the units of the reference; see :func:`.scaling_of`. By default pictures are in
            [-1, 1], and other values are kept.

    Raises:
        ValueError: a metric is unknown or cannot be had, or the reference is of another extractor.

    >>> import elucidiff as ed
    >>> digits = ed.data.open("digits")
    >>> extractor = ed.evaluation.principal_components(digits, 5)
    >>> evaluator = ed.evaluation.Evaluator(extractor, ed.evaluation.open_reference(digits, extractor), ["fid"])
    >>> quality = evaluator.measure([digits.images(range(1797))])
    >>> abs(quality.metrics["fid"].value) < 1e-6  # the distance of the data from themselves
    True
    """

    def __init__(
        self,
        extractor: Extractor,
        reference: Reference,
        metrics: Sequence[str] = ("fid",),
        scaling: Scaling | None = None,
    ) -> None:
        if reference.extractor not in (None, extractor.id):
            raise ValueError(
                f"the reference was described by {reference.extractor}, but images by {extractor.id}: choose one"
            )
        check_metrics(metrics, extractor, reference.name, reference.store is not None)
        self.extractor, self.reference = extractor, reference
        floats = reference.dtype is not None and reference.dtype.is_floating_point
        self.scaling: Scaling = (AsStored() if floats else Pixels()) if scaling is None else scaling
        self._metrics = metrics_of(metrics)

    @property
    def metrics(self) -> Mapping[str, bool]:
        """The metrics by name, and for each whether lower is better."""
        return {name: each.lower_is_better for name, each in self._metrics.items()}

    @property
    def steps(self) -> int:
        """Number of times that :meth:`quality` calls ``tick``."""
        return error_steps(self._metrics)

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
        check_images(self.extractor, list(self._metrics), shape, dtype, count, self.reference, self.reference.count)

    def features(self, x: Tensor) -> Features:
        """Features (B, D) of samples (B, C, *spatial), as :func:`~elucidiff.sampling.sample` returns them.

        They are brought to the units of the data first, pictures rounded to 8 bits, as they are in files. A sample
        that is not finite has features that are not.
        """
        broken = ~x.flatten(1).isfinite().all(1).cpu()
        rows = self.extractor(self.scaling.to_data(x.nan_to_num()).cpu())
        if bool(broken.any()):
            rows[broken.numpy()] = np.nan
        return rows

    def values(self, features: Features) -> dict[str, float]:
        """The metrics of images with these features (n, D), without errors.

        Raises:
            ValueError: there are too few, or some are not finite.
        """
        self._check(features)
        return values_of(self._metrics, features, self.reference, self.extractor.dim)

    def quality(
        self, features: Features, tick: Callable[[], object] = lambda: None, *, errors: bool = True
    ) -> Quality:
        """The metrics of images with these features (n, D), in the order of their seeds, with errors and warnings.

        Args:
            features: as :meth:`features` makes them.
            tick: called :attr:`steps` times; may raise to end the work.
            errors: False to leave errors out (NaN), where :func:`.repeated` is to find them.

        Raises:
            ValueError: there are too few, or some are not finite.
        """
        values, dim = self.values(features), self.extractor.dim
        found = (
            errors_of(self._metrics, features, self.reference, dim, tick)
            if errors
            else dict.fromkeys(self._metrics, (float("nan"), "none"))
        )
        measured = {name: Measured(values[name], *found[name], (values[name],)) for name in self._metrics}
        return Quality(
            measured,
            {name: each.title(self.extractor.name) for name, each in self._metrics.items()},
            len(features),
            self.extractor.id,
            self.reference.id,
            self.reference.count,
            self._warnings(len(features)),
        )

    def measure(self, batches: Iterable[Tensor]) -> Quality:
        """The same, from batches of images (B, C, *spatial) as a data set holds them; only features are kept.

        Batches of whole multiples of the extractor's ``batch_size`` give the same bits as all images at once.
        """
        return self.quality(np.concatenate([self.extractor(images) for images in batches]))

    def _warnings(self, count: int) -> tuple[Warned, ...]:
        """Each warning once, with the metrics that it is about."""
        about: dict[str, list[str]] = {}
        for name, metric in self._metrics.items():
            for text in metric.warnings(count, self.extractor.dim, self.reference.count):
                about.setdefault(text, []).append(name)
        return tuple(Warned(text, tuple(names)) for text, names in about.items())

    def _check(self, features: Features) -> None:
        check_count(list(self._metrics), len(features), self.extractor.dim)
        if not np.isfinite(features).all():
            place = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
            raise ValueError(f"image {place} is not finite, or its features are not: look for NaN in the samples")
