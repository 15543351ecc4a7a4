"""Sections from tables of results."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from elucidiff.evaluation.ablation.tables import Column, resolution_of
from elucidiff.evaluation.ablation.tables import Table as Measurements
from elucidiff.evaluation.results import Row, read_results
from elucidiff.figures import ablation_bars, churn_heat_map, quality_against_nfe
from elucidiff.figures.page import Picture, Section, Table
from elucidiff.figures.results_table import metric_title, points

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
    """A figure, if there is one for it, and the table of each experiment and figure of quality.

    Args:
        folder: what the report is about.
        place: the folder of the table.

    Raises:
        ValueError: the table is damaged, or its figures cannot be compared.
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
    curve = experiment == "curve"
    kind, draw = (
        (quality_against_nfe.NAME, quality_against_nfe.draw) if curve else (ablation_bars.NAME, ablation_bars.draw)
    )
    alternative = "Quality against network evaluations" if curve else "Bars of an ablation with error bars"
    return Section(
        title,
        f"{_CURVE if curve else _BARS} {_spread(rows)}",
        Picture.of(draw(rows, metric), alternative),
        _table(rows, metric),
        shlex.join(["elucidiff", "figure", kind, str(place), "--metric", metric]),
    )


_CURVE = """
    Each curve is one way to sample, named at its end, at several numbers of network evaluations (Karras et al. 2022,
    Figs. 2 and 4); samplers that add noise have a panel of their own.
    """
_BARS = """
    Each bar is one configuration, from 0, with the best dark.
    """


def _spread(rows: Sequence[Row]) -> str:
    """What the error bars are, and of how many images."""
    seeds = len({row.seed for row in rows})
    images = sorted({row.images for row in rows if row.images is not None})
    of = f" of {images[0]:,} images each" if len(images) == 1 else ""
    if seeds == 1:
        return f"There is one block of seeds{of}, so nothing is known of chance."
    return (
        f"Error bars are standard errors over {seeds} blocks of seeds{of}; ≈ marks what a paired t-test (5%) cannot "
        "tell from the best."
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
        text += """
            Each cell of the maps is the best that was reached with its two settings, whatever the others, and the
            framed one the best of all; nothing was tried in grey ones.
            """
    words = ["elucidiff", "figure", churn_heat_map.NAME, str(place), "--metric", metric]
    return Section(
        title,
        text,
        None if figure is None else Picture.of(figure, "Maps of quality over pairs of settings"),
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
            [name, point.spread.text(), f"{point.nfe:g}", *("–" if v is None else f"{v:.4g}" for v in settings)]
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
        spread = table.spread(name, column)
        if spread is None:
            return "–"
        if table.best(column) == name:
            return f"**{spread.text()}**"
        return f"{spread.text()} ≈" if name in table.tied(column) else spread.text()

    header = ["configuration", *(column.title or metric.replace("_", " ") for column in columns)]
    return Table(header, [[name, *(cell(name, column) for column in columns)] for name in names])
