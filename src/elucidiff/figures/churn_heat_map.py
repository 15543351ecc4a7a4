"""Maps of quality over settings of churn: two settings at a time, the others at their best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from elucidiff.evaluation.results import Row
from elucidiff.figures.base import ResultsFigure, metric_of, metric_title
from elucidiff.figures.style import INK, VERMILION, new_figure
from elucidiff.parts import part
from elucidiff.suggest import names_in, suggestion

Array = npt.NDArray[np.float64]

SYMBOLS: Mapping[str, str] = {
    "churn": r"$S_{\mathrm{churn}}$",
    "churn_sigma_min": r"$S_{\mathrm{tmin}}$",
    "churn_sigma_max": r"$S_{\mathrm{tmax}}$",
    "noise_scale": r"$S_{\mathrm{noise}}$",
    "rho": r"$\rho$",
    "guidance": "guidance weight",
}
"""Settings that may be an axis, and their names there."""
_MOST, _BINS = 11, 8  # as many values of a grid are shown as they are; more are put together in bins
_FEW = 3  # so few have a place of their own even where none was tried twice
_NOT_TRIED = "#F1F1F1"
_CELL, _NUMBER = 0.52, 8


@dataclass(frozen=True)
class Axis:
    """Values of a setting along one side of a map.

    Attributes:
        column: of the table of results.
        values: those, increasing, or the centres of bins; 0 is never put together with others.
        edges: of bins, increasing; None where each value has a place of its own.
    """

    column: str
    values: Array
    edges: Array | None

    @classmethod
    def of(cls, column: str, rows: Sequence[Row]) -> Axis:
        """The axis of all values that a column has. Those of a grid come again and again, drawn ones do not."""
        having = [row for row in rows if getattr(row, column) is not None]
        found = np.array(sorted({getattr(row, column) for row in having}))
        again = len(found) < len({_settings(row) for row in having})
        if len(found) <= _FEW or (again and len(found) <= _MOST):
            return cls(column, found, None)
        drawn = found[found != 0]
        low, high, bins = drawn[0], drawn[-1], min(_BINS, len(drawn))
        arithmetic, geometric = (low + high) / 2, math.sqrt(max(0.0, low * high))
        # As noise levels are, which searches draw by their logarithm.
        if np.median(drawn) ** 2 < arithmetic * geometric:
            edges = np.geomspace(low, high, bins + 1)
            centres = np.sqrt(edges[1:] * edges[:-1])
        else:
            edges = np.linspace(low, high, bins + 1)
            centres = (edges[1:] + edges[:-1]) / 2
        if found[0] == 0:
            edges, centres = np.append(0.0, edges), np.append(0.0, centres)
        return cls(column, centres, edges)

    def places(self, row: Row) -> list[int]:
        """The cells of a row along this axis; all if the setting has no effect in it."""
        value = getattr(row, self.column)
        if value is None:
            return list(range(len(self.values)))
        if self.edges is None:
            return [int(np.searchsorted(self.values, value))]
        return [int(np.clip(np.searchsorted(self.edges, value, side="right") - 1, 0, len(self.values) - 1))]

    @property
    def labels(self) -> list[str]:
        """Labels of the values, in as few digits as distinguish them."""
        digits = 3
        while len({f"{value:.{digits}g}" for value in self.values}) < len(self.values):
            digits += 1
        return [f"{value:.{digits}g}" for value in self.values]


def draw(rows: Sequence[Row], metric: str | None = None, axes: tuple[str, str] | None = None) -> Figure:
    """A map for S_churn with each other setting that varies, or for one pair; the best cell of each is framed.

    Each cell has the best value that was reached with its two settings, whatever the others, and is grey where
    nothing was tried. Values that were drawn at random are put together in bins, those of a grid are not. Where churn
    is 0 the others have no effect, so that value stands for all of their values. Of a search only the trials count
    that saw all images, and not those that measured its result on fresh seeds.

    Args:
        rows: of a table of results, such as `elucidiff search` writes.
        metric: to draw; the first there is by default.
        axes: the columns of the horizontal and the vertical axis; by default all pairs with the first that varies.

    Raises:
        ValueError: there are no such rows, or fewer than two of the settings vary.
    """
    metric = metric_of(rows, metric)
    chosen = _comparable([row for row in rows if row.metric == metric])
    known = [name for name in SYMBOLS if len({getattr(row, name) for row in chosen} - {None}) > 1]
    for name in axes or ():
        if name not in known:
            raise ValueError(f"{name!r} has no two values in these rows; {suggestion(name, known)}")
    if len(known) < 2:
        varied = ", ".join(known) or "none"
        raise ValueError(f"a map needs two settings that vary, of {', '.join(SYMBOLS)}: here there is {varied}")
    pairs = [axes] if axes else [(known[0], other) for other in known[1:]]
    lower = chosen[0].lower_is_better
    maps = [(Axis.of(x, chosen), Axis.of(y, chosen)) for x, y in pairs]
    cells = [best_cells(chosen, x, y) for x, y in maps]
    low, high = min(np.nanmin(each) for each in cells), max(np.nanmax(each) for each in cells)
    widths = [max(2.6, _CELL * len(x.values) + 0.6) for x, _ in maps]
    figure = new_figure(sum(widths) + 0.9, max(2.6, _CELL * max(len(y.values) for _, y in maps) + 0.9))
    panels = figure.subplots(1, len(maps), squeeze=False, width_ratios=widths)[0]
    for panel, values, (x, y) in zip(panels, cells, maps, strict=True):
        _panel(panel, values, x, y, (low, high), lower)
    better = "lower is better" if lower else "higher is better"
    scale = ScalarMappable(Normalize(low, high), _colours(lower))
    bar = figure.colorbar(scale, ax=list(panels), pad=0.02, fraction=0.03 + 0.02 / len(maps))
    bar.set_label(f"{metric_title(metric, chosen[0].extractor)}\n{better}", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def best_cells(rows: Sequence[Row], x: Axis, y: Axis) -> Array:
    """The best mean over seeds among the settings of each cell, ``(Y, X)``; not a number where nothing was tried."""
    settings: dict[tuple[float | None, ...], list[Row]] = {}
    for row in rows:
        settings.setdefault(_settings(row), []).append(row)
    cells = np.full((len(y.values), len(x.values)), math.nan)
    best = np.fmin if rows[0].lower_is_better else np.fmax
    for group in settings.values():
        mean = sum(row.value for row in group) / len(group)
        for column in x.places(group[0]):
            for line in y.places(group[0]):
                cells[line, column] = best(cells[line, column], mean)
    return cells


def _settings(row: Row) -> tuple[float | None, ...]:
    """The settings that rows of several seeds have in common."""
    return (*(getattr(row, name) for name in SYMBOLS), row.budget, row.sigma_min, row.sigma_max)


def _comparable(rows: Sequence[Row]) -> list[Row]:
    """The rows whose values can be compared: equally many images, and of a search its trials."""
    trials = [row for row in rows if row.experiment != "search" or row.configuration.startswith("trial ")]
    most = max((row.images or 0 for row in trials), default=0)
    return [row for row in trials if (row.images or 0) == most and math.isfinite(row.value)]


def _panel(axes: Axes, cells: Array, x: Axis, y: Axis, span: tuple[float, float], lower: bool) -> None:
    colours = _colours(lower)
    axes.set_facecolor(_NOT_TRIED)
    axes.imshow(cells, cmap=colours, vmin=span[0], vmax=span[1], origin="lower", aspect="auto")
    axes.set_xticks(range(len(x.values)), x.labels, fontsize=8, rotation=90 if x.edges is not None else 0)
    axes.set_yticks(range(len(y.values)), y.labels, fontsize=8)
    axes.set_xlabel(SYMBOLS[x.column] + (" (centres of bins)" if x.edges is not None else ""), fontsize=10)
    axes.set_ylabel(SYMBOLS[y.column] + (" (centres of bins)" if y.edges is not None else ""), fontsize=10)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    width = (span[1] - span[0]) or 1.0
    for line, column in zip(*np.nonzero(np.isfinite(cells)), strict=True):
        value = float(cells[line, column])
        red, green, blue, _ = colours((value - span[0]) / width)
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        text = f"{value:.3g}"
        axes.text(
            column, line, text, ha="center", va="center", fontsize=_NUMBER - (len(text) > 5),
            color="white" if dark else INK,
        )  # fmt: skip
    line, column = best_place(cells, lower)
    axes.add_patch(
        Rectangle((column - 0.5, line - 0.5), 1, 1, fill=False, edgecolor=VERMILION, linewidth=2.4, clip_on=False)
    )


def best_place(cells: Array, lower: bool) -> tuple[int, int]:
    """Row and column of the best cell."""
    index = int(np.nanargmin(cells) if lower else np.nanargmax(cells))
    line, column = np.unravel_index(index, cells.shape)
    return int(line), int(column)


def _colours(lower: bool) -> Colormap:
    """Bright is good."""
    return matplotlib.colormaps["viridis_r" if lower else "viridis"]


@part("figure", "churn_heat_map")
@dataclass(frozen=True)
class ChurnHeatMap(ResultsFigure):
    """The best value for each pair of settings of churn, as a search or a grid found them."""

    summary: ClassVar[str] = "settings of churn, from `elucidiff search` or a grid"
    alternative: ClassVar[str] = "Maps of quality over pairs of settings"
    experiments: ClassVar[tuple[str, ...]] = ("search",)
    explanation: ClassVar[str] = """
        Each cell of the maps is the best that was reached with its two settings, whatever the others, and the framed
        one the best of all; nothing was tried in grey ones.
        """

    axes: str | None = None
    """Two columns, with a comma between them, such as churn,churn_sigma_min; all pairs with S_churn by default."""

    def picture(self, rows: Sequence[Row]) -> Figure:
        """See :func:`draw`."""
        if self.axes is None:
            return draw(rows, self.metric)
        names = names_in(self.axes)
        if len(names) != 2:
            raise ValueError(f"--axes {self.axes} names {len(names)} columns: name two, with a comma between them")
        return draw(rows, self.metric, (names[0], names[1]))
