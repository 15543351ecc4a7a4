"""Metrics of quality from features, each a part: all but the Frechet distance are computed by torch-fidelity."""

from __future__ import annotations

import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from elucidiff import parts
from elucidiff.evaluation.frechet import Gaussian
from elucidiff.evaluation.quality.extractors import Features
from elucidiff.evaluation.quality.reference import Reference
from elucidiff.parts import part

KID_SUBSET, KID_SUBSETS = 1000, 100
SPLITS = 10  # of the inception score
NEIGHBOURS = 3
FEWEST = 20
"""Images below which no metric is worth its name, nor has it an error."""

BLOCKS = 10
_PER_FEATURE = 4  # images from which FID-infinity is extrapolated
_SAFE = 10  # images for each feature, from which the bias of the Frechet distance is small
_ENOUGH_SUBSETS = 10  # of a block: as many comparisons in all blocks as of all images

Statistic = Callable[[Features], Mapping[str, float]]


@dataclass(frozen=True)
class Metric(ABC):
    """A number that says how good images are, from their features; a new one is :meth:`value`, and what differs.

    Example: the distance between the means of the features, in one's own code.

    >>> from dataclasses import dataclass
    >>> import elucidiff as ed
    >>> @ed.part("metric", "mean_distance_example")
    ... @dataclass(frozen=True)
    ... class MeanDistance(ed.evaluation.Metric):
    ...     def value(self, features, reference):
    ...         return float(abs(features.mean(0) - reference.gaussian.mean).max())
    >>> MeanDistance().lower_is_better
    True
    """

    @property
    def lower_is_better(self) -> bool:
        """True if lower values are better."""
        return True

    @property
    def needs_images(self) -> bool:
        """True if :attr:`.Reference.features` are needed, and not their mean and covariance alone."""
        return False

    @property
    def of_logits(self) -> bool:
        """True if it is of the extractor's logits, instead of its features."""
        return False

    @property
    def needs_torch_fidelity(self) -> bool:
        """True if torch-fidelity computes it."""
        return False

    @property
    def together(self) -> str:
        """Metrics of which this is the same are computed together, so that they can share what is costly."""
        return parts.to_text(self)

    @abstractmethod
    def value(self, features: Features, reference: Reference) -> float:
        """The metric.

        Args:
            features: of images, (n, D); their logits, if :attr:`of_logits`.
            reference: what they are compared with: ``reference.gaussian`` has ``mean`` and ``covariance``, and
                ``reference.features`` are features (m, D), if :attr:`needs_images`.
        """

    @property
    def smooth(self) -> bool:
        """True if leaving out blocks of images tells its error, as with functions of their empirical distribution."""
        return True

    def error(self, features: Features, reference: Reference, tick: Callable[[], object]) -> tuple[float, str]:
        """Its standard error and how it was found, where it is not :attr:`smooth`.

        Args:
            features: as for :meth:`value`.
            reference: likewise.
            tick: to be called :attr:`error_steps` times; may raise to end the work.
        """
        raise NotImplementedError

    @property
    def error_steps(self) -> int:
        """Number of times that :meth:`error` calls ``tick``."""
        return 0

    def title(self, extractor: str) -> str:
        """Its title in print, with the features of this extractor."""
        return parts.name_of(self).replace("_", " ").capitalize()

    def fewest(self, dim: int) -> int:
        """Images below which it cannot be had, with ``dim`` features."""
        return FEWEST

    def warnings(self, count: int, dim: int, reference_count: int | None) -> list[str]:
        """Reasons not to trust it.

        Args:
            count: images that are measured.
            dim: features.
            reference_count: images of the reference; None if nobody knows.
        """
        return []


@part("metric", "fid")
@dataclass(frozen=True)
class FID(Metric):
    """Frechet distance of the features (Heusel et al. 2017): FID, with those of Inception-v3."""

    def value(self, features: Features, reference: Reference) -> float:
        """See :func:`frechet`."""
        return frechet(features, reference)

    def title(self, extractor: str) -> str:
        """The plain name belongs to the Inception network that papers use."""
        if extractor.startswith("inception-v3"):
            return "FID"
        return "FD-DINOv2" if extractor.startswith("dinov2") else "Frechet distance"

    def warnings(self, count: int, dim: int, reference_count: int | None) -> list[str]:
        """Of too few images for the covariance."""
        sizes = (
            {"images": count} if reference_count is None else {"images": count, "reference images": reference_count}
        )
        return [_too_few(size, what, dim) for what, size in sizes.items() if size < _SAFE * dim]


