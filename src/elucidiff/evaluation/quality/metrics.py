"""Figures of quality from features: all but the Frechet distance are computed by torch-fidelity itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch

from elucidiff.evaluation.frechet import Gaussian
from elucidiff.evaluation.loss_per_sigma import standard_error
from elucidiff.evaluation.quality.extractors import Extractor, Rows
from elucidiff.evaluation.quality.reference import Reference
from elucidiff.suggest import suggestion

LOWER_IS_BETTER: Mapping[str, bool] = {
    "fid": True,
    "fid_infinity": True,
    "kid": True,
    "precision": False,
    "recall": False,
    "is": False,
}
"""Every metric by name, and whether lower is better."""

KID_SUBSET, KID_SUBSETS = 1000, 100
SPLITS = 10  # of the inception score
NEIGHBOURS = 3
FEWEST = 20
"""Images below which no figure is worth its name, nor has it an error."""

_NEED_IMAGES = ("kid", "precision", "recall")
_PER_FEATURE = 4  # images from which FID-infinity is extrapolated


def check_metrics(names: Collection[str], extractor: Extractor, reference: str, images: bool) -> None:
    """Raise ValueError unless every metric is known and can be had.

    Args:
        names: the metrics.
        extractor: makes the features.
        reference: its name.
        images: whether the reference is made of images, not of statistics alone.
    """
    if not names:
        raise ValueError(f"no metric was asked for: choose some of {', '.join(LOWER_IS_BETTER)}")
    if {"kid", "precision", "recall", "is"} & set(names) and importlib.util.find_spec("torch_fidelity") is None:
        raise ValueError("all metrics but fid need torch-fidelity: pip install 'elucidiff[evaluate]'")
    for name in names:
        if name not in LOWER_IS_BETTER:
            raise ValueError(f"metric {name!r} is unknown; {suggestion(name, LOWER_IS_BETTER)}")
        if name in _NEED_IMAGES and not images:
            raise ValueError(
                f"{name} compares images, but {reference} holds statistics alone: give the images themselves, "
                "or leave it out"
            )
        if name == "is" and not extractor.classes:
            raise ValueError(
                f"the inception score needs logits, which {extractor.name} does not make: choose inception-v3 or "
                "efficientnet-lite0"
            )


def check_count(names: Collection[str], count: int, dim: int, what: str = "images") -> None:
    """Raise ValueError if there are too few images for these metrics."""
    if count < FEWEST:
        raise ValueError(f"{count} {what} are too few to evaluator: at least {FEWEST} are needed")
    least = _PER_FEATURE * dim
    if "fid_infinity" in names and count < least:
        raise ValueError(
            f"fid_infinity is extrapolated from {_PER_FEATURE} or more images for each of the {dim} features: "
            f"{count} are too few, at least {least} are needed"
        )


def title(metric: str, extractor: Extractor) -> str:
    """What a figure is called in print; see :func:`title_for`."""
    return title_for(metric, extractor.name)


def title_for(metric: str, extractor: str) -> str:
    """What a figure is called in print, by the name of the extractor. The plain names belong to the Inception network
    that papers use."""
    standard = extractor.startswith("inception-v3")
    dinov2 = extractor.startswith("dinov2")
    frechet = "FID" if standard else "FD-DINOv2" if dinov2 else "Frechet distance"
    return {
        "fid": frechet,
        "fid_infinity": f"{frechet}, extrapolated to infinitely many images",
        "kid": "KID" if standard else "Kernel distance (KID)",
        "precision": "Precision",
        "recall": "Recall",
        "is": "Inception score" if standard else f"Inception score of {extractor}",
    }[metric]


def frechet(rows: Rows, reference: Reference) -> float:
    """Frechet distance of the features to the reference; see :func:`.frechet_distance`."""
    return Gaussian.of(rows).distance(reference.gaussian)


def frechet_infinity(rows: Rows, reference: Reference) -> float:
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


def kernel(rows: Rows, reference: Reference, subsets: int = KID_SUBSETS) -> float:
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


def precision_recall(rows: Rows, reference: Reference) -> tuple[float, float]:
    """Share of images within the reach of the reference, and of the reference within theirs (Kynkaanniemi et al.
    2019): nearer to one of the others than its third neighbour is."""
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
    return float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])


def inception_score(logits: Rows) -> tuple[float, float]:
    """Inception score (Salimans et al. 2016), the mean over 10 random splits, and its standard error over them."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    found = isc_features_to_metric(torch.from_numpy(np.ascontiguousarray(logits)), splits=SPLITS)
    return float(found[KEY_METRIC_ISC_MEAN]), float(found[KEY_METRIC_ISC_STD]) / (SPLITS - 1) ** 0.5


