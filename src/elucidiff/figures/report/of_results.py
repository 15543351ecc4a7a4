"""Sections from tables of results, and from the numbers that figures left."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from elucidiff.evaluation.ablation.tables import Column, resolution_of
from elucidiff.evaluation.ablation.tables import Table as Measurements
from elucidiff.evaluation.results import Row, read_results
from elucidiff.figures import churn_heat_map
from elucidiff.figures.base import figure_for, figure_of, metric_title, points, read_numbers, redraw
from elucidiff.figures.page import Picture, Section, Table

_TITLES = {
    "curve": "Quality against evaluations",
    "sampling": "Ablation of deterministic sampling",
    "churn": "Ablation of stochastic sampling",
    "alpha": "Ablation of second-order methods",
    "training": "Ablation of training",
    "augment": "Ablation of augmentation",
    "search": "Search",
}
_MOST_TRIALS = 12


def of_results(folder: Path, place: Path) -> list[Section]:
    """A figure, if there is one for it, and the table of each experiment and metric.

    Args:
        folder: what the report is about.
        place: the folder of the table.

    Raises:
        ValueError: the table is damaged, or its values cannot be compared.
        OSError: it cannot be read.
    """
    rows = read_results(place)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.experiment, row.metric), []).append(row)
    name = "" if place == folder else f" in {place.relative_to(folder)}"
    return [_section(place, name, *key, found) for key, found in groups.items()]


def _section(place: Path, name: str, experiment: str, metric: str, rows: Sequence[Row]) -> Section:
    called = metric_title(metric, next((row.extractor for row in rows if row.extractor), "")).split("\n")[0]
    title = f"{_TITLES.get(experiment, experiment)}: {called}{name}"
    if experiment == "search":
        return _search(place, title, metric, rows)
    name, figure = figure_for(experiment)
    return Section(
        title,
        f"{figure.explanation} {_errors(rows)}",
        Picture.of(figure(place, metric).picture(rows), figure.alternative),
        _table(rows, metric),
        shlex.join(["elucidiff", "figure", name, str(place), "--metric", metric]),
    )


def _errors(rows: Sequence[Row]) -> str:
    """A sentence on the error bars, and of how many images they are."""
    seeds = len({row.seed for row in rows})
    images = sorted({row.images for row in rows if row.images is not None})
    of = f" of {images[0]:,} images each" if len(images) == 1 else ""
    if seeds == 1:
        return f"There is one block of seeds{of}, so nothing is known of chance."
    return (
        f"Error bars are standard errors over {seeds} blocks of seeds{of}; ≈ marks what is not significantly "
        "worse than the best (paired t-test, 5%)."
    )


def _search(place: Path, title: str, metric: str, rows: Sequence[Row]) -> Section:
    """The trials as maps where two settings of churn varied; and the best of them beside what fresh seeds said."""
    trials = [row for row in rows if row.configuration.startswith("trial ")]
    figure: Figure | None
    try:
        figure = churn_heat_map.draw(rows, metric)
    except ValueError:
        figure = None
    text = f"""
        {len(trials)} ways to sample were tried on the same seeds; what was found was then measured on fresh ones
        beside the sampler of before, which tells luck from improvement.
        """
    if figure is not None:
        text += churn_heat_map.ChurnHeatMap.explanation
    words = ["elucidiff", "figure", "churn-heat-map", str(place), "--metric", metric]
    return Section(
        title,
        text,
        None if figure is None else Picture.of(figure, churn_heat_map.ChurnHeatMap.alternative),
        _trials(rows, trials),
        shlex.join(words) if figure is not None else "",
    )


def _trials(rows: Sequence[Row], trials: Sequence[Row]) -> Table:
    """The results on fresh seeds, then the best trials of those with the most images."""
    most = max((row.images or 0 for row in trials), default=0)
    whole = [row for row in trials if (row.images or 0) == most]
    best = sorted(whole, key=lambda row: row.value if row.lower_is_better else -row.value)[:_MOST_TRIALS]
    fresh: dict[str, list[Row]] = {}
    for row in rows:
        if row not in trials:
            fresh.setdefault(row.configuration, []).append(row)
    groups = [*((f"{name}, fresh seeds", found) for name, found in fresh.items())]
    groups += [(row.configuration, [row]) for row in best]
    metric = next(iter(rows)).metric
    names = churn_heat_map.SYMBOLS
    shown = [name for name in names if len({getattr(row, name) for row in trials} - {None}) > 1]
    body = []
    for name, found in groups:
        point = points([*found], metric)[0]
        settings = [getattr(point.row, column) for column in shown]
        body.append(
            [name, point.estimate.text(), f"{point.nfe:g}", *("–" if v is None else f"{v:.4g}" for v in settings)]
        )
    return Table(["", metric.replace("_", " "), "evaluations", *(name.replace("_", " ") for name in shown)], body)


def _table(rows: Sequence[Row], metric: str) -> Table:
    """Means with standard errors by configuration and budget; the best of each column bold, its equals marked."""
    found = points(rows, metric)
    names = list(dict.fromkeys(point.configuration for point in found))
    budgets = sorted({point.row.budget for point in found}, key=lambda budget: budget or 0)
    columns = [
        Column("" if budget is None else f"{budget} evaluations", found[0].row.lower_is_better, resolution_of(metric))
        for budget in budgets
    ]
    values = {(point.configuration, columns[budgets.index(point.row.budget)].title): point.values for point in found}
    table = Measurements("", dict.fromkeys(names, ""), columns, values, {})

    def cell(name: str, column: Column) -> str:
        estimate = table.estimate(name, column)
        if estimate is None:
            return "–"
        if table.best(column) == name:
            return f"**{estimate.text()}**"
        return f"{estimate.text()} ≈" if name in table.tied(column) else estimate.text()

    header = ["configuration", *(column.title or metric.replace("_", " ") for column in columns)]
    return Table(header, [[name, *(cell(name, column) for column in columns)] for name in names])


def of_numbers(folder: Path, path: Path) -> list[Section]:
    """The figure with its explanation and the command that measured it.

    Args:
        folder: what the report is about.
        path: the file.

    Raises:
        ValueError: the numbers are damaged.
        OSError: they cannot be read.
    """
    kept = read_numbers(path)
    figure, picture = figure_of(kept), redraw(kept)
    try:
        text = figure.explain(kept)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"numbers of the figure {kept.figure} are missing or damaged: {error}") from None
    return [Section(figure.title, text, Picture.of(picture, figure.alternative), command=kept.command)]