@part("metric", "fid_infinity")
@dataclass(frozen=True)
class FIDInfinity(FID):
    """The Frechet distance that infinitely many images would have (Chong and Forsyth 2020)."""

    def value(self, features: Features, reference: Reference) -> float:
        """See :func:`frechet_infinity`."""
        return frechet_infinity(features, reference)

    def title(self, extractor: str) -> str:
        """As :class:`FID`, and that it is extrapolated."""
        return f"{super().title(extractor)}, extrapolated to infinitely many images"

    def fewest(self, dim: int) -> int:
        """4 for each feature."""
        return max(FEWEST, _PER_FEATURE * dim)


@part("metric", "kid")
@dataclass(frozen=True)
class KID(Metric):
    """Kernel distance (Binkowski et al. 2018): without bias, over random subsets of up to 1000 images."""

    needs_images = True
    needs_torch_fidelity = True
    smooth = False
    error_steps = BLOCKS

    def value(self, features: Features, reference: Reference) -> float:
        """See :func:`kernel`."""
        return kernel(features, reference)

    def error(self, features: Features, reference: Reference, tick: Callable[[], object]) -> tuple[float, str]:
        """From blocks, for it has no bias."""
        size = min(len(features) // BLOCKS, KID_SUBSET)
        subsets = min(KID_SUBSETS, _ENOUGH_SUBSETS * KID_SUBSET // size)
        return error_of_blocks(lambda rows: kernel(rows, reference, subsets), features, tick), f"{BLOCKS} blocks"

    def title(self, extractor: str) -> str:
        """KID, or kernel distance."""
        return "KID" if extractor.startswith("inception-v3") else "Kernel distance (KID)"

    def warnings(self, count: int, dim: int, reference_count: int | None) -> list[str]:
        """Of subsets that are smaller than elsewhere."""
        least = count if reference_count is None else min(count, reference_count)
        if least >= KID_SUBSET:
            return []
        return [f"KID IS OVER SUBSETS OF {least:,} IMAGES, elsewhere over 1,000: it has no bias, but a large error"]


@part("metric", "precision")
@dataclass(frozen=True)
class Precision(Metric):
    """Share of images within the reach of the reference (Kynkaanniemi et al. 2019)."""

    lower_is_better = False
    needs_images = True
    needs_torch_fidelity = True
    together = "precision and recall"  # from the same distances

    def value(self, features: Features, reference: Reference) -> float:
        """See :func:`precision_recall`."""
        return precision_recall(features, reference)[0]

    def warnings(self, count: int, dim: int, reference_count: int | None) -> list[str]:
        """Of numbers of images that differ."""
        if reference_count in (None, count):
            return []
        text = (
            f"PRECISION AND RECALL DEPEND ON BOTH NUMBERS OF IMAGES, {count:,} and {reference_count:,} here: compare "
            "them only with metrics of the same numbers"
        )
        return [text]


@part("metric", "recall")
@dataclass(frozen=True)
class Recall(Precision):
    """Share of the reference within the reach of the images (Kynkaanniemi et al. 2019)."""

    def value(self, features: Features, reference: Reference) -> float:
        """See :func:`precision_recall`."""
        return precision_recall(features, reference)[1]


@part("metric", "is")
@dataclass(frozen=True)
class InceptionScore(Metric):
    """Inception score (Salimans et al. 2016): how sure and how varied a classifier finds the images."""

    lower_is_better = False
    of_logits = True
    needs_torch_fidelity = True
    smooth = False

    def value(self, features: Features, reference: Reference) -> float:
        """See :func:`inception_score`."""
        return inception_score(features)[0]

    def error(self, features: Features, reference: Reference, tick: Callable[[], object]) -> tuple[float, str]:
        """From the splits."""
        return inception_score(features)[1], f"{SPLITS} splits"

    def title(self, extractor: str) -> str:
        """With the extractor, if it is not that of papers."""
        return "Inception score" if extractor.startswith("inception-v3") else f"Inception score of {extractor}"


def frechet(rows: Features, reference: Reference) -> float:
    """Frechet distance of the features to the reference; see :func:`.frechet_distance`."""
    return Gaussian.of(rows).distance(reference.gaussian)


def frechet_infinity(rows: Features, reference: Reference) -> float:
    """The Frechet distance that infinitely many images would have.

    Its bias is proportional to 1/n, so the line through its values at n images and at n/2 ends, at 1/n = 0, in the
    distance without bias (Chong and Forsyth 2020, arXiv 1911.07023). The second value is the mean over both halves of
    the images. Chong and Forsyth fit the line to 15 random subsets of the images; in simulations of Gaussians with 12
    and 48 features that left more bias and more noise than the two halves do. Of the bias at n images these leave
    about a tenth at 4 images for each feature, a twentieth at 8.
    """
    half = len(rows) // 2
    whole = frechet(rows, reference)
    halves = (frechet(rows[:half], reference) + frechet(rows[half:], reference)) / 2
    return 2 * whole - halves


def kernel(rows: Features, reference: Reference, subsets: int = KID_SUBSETS) -> float:
    """Kernel distance: the squared maximum mean discrepancy under a cubic kernel, without bias (Binkowski et al.
    2018), as the mean over random subsets of up to 1000 images."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    theirs = _images_of(reference)
    size = min(KID_SUBSET, len(rows), len(theirs))
    found = kid_features_to_metric(
        torch.from_numpy(np.ascontiguousarray(rows)),
        torch.from_numpy(theirs),
        kid_subsets=subsets,
        kid_subset_size=size,
        verbose=False,
    )
    return float(found[KEY_METRIC_KID_MEAN])


def precision_recall(rows: Features, reference: Reference) -> tuple[float, float]:
    """Share of images within the reach of the reference, and of the reference within theirs (Kynkaanniemi et al.
    2019): nearer to one of the others than its third neighbour is."""
    for known_rows, known_reference, known in _LAST:
        if known_rows() is rows and known_reference() is reference:
            return known
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    found = prc_features_to_metric(
        torch.from_numpy(np.ascontiguousarray(rows)),
        torch.from_numpy(_images_of(reference)),
        prc_neighborhood=NEIGHBOURS,
        # All distances at once take gigabytes.
        save_cpu_ram=True,
        prc_batch_size=250,
        verbose=False,
    )
    values = float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])
    _LAST[:] = [(weakref.ref(rows), weakref.ref(reference), values)]
    return values


# Of the last rows: precision and recall are asked for one after the other.
_LAST: list[tuple[Callable[[], object], Callable[[], object], tuple[float, float]]] = []


def inception_score(logits: Features) -> tuple[float, float]:
    """Inception score (Salimans et al. 2016), the mean over 10 random splits, and its standard error over them."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    found = isc_features_to_metric(torch.from_numpy(np.ascontiguousarray(logits)), splits=SPLITS)
    return float(found[KEY_METRIC_ISC_MEAN]), float(found[KEY_METRIC_ISC_STD]) / (SPLITS - 1) ** 0.5


def _images_of(reference: Reference) -> Features:
    if reference.features is None:
        raise ValueError(f"{reference.name} holds statistics alone: give the images themselves")
    return reference.features


def _too_few(number: int, what: str, dim: int) -> str:
    of_reference = what != "images"
    if number <= dim:
        return (
            f"{number:,} {what.upper()} ARE FAR TOO FEW FOR {dim:,} FEATURES: their covariance is singular, and "
            f"the Frechet distance is mostly bias. Use {2 * dim:,}, better {_SAFE * dim:,}, or kid, which has none"
        )
    compare = "against this very reference" if of_reference else "of the same number"
    instead = "" if of_reference else ", or fid_infinity"
    return (
        f"{number:,} {what.upper()} ARE FEW FOR {dim:,} FEATURES: the Frechet distance has a bias that falls with "
        f"their number. Compare it only with values {compare}, or use {_SAFE * dim:,}{instead}"
    )


def jackknife(statistic: Statistic, rows: Features, tick: Callable[[], object] = lambda: None) -> dict[str, float]:
    """Standard errors by leaving out one of 10 blocks of consecutive rows at a time (Tukey 1958; Kunsch 1989)::

        error^2 = (R - 1) / R  sum_r (f_r - mean f)^2

    where f_r is the metric without block r. It holds for smooth functions of the empirical distribution such as the
    Frechet distance, even where a covariance is singular: in simulations (32 and 64 features, 40 to 1000 images) it
    was 0.94 to 1.09 times the true standard deviation where the distributions differ, and 1.4 to 1.6 times where they
    are the same. The standard error of the blocks' own values would be 1.4 to 4 times the truth, since small blocks
    have other biases. It does not hold for metrics that draw random subsets.

    Args:
        statistic: metrics by name, of rows (n, D).
        rows: of all images.
        tick: called after each block; may raise to end the work.
    """
    found = []
    for block in np.array_split(np.arange(len(rows)), BLOCKS):
        found.append(statistic(np.delete(rows, block, axis=0)))
        tick()
    return {name: float(np.sqrt((BLOCKS - 1) * np.var([each[name] for each in found]))) for name in found[0]}


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of ``values``: s / sqrt(n), with s of n - 1 degrees of freedom; not a number for one."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def error_of_blocks(
    metric: Callable[[Features], float], rows: Features, tick: Callable[[], object] = lambda: None
) -> float:
    """Standard error of the mean over 10 blocks of consecutive rows: for metrics without bias.

    Args:
        metric: of rows (n, D).
        rows: of all images.
        tick: called after each block; may raise to end the work.
    """
    found = []
    for block in np.array_split(rows, BLOCKS):
        found.append(metric(block))
        tick()
    return standard_error(found)
