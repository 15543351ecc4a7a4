"""An ablation as bars: a panel for each budget, standard errors as error bars, the best marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from elucidiff.evaluation.ablation.tables import Column, Table, resolution_of
from elucidiff.evaluation.results import Row
from elucidiff.figures.base import Point, ResultsFigure, metric_of, metric_title, points
from elucidiff.figures.style import BLUE, GREY, INK, SKY, new_figure, quiet
from elucidiff.parts import part

_BAR, _WIDTH = 0.3, 3.3
_COLUMNS = 3
_ROOM = 1.6  # beyond the longest bar, for its number


def draw(rows: Sequence[Row], metric: str | None = None) -> Figure:
    """Horizontal bars from 0, in the order of the table, each with its mean and the standard error over seeds.

    The best of each panel is dark and bold. Those marked ≈ do not differ significantly from it (paired t-test, 5%).

    Args:
        rows: of a table of results, such as `elucidiff ablate` writes.
        metric: to draw; the first there is by default.

    Raises:
        ValueError: there are no such rows, or they cannot be compared.
    """
    metric = metric_of(rows, metric)
    found = points(rows, metric)
    budgets = sorted({point.row.budget for point in found}, key=lambda budget: budget or 0)
    names = list(dict.fromkeys(point.configuration for point in found))
    longest = max(len(name) for name in names)
    columns = min(_COLUMNS, len(budgets))
    lines = -(-len(budgets) // columns)
    figure = new_figure(0.3 + 0.075 * longest + _WIDTH * columns, 0.4 + (0.6 + _BAR * len(names)) * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for empty in panels[len(budgets) :]:
        empty.remove()
    lower = found[0].row.lower_is_better
    for axes, budget in zip(panels, budgets, strict=False):
        bars = {point.configuration: point for point in found if point.row.budget == budget}
        _panel(axes, names, bars, lower, metric)
        axes.set_title("" if budget is None else f"{budget} evaluations", fontsize=10, color=INK, loc="left")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    better = "lower is better" if lower else "higher is better"
    figure.supxlabel(f"{metric_title(metric, found[0].row.extractor)}, {better}".replace("\n", " "), fontsize=9)
    return figure


def _panel(axes: Axes, names: Sequence[str], bars: Mapping[str, Point], lower: bool, metric: str) -> None:
    column = Column("", lower, resolution_of(metric))
    table = Table("", dict.fromkeys(bars, ""), [column], {(name, ""): each.values for name, each in bars.items()}, {})
    best, tied = table.best(column), table.tied(column)
    estimates = {name: each.estimate for name, each in bars.items()}
    for place, name in enumerate(names):
        if name not in estimates:
            continue
        estimate = estimates[name]
        error = estimate.error if estimate.error > 0 else 0.0
        axes.barh(
            place, estimate.mean, height=0.62, color=BLUE if name == best else SKY, xerr=error or None,
            error_kw={"ecolor": INK, "elinewidth": 1.0, "capsize": 2.5},
        )  # fmt: skip
        axes.annotate(
            f"{estimate.text()}{' ≈' if name in tied else ''}",
            (max(estimate.mean + error, 0.0), place), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=8, color=INK if name == best else GREY,
            fontweight="bold" if name == best else "normal",
        )  # fmt: skip
    ends = [estimate.mean + (estimate.error if estimate.error > 0 else 0) for estimate in estimates.values()]
    finite = [end for end in ends if math.isfinite(end)] or [1.0]
    axes.set_xlim(min(0.0, min(finite)), _ROOM * max(0.0, max(finite)) or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    quiet(axes)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


@part("figure", "ablation_bars")
@dataclass(frozen=True)
class AblationBars(ResultsFigure):
    """The configurations of an ablation as bars, with their standard errors; the best is marked."""

    summary: ClassVar[str] = "bars from `elucidiff ablate`"
    alternative: ClassVar[str] = "Bars of an ablation with error bars"
    experiments: ClassVar[tuple[str, ...]] = ("sampling", "churn", "alpha", "training", "augment")
    explanation: ClassVar[str] = "Each bar is one configuration, from 0, with the best dark."

    def picture(self, rows: Sequence[Row]) -> Figure:
        """See :func:`draw`."""
        return draw(rows, self.metric)
