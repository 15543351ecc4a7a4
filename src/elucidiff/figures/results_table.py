"""Values of a table of results for figures: by configuration and budget, with titles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elucidiff.evaluation.ablation.cells import LOSS, TRUNCATION
from elucidiff.evaluation.ablation.tables import Estimate
from elucidiff.evaluation.quality.metric_sets import is_metric, title_for
from elucidiff.evaluation.results import Row
from elucidiff.suggest import suggestion

_TITLES = {TRUNCATION: "distance to the exact solution\n(RMS, units of the data)", LOSS: "loss on held-out images"}


@dataclass(frozen=True)
class Point:
    """One configuration at one budget.

    Attributes:
        configuration: its name.
        nfe: network evaluations per sample, counted; the mean over seeds.
        values: by seed.
        row: one of the rows, for what they have in common.
    """

    configuration: str
    nfe: float
    values: Mapping[int, float]
    row: Row

    @property
    def estimate(self) -> Estimate:
        """Mean and standard error over the seeds."""
        return Estimate.of(list(self.values.values()))


def metric_of(rows: Sequence[Row], metric: str | None = None) -> str:
    """The metric to draw: the one asked for, or the first there is.

    Raises:
        ValueError: there are no rows, or none of it.
    """
    known = list(dict.fromkeys(row.metric for row in rows))
    if not known:
        raise ValueError("there are no rows to draw: measure something first")
    if metric is None:
        return known[0]
    if metric not in known:
        raise ValueError(f"nothing was measured of {metric!r}; {suggestion(metric, known)}")
    return metric


def points(rows: Sequence[Row], metric: str) -> list[Point]:
    """The rows of a metric by configuration and budget, in their order; seeds are paired with their values.

    Raises:
        ValueError: the rows have different references or extractors, so their values cannot be compared.
    """
    chosen = [row for row in rows if row.metric == metric]
    for name in ("extractor", "reference") if is_metric(metric) else ():
        if len(found := sorted({getattr(row, name) for row in chosen})) > 1:
            raise ValueError(f"{metric} was measured with {name} {found[0]} and {found[1]}: draw one table at a time")
    groups: dict[tuple[str, int | None], list[Row]] = {}
    for row in chosen:
        groups.setdefault((row.configuration, row.budget), []).append(row)
    return [
        Point(
            configuration,
            sum(row.nfe or row.budget or 0 for row in group) / len(group),
            {place if row.seed is None else row.seed: row.value for place, row in enumerate(group)},
            group[0],
        )
        for (configuration, _), group in groups.items()
    ]


def metric_title(metric: str, extractor: str) -> str:
    """The title of a metric on an axis: by the extractor too, unless its name tells that.

    Args:
        metric: as in a table of results.
        extractor: likewise, with its checksum.
    """
    if not is_metric(metric):
        return _TITLES.get(metric, metric.replace("_", " "))
    name = re.sub(r"-[0-9a-f]{8}$", "", extractor)
    title = title_for(metric, name)
    return title if name in title or "Frechet distance" not in title else f"{title} ({name})"
