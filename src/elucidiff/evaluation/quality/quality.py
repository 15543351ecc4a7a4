"""What an evaluation says: figures, each with its error and all that is needed to make sense of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from elucidiff.evaluation.loss_per_sigma import standard_error


@dataclass(frozen=True)
class Warned:
    """A warning.

    Attributes:
        text: what is wrong, and what to do.
        metrics: the figures that it is about.
    """

    text: str
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """A figure.

    Attributes:
        value: the figure.
        error: its standard error, for the choice of the images that were judged.
        method: how the error was found.
        values: of each repeat; of one, ``value`` alone.
    """

    value: float
    error: float
    method: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Quality:
    """Figures of some images.

    Attributes:
        figures: by metric.
        titles: what each is called in print.
        count: images in each repeat.
        extractor: id of what described them.
        reference: id of what they were compared with.
        reference_count: images in the reference; None if nobody knows.
        warnings: reasons not to trust a figure.

    >>> import elucidiff as ed
    >>> from elucidiff.evaluation.quality.quality import Measured
    >>> fid = Measured(2.5, 0.1, "jackknife", (2.5,))
    >>> quality = ed.evaluation.Quality({"fid": fid}, {"fid": "FID"}, 5000, "pca-5", "digits", 1797, ())
    >>> quality.to_dict()["figures"]["fid"]["value"]
    2.5
    """

    figures: Mapping[str, Measured]
    titles: Mapping[str, str]
    count: int
    extractor: str
    reference: str
    reference_count: int | None
    warnings: tuple[Warned, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return {
            "images": self.count,
            "extractor": self.extractor,
            "reference": self.reference,
            "reference_images": self.reference_count,
            "figures": {
                name: {"title": self.titles[name], **vars(each), "values": list(each.values)}
                for name, each in self.figures.items()
            },
            "warnings": [{"text": each.text, "metrics": list(each.metrics)} for each in self.warnings],
        }


def repeated(qualities: Sequence[Quality]) -> Quality:
    """Several seed blocks as one: the mean of each figure, and its standard error over the blocks.

    Args:
        qualities: of blocks of equally many images, by one extractor against one reference. A single one is returned
            as it is.

    Raises:
        ValueError: there are none, or they differ in more than their figures.

    >>> import elucidiff as ed
    >>> from elucidiff.evaluation.quality.quality import Measured
    >>> def block(fid):
    ...     measured = {"fid": Measured(fid, 0.3, "jackknife", (fid,))}
    ...     return ed.evaluation.Quality(measured, {"fid": "FID"}, 5000, "pca-5", "digits", 1797, ())
    ...
    >>> fid = ed.evaluation.repeated([block(2.0), block(3.0)]).figures["fid"]
    >>> fid.value, fid.error  # std / sqrt(2)
    (2.5, 0.5)
    """
    if not qualities:
        raise ValueError("there is nothing to take the mean of")
    first = qualities[0]
    if len(qualities) == 1:
        return first
    for other in qualities[1:]:
        if replace(other, figures=first.figures) != first or other.figures.keys() != first.figures.keys():
            raise ValueError("repeats differ in number of images, extractor or reference: compare like with like")
    figures = {}
    for name in first.figures:
        values = [each.figures[name].value for each in qualities]
        figures[name] = Measured(
            float(np.mean(values)), standard_error(values), f"{len(values)} repeats", tuple(values)
        )
    return replace(first, figures=figures)


def markdown(quality: Quality) -> str:
    """A table, with the warnings below it."""
    repeats = max(len(each.values) for each in quality.figures.values())
    images = f"{quality.count:,}" if repeats == 1 else f"{repeats} x {quality.count:,}"
    of = "unknown" if quality.reference_count is None else f"{quality.reference_count:,}"
    lines = [
        "| metric | value | standard error | images | extractor | reference | reference images |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in quality.figures.items():
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
