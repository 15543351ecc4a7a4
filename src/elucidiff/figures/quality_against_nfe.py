"""Quality against network evaluations: a named curve for each sampler (Karras et al. 2022, Figs. 2 and 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from elucidiff import parts
from elucidiff.evaluation.results import Row
from elucidiff.figures.base import Point, ResultsFigure, metric_of, metric_title, points
from elucidiff.figures.style import INK, LINES, PALETTE, new_figure, quiet
from elucidiff.parts import part

_APART = 1.35  # between the middles of neighbouring labels, in heights of the text
_POINTS = 72  # in an inch
_SIZE = 8.0


@dataclass(frozen=True)
class End:
    """A curve's end and its name.

    Attributes:
        x, y: the end, in units of the axes' data.
        name: what to write beside it.
        colour: of the curve.
    """

    x: float
    y: float
    name: str
    colour: str


def label_ends(axes: Axes, ends: Sequence[End], *, fontsize: float = _SIZE) -> None:
    """Write the names right of the axes, as near to the heights of the ends as they can be without overlapping.

    The limits and the size of the axes must be settled before.
    """
    if not ends:
        return
    height = axes.get_position().height * axes.figure.get_figheight() * _POINTS  # type: ignore[union-attr]
    to_axes = axes.transData + axes.transAxes.inverted()
    places = to_axes.transform([(end.x, end.y) for end in ends])
    for end, place, level in zip(ends, places, spread_out(places[:, 1], _APART * fontsize / height), strict=True):
        axes.annotate(
            end.name,
            xy=(place[0], place[1]),
            xytext=(1.04, level),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=fontsize,
            color=INK,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": end.colour,
                "linewidth": 0.8,
                "linestyle": ":",  # not to be taken for the curve
                "relpos": (0, 0.5),  # lines end where the names begin
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )


def text_width(text: str, fontsize: float = _SIZE) -> float:
    """Of a line of text, in inches."""
    return float(TextPath((0, 0), text, size=fontsize).get_extents().width) / _POINTS


def spread_out(wanted: npt.ArrayLike, gap: float) -> npt.NDArray[np.float64]:
    """Positions at least ``gap`` apart, in the same order, at the least sum of squared distances to those wanted.

    Without the gaps that is the nearest increasing sequence, which pooling neighbours finds.
    """
    values = np.asarray(wanted, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    shifted = values[order] - gap * np.arange(len(values))
    pools: list[tuple[float, int]] = []
    for value in shifted.tolist():
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    pooled = np.concatenate([np.full(count, mean) for mean, count in pools])
    placed = np.empty(len(values))
    placed[order] = pooled + gap * np.arange(len(values))
    return placed


# Inches: the axes, and what is left, right, below and above of them beside the names, and after a long title.
_PLOT, _LEFT, _HEIGHT, _RIGHT, _GAP = 3.5, 0.85, 3.7, 0.45, 0.2
_BOTTOM, _TOP = 0.62, 0.42
_MARKERS = "osD^vP"
_TITLE = 10.0  # size of the panels' titles
_ONE_VALUE, _AROUND = 1.0001, 1.5  # of values that are all alike, what is shown below and above
_NARROW = 100  # an axis whose ends differ by less has plain numbers in place of powers of ten
_NARROWER = 5  # and by less than this, evenly spaced ones


def draw(rows: Sequence[Row], metric: str | None = None) -> Figure:
    """A curve for each configuration over its budgets, named at its end; error bars are standard errors over seeds.

    Deterministic and stochastic samplers have a panel each, with one scale of quality. What all names of a panel have
    in common stands in its title alone. Both axes are logarithmic, the vertical one where values are positive and
    lower is better.

    Args:
        rows: of a table of results, such as `elucidiff curve` writes.
        metric: to draw; the first there is by default.

    Raises:
        ValueError: there are no such rows, they cannot be compared, or they do not tell the evaluations.
    """
    metric = metric_of(rows, metric)
    curves: dict[str, list[Point]] = {}
    for point in points(rows, metric):
        if point.nfe <= 0:
            raise ValueError(
                f"{point.configuration} does not tell its network evaluations: draw ablation-bars instead"
            )
        curves.setdefault(point.configuration, []).append(point)
    panels = _panels(curves)
    first = next(iter(curves.values()))[0].row
    logarithmic = first.lower_is_better and all(row.value > 0 for row in rows if row.metric == metric)

    labels = {
        title: max(_RIGHT + max(map(text_width, found)), text_width(title, _TITLE) - _PLOT + _GAP)
        for title, found in panels.items()
    }
    width = _LEFT + len(panels) * _PLOT + sum(labels.values())
    figure = new_figure(width, _HEIGHT)
    figure.set_layout_engine("none")  # names stand outside the axes, so the axes have to stay where they are
    every: list[Axes] = []
    left = _LEFT
    for title in panels:
        place = (left / width, _BOTTOM / _HEIGHT, _PLOT / width, 1 - (_BOTTOM + _TOP) / _HEIGHT)
        left += _PLOT + labels[title]
        axes = figure.add_axes(place, sharey=every[0] if every else None)
        axes.set(xscale="log", yscale="log" if logarithmic else "linear")
        axes.set_xlabel("network evaluations per sample", fontsize=9)
        axes.set_title(title, fontsize=_TITLE, color=INK, loc="left")
        every.append(axes)
    looks = {
        name: number for number, name in enumerate(dict.fromkeys(name for each in panels.values() for name in each))
    }
    ends = {title: _curves(axes, found, looks) for axes, (title, found) in zip(every, panels.items(), strict=True)}
    every[0].set_ylabel(metric_title(metric, first.extractor), fontsize=9)
    costs = [point.nfe for found in curves.values() for point in found]
    budgets = sorted({point.row.budget or round(point.nfe) for found in curves.values() for point in found})
    for axes, title in zip(every, panels, strict=True):
        axes.set_xlim(min(costs) / 1.12, max(*costs, budgets[-1]) * 1.12)
        axes.set_xticks(_apart(budgets), [str(budget) for budget in _apart(budgets)])
        axes.xaxis.set_minor_locator(NullLocator())
        low, high = axes.get_ylim()
        if logarithmic and high < _ONE_VALUE * low:  # else rounding may leave an axis without a length
            low, high = axes.set_ylim(low / _AROUND, high * _AROUND)
        if logarithmic and high < _NARROW * low:
            even = high < _NARROWER * low
            axes.yaxis.set_major_locator(
                MaxNLocator(6, steps=[1, 2, 5, 10]) if even else LogLocator(subs=(1.0, 2.0, 3.0, 5.0))
            )
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
            axes.yaxis.set_minor_locator(NullLocator())
        quiet(axes)
        label_ends(axes, ends[title])
    return figure


def is_stochastic(row: Row) -> bool:
    """True if a sampler adds noise on its way."""
    try:
        solver = parts.parse("solver", row.solver)
    except ValueError:
        return True  # the baselines of Song et al. are no solvers of ours
    return bool(row.churn) or bool(solver.stochastic)


def _panels(curves: Mapping[str, list[Point]]) -> dict[str, dict[str, list[Point]]]:
    """Title -> short name -> its curve."""
    panels = {}
    for title, stochastic in (("Deterministic", False), ("Stochastic", True)):
        found = {name: curve for name, curve in curves.items() if is_stochastic(curve[0].row) == stochastic}
        if found:
            shared, names = short_names(list(found))
            full = ": ".join([title, *([shared] if shared else [])])
            panels[full] = dict(zip(names, found.values(), strict=True))
    return panels


def short_names(names: Sequence[str]) -> tuple[str, list[str]]:
    """The part that all names share, between commas, and the names without it; a single one stays as it is."""
    parts = [name.split(", ") for name in names]
    shared = [part for part in parts[0] if all(part in other for other in parts)]
    short = [", ".join(part for part in each if part not in shared) for each in parts]
    return (", ".join(shared), short) if all(short) and len(set(short)) == len(names) else ("", list(names))


def _curves(axes: Axes, curves: Mapping[str, list[Point]], looks: Mapping[str, int]) -> list[End]:
    """Draw the curves, equal names of all panels alike; returns where each of them ends."""
    ends = []
    for name, found in curves.items():
        number = looks[name]
        ordered = sorted(found, key=lambda point: point.nfe)
        colour = PALETTE[number % len(PALETTE)]
        estimates = [point.estimate for point in ordered]
        axes.errorbar(
            [point.nfe for point in ordered],
            [estimate.mean for estimate in estimates],
            yerr=[estimate.error if estimate.error > 0 else 0.0 for estimate in estimates],
            color=colour,
            linestyle=LINES[number // len(PALETTE) % len(LINES)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            linewidth=1.6,
            elinewidth=1.0,
            capsize=2.5,
        )
        ends.append(End(ordered[-1].nfe, estimates[-1].mean, name, colour))
    return ends


def _apart(budgets: Sequence[int]) -> list[int]:
    """Those budgets whose numbers have room beside each other on a logarithmic axis."""
    span = budgets[-1] / budgets[0]
    least = span ** (1 / 9) if span > 1 else 1.0
    kept = [budgets[0]]
    for budget in budgets[1:]:
        if budget >= kept[-1] * least:
            kept.append(budget)
    return kept


@part("figure", "quality_against_nfe")
@dataclass(frozen=True)
class QualityAgainstNfe(ResultsFigure):
    """Quality against network evaluations, deterministic and stochastic samplers apart (Karras et al. 2022, Figs. 2
    and 4)."""

    summary: ClassVar[str] = "curves from `elucidiff curve` (Figs. 2 and 4)"
    alternative: ClassVar[str] = "Quality against network evaluations"
    experiments: ClassVar[tuple[str, ...]] = ("curve",)
    explanation: ClassVar[str] = """
        Each curve is one way to sample, named at its end, at several numbers of network evaluations (Karras et al.
        2022, Figs. 2 and 4); samplers that add noise have a panel of their own.
        """

    def picture(self, rows: Sequence[Row]) -> Figure:
        """See :func:`draw`."""
        return draw(rows, self.metric)
