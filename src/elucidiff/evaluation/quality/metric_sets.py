"""Several metrics at once: chosen by name, checked before the work, and measured, each with its standard error."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping

from elucidiff import parts
from elucidiff.evaluation.quality.extractors import Extractor, Features
from elucidiff.evaluation.quality.metrics import BLOCKS, FEWEST, Metric, jackknife
from elucidiff.evaluation.quality.reference import Reference
from elucidiff.suggest import suggestion


def metrics_of(names: Collection[str]) -> dict[str, Metric]:
    """Metrics by the text forms ``names``, in the order in which :func:`metric_names` has them.

    Raises:
        ValueError: there are none, or one is unknown; the nearest is suggested.
    """
    known = metric_names()
    if not names:
        raise ValueError(f"no metric was asked for: choose some of {', '.join(known)}")
    found: dict[str, Metric] = {}
    for name in names:
        try:
            metric: Metric = parts.parse("metric", name)
        except ValueError as error:
            if name in known or ":" in name:
                raise
            raise ValueError(
                f"metric {name!r} is unknown; {suggestion(name, known)} "
                "(one of your own needs its module: --plugin MODULE)"
            ) from error
        found[name] = metric
    return dict(sorted(found.items(), key=lambda entry: known.index(parts.name_of(entry[1]))))


def metric_names() -> list[str]:
    """All metrics by name, plugins' included."""
    return list(parts.parts_of("metric"))


def is_metric(name: str) -> bool:
    """True if a column of results is one of :func:`metric_names`, with or without settings."""
    return name.partition(":")[0] in metric_names()


def check_metrics(names: Collection[str], extractor: Extractor, reference: str, images: bool) -> None:
    """Raise ValueError unless every metric is known and can be had.

    Args:
        names: the metrics.
        extractor: makes the features.
        reference: its name.
        images: whether the reference is made of images, not of statistics alone.
    """
    found = metrics_of(names)
    if (
        any(each.needs_torch_fidelity for each in found.values())
        and importlib.util.find_spec("torch_fidelity") is None
    ):
        raise ValueError("all metrics but fid need torch-fidelity: pip install 'elucidiff[evaluate]'")
    for name, metric in found.items():
        if metric.needs_images and not images:
            raise ValueError(
                f"{name} compares images, but {reference} holds statistics alone: give the images themselves, "
                "or leave it out"
            )
        if metric.of_logits and not extractor.classes:
            raise ValueError(
                f"{_A_SCORE.get(name, name)} needs logits, which {extractor.name} does not make: choose inception-v3 "
                "or efficientnet-lite0"
            )


_A_SCORE = {"is": "the inception score"}


def check_count(names: Collection[str], count: int, dim: int, what: str = "images") -> None:
    """Raise ValueError if there are too few images for these metrics."""
    if count < FEWEST:
        raise ValueError(f"{count} {what} are too few to evaluate: at least {FEWEST} are needed")
    for name, metric in metrics_of(names).items() if names else ():
        if count < (least := metric.fewest(dim)):
            raise ValueError(f"{name} needs at least {least} images with {dim} features: {count} are too few")


def title_for(metric: str, extractor: str) -> str:
    """The title of a metric in print, by the name of the extractor; see :meth:`Metric.title`."""
    (found,) = metrics_of([metric]).values()
    return found.title(extractor)


def values_of(metrics: Mapping[str, Metric], features: Features, reference: Reference, dim: int) -> dict[str, float]:
    """The metrics of images.

    Args:
        metrics: by name.
        features: (n, dim + classes), logits behind.
        reference: what they are compared with.
        dim: number of features.
    """
    rows, logits = features[:, :dim], features[:, dim:]
    return {name: each.value(logits if each.of_logits else rows, reference) for name, each in metrics.items()}


def errors_of(
    metrics: Mapping[str, Metric], features: Features, reference: Reference, dim: int, tick: Callable[[], object]
) -> dict[str, tuple[float, str]]:
    """The standard error of each metric, and how it was found; see :func:`values_of`.

    ``tick`` is called :func:`error_steps` times; it may raise to end the work.
    """
    errors: dict[str, tuple[float, str]] = {}
    for group in _smooth_groups(metrics):

        def statistic(rows: Features, group: Mapping[str, Metric] = group) -> Mapping[str, float]:
            return values_of(group, rows, reference, dim)

        for name, error in jackknife(statistic, features, tick).items():
            errors[name] = error, f"jackknife, {BLOCKS} blocks"
    for name, metric in metrics.items():
        if not metric.smooth:
            errors[name] = metric.error(features[:, dim:] if metric.of_logits else features[:, :dim], reference, tick)
    return errors


def error_steps(metrics: Mapping[str, Metric]) -> int:
    """Number of times that :func:`errors_of` calls ``tick``."""
    return BLOCKS * len(_smooth_groups(metrics)) + sum(
        each.error_steps for each in metrics.values() if not each.smooth
    )


def _smooth_groups(metrics: Mapping[str, Metric]) -> list[dict[str, Metric]]:
    groups: dict[str, dict[str, Metric]] = {}
    for name, metric in metrics.items():
        if metric.smooth:
            groups.setdefault(metric.together, {})[name] = metric
    return list(groups.values())