def of_rows(
    names: Collection[str], reference: Reference, dim: int
) -> Mapping[str, Callable[[Rows], Mapping[str, float]]]:
    """Functions from rows to figures, by the metric that asked for them; precision brings recall with it.

    Args:
        names: the metrics.
        reference: what images are compared with.
        dim: number of features, before the logits of a row.
    """

    def both(rows: Rows) -> Mapping[str, float]:
        precision, recall = precision_recall(rows[:, :dim], reference)
        return {name: value for name, value in (("precision", precision), ("recall", recall)) if name in names}

    every: dict[str, Callable[[Rows], Mapping[str, float]]] = {
        "fid": lambda rows: {"fid": frechet(rows[:, :dim], reference)},
        "fid_infinity": lambda rows: {"fid_infinity": frechet_infinity(rows[:, :dim], reference)},
        "kid": lambda rows: {"kid": kernel(rows[:, :dim], reference)},
        "precision": both,
        "recall": both,
        "is": lambda rows: {"is": inception_score(rows[:, dim:])[0]},
    }
    chosen = [name for name in LOWER_IS_BETTER if name in names]
    if "precision" in chosen and "recall" in chosen:
        chosen.remove("recall")
    return {name: every[name] for name in chosen}


def _images_of(reference: Reference) -> Rows:
    if reference.rows is None:
        raise ValueError(f"{reference.name} holds statistics alone: give the images themselves")
    return reference.rows


BLOCKS = 10

Statistic = Callable[[Rows], Mapping[str, float]]


def jackknife(statistic: Statistic, rows: Rows, tick: Callable[[], object] = lambda: None) -> dict[str, float]:
    """Standard errors by leaving out one of 10 blocks of consecutive rows at a time (Tukey 1958; Kunsch 1989)::

        error^2 = (R - 1) / R  sum_r (f_r - mean f)^2

    where f_r is the figure without block r. It holds for smooth functions of the empirical distribution such as the
    Frechet distance, even where a covariance is singular: in simulations (32 and 64 features, 40 to 1000 images) it
    was 0.94 to 1.09 times the true standard deviation where the distributions differ, and 1.4 to 1.6 times where they
    are the same. The spread of the blocks' own figures would be 1.4 to 4 times the truth, since small blocks have
    other biases. It does not hold for figures that draw random subsets.

    Args:
        statistic: figures by name, of rows (n, D).
        rows: of all images.
        tick: called after each block; may raise to end the work.
    """
    found = []
    for block in np.array_split(np.arange(len(rows)), BLOCKS):
        found.append(statistic(np.delete(rows, block, axis=0)))
        tick()
    return {name: float(np.sqrt((BLOCKS - 1) * np.var([each[name] for each in found]))) for name in found[0]}


def spread_of_blocks(figure: Callable[[Rows], float], rows: Rows, tick: Callable[[], object] = lambda: None) -> float:
    """Standard error of the mean over 10 blocks of consecutive rows: for figures without bias.

    Args:
        figure: of rows (n, D).
        rows: of all images.
        tick: called after each block; may raise to end the work.
    """
    found = []
    for block in np.array_split(rows, BLOCKS):
        found.append(figure(block))
        tick()
    return standard_error(found)
