"""Tables of an ablation or a curve: what is measured is kept, what is missing is measured, and a report is made."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from elucidiff import parts
from elucidiff.evaluation.ablation.cells import (
    Ablation,
    Cell,
    Measured,
    ResultsLedger,
    fill,
    missing_cells,
)
from elucidiff.evaluation.ablation.tables import Column, Table, markdown, resolution_of, to_csv
from elucidiff.evaluation.quality import Evaluator
from elucidiff.evaluation.quality.metric_sets import title_for
from elucidiff.evaluation.results import ResultsTable, Row
from elucidiff.files import write_whole
from elucidiff.launch.interrupt import StoppedError, Watch
from elucidiff.launch.output_folder import check_same_work, held
from elucidiff.notebooks import table_html
from elucidiff.plain_data import plain_value
from elucidiff.sampling.sampler import KINDS
from elucidiff.suggest import known_names
from elucidiff.untrusted import read_json


@dataclass(frozen=True)
class Report:
    """Tables and figures that are made of the measurements, and their folder.

    Attributes:
        title: of the table.
        rows: name and description of each configuration.
        references: for each configuration the one it is compared with.
        evaluator: of samples, or None; it decides the values, too.
        facts: what else decides the values. A folder in which others were measured is refused.
        experiment: what the rows are measured for, in the table of results.
        model: whose samples they are, likewise; empty if each configuration has a model of its own.
        settings: of each configuration, by name, likewise.
        defaults: of these settings: what an older program did not know yet, and so did not write down.
        folder: where everything is kept.
        noun: what it is called in messages; with ``.json``, the file of the settings.
        stem: of the files of the table.
    """

    title: str
    rows: Mapping[str, str]
    references: Mapping[str, str]
    evaluator: Evaluator | None
    facts: Mapping[str, Any]
    experiment: str
    model: str
    settings: Mapping[str, Mapping[str, Any]]
    defaults: Mapping[str, Any]
    folder: Path
    noun: str = "ablation"
    stem: str = "table"

    @property
    def settings_file(self) -> Path:
        """The file of the settings."""
        return self.folder / f"{self.noun}.json"

    def ledger(self, ablation: Ablation) -> ResultsLedger:
        """The table of results.

        Raises:
            ValueError: the file there is none.
            OSError: it cannot be read.
        """
        evaluator = {} if self.evaluator is None else self._evaluated_by(self.evaluator)
        return ResultsLedger(ResultsTable(self.folder), self.experiment, ablation, {"model": self.model, **evaluator})

    def tables(self, ablation: Ablation, ledger: ResultsLedger) -> list[Table]:
        """The measurements so far: a table for each metric, or one for all if there is a single budget."""
        cells = ablation.cells()
        metrics = list(dict.fromkeys(name for cell in cells for name in ablation.metrics(cell)))
        budgets = sorted({cell.nfe for cell in cells})
        seeds = {cell.seed for cell in cells}
        if len(budgets) == 1:
            return [self._table("", {self._title(metric): (metric, budgets[0]) for metric in metrics}, seeds, ledger)]
        return [
            self._table(
                self._title(metric), {f"{budget} evaluations": (metric, budget) for budget in budgets}, seeds, ledger
            )
            for metric in metrics
        ]

    def _table(
        self, title: str, columns: Mapping[str, tuple[str, int]], seeds: Collection[int], ledger: ResultsLedger
    ) -> Table:
        """One table; of each column, by its title, the metric and the budget."""
        lower_is_better = {} if self.evaluator is None else self.evaluator.metrics
        values = {
            (row, heading): {
                seed: value for seed, value in ledger.values(row, budget, metric).items() if seed in seeds
            }
            for heading, (metric, budget) in columns.items()
            for row in self.rows
        }
        values = {place: found for place, found in values.items() if found}
        rows = {row: what for row, what in self.rows.items() if any(row == other for other, _ in values)}
        return Table(
            title,
            rows,
            [
                Column(heading, lower_is_better.get(metric, True), resolution_of(metric))
                for heading, (metric, _) in columns.items()
            ],
            values,
            {row: other for row, other in self.references.items() if row in rows and other in rows},
        )

    def kept(self) -> dict[str, Any]:
        """All that decides the values, as JSON gives it back."""
        evaluator = (
            {"extractor": None, "reference": None} if self.evaluator is None else self._evaluated_by(self.evaluator)
        )
        return dict(json.loads(json.dumps({**self.facts, **evaluator, "configurations": dict(self.settings)})))

    @staticmethod
    def _evaluated_by(evaluator: Evaluator) -> dict[str, str]:
        return {"extractor": evaluator.extractor.id, "reference": evaluator.reference.id}

    def _title(self, metric: str) -> str:
        """The title of a column; of metrics of images, with what describes the images."""
        if self.evaluator is None or metric not in self.evaluator.metrics:
            return _words(metric).capitalize()
        name, extractor = title_for(metric, self.evaluator.extractor.name), self.evaluator.extractor.name
        return name if extractor in name else f"{name} ({extractor})"


@dataclass(frozen=True)
class Filled:
    """The measurements, so far or at last.

    Attributes:
        title: of all tables.
        tables: one for each metric, or one for all if there is a single budget; none where it was only planned.
        folder: where everything is kept.
        stopped: the signal that ended it before its time, if any.
    """

    title: str
    tables: Sequence[Table]
    folder: Path
    stopped: str | None = None

    def to_markdown(self) -> str:
        """The tables in print."""
        return markdown(self.title, list(self.tables))

    def _repr_html_(self) -> str:
        """The tables, for notebooks."""
        if not self.tables:
            return table_html(self.title, [("planned", self.folder)])
        return "".join(table._repr_html_() for table in self.tables)

    @property
    def rows(self) -> list[Row]:
        """Every measurement that the folder keeps: a row a configuration, budget, block of seeds and metric."""
        return list(ResultsTable(self.folder).rows)


def fill_tables(ablation: Ablation, report: Report, *, only_plan: bool = False, watch: Watch | None = None) -> Filled:
    """Measure what is missing, and make the tables.

    Args:
        ablation: what there is to measure.
        report: what is made of it, and where.
        only_plan: say what there is to do and about how long it takes, and do nothing.
        watch: is told how it goes, and may end it: then the tables are of what was measured so far.

    Raises:
        ValueError: something else was measured in the folder, or another process is at it.
        OSError: the folder cannot be written.
    """
    watch = watch or Watch()
    with nullcontext() if only_plan else held(report.folder):
        merged = _checked(report)
        ledger = report.ledger(ablation)
        cells, missing = ablation.cells(), missing_cells(ablation, ledger)
        watch.note(f"{len(cells) - len(missing)} of {len(cells)} measurements are there already, in {report.folder}")
        if missing:
            minutes = sum(ablation.seconds(cell) for cell, _ in missing) / 60
            watch.note(
                f"{len(missing)} to make: about {_minutes(minutes)} on this machine, as fast as it is just now"
            )
        if only_plan:
            return Filled(report.title, (), report.folder)
        write_whole(report.settings_file, json.dumps(merged, indent=1))
        stopped = _measure(ablation, ledger, {cell: ablation.work(cell) for cell, _ in missing}, report.noun, watch)
        filled = Filled(report.title, report.tables(ablation, ledger), report.folder, stopped)
        write_whole(report.folder / f"{report.stem}.md", filled.to_markdown())
        write_whole(report.folder / f"{report.stem}.csv", to_csv(filled.tables))
    return filled


def chosen_from(rows: Mapping[str, str], only: str | Sequence[str] | None) -> dict[str, str]:
    """Those of the rows, names and descriptions, that ``only`` names; all without.

    Raises:
        ValueError: one is unknown; the message suggests the nearest.
    """
    if only is None:
        return dict(rows)
    names = known_names(only, rows, "only", "configuration")
    return {name: what for name, what in rows.items() if name in names}


def _measure(
    ablation: Ablation, ledger: ResultsLedger, work: Mapping[Cell, float], what: str, watch: Watch
) -> str | None:
    """Fill the ledger; the signal that ended it before its time, if any."""
    finished = 0.0
    with watch.bar(what, sum(work.values()), ablation.unit) as bar:

        def tick(cell: Cell, share: float) -> None:
            watch.stop_if_asked()
            bar.reach(finished + share * work[cell], f"{cell.configuration} @ {cell.nfe}, seed {cell.seed}")

        def done(cell: Cell, measured: Measured) -> None:
            nonlocal finished
            finished += work[cell]
            values = ", ".join(f"{_words(name)} {value:.4g}" for name, value in measured.values.items())
            bar.say(f"{cell.configuration} @ {measured.nfe}, seed {cell.seed}: {values} ({measured.seconds:.0f} s)")

        try:
            fill(ablation, ledger, tick=tick, done=done)
        except StoppedError as error:
            return error.signal or "stopped"
    return None


def _checked(report: Report) -> dict[str, Any]:
    """The settings to keep: those of earlier commands, which must agree, and of this one."""
    path = report.settings_file
    now = report.kept()
    if not path.exists():
        return now
    try:
        before = read_json(path)
        defaults = json.loads(json.dumps(dict(report.defaults)))
        known = {name: _filled(settings, defaults) for name, settings in before["configurations"].items()}
    except (ValueError, TypeError, LookupError, AttributeError):
        raise ValueError(f"{path} is damaged: move it away, or choose another --out") from None
    shared = {name: settings for name, settings in now["configurations"].items() if name in known}
    # A folder without metrics of images may get some later, and may be gone on with for the others alone.
    evaluator = {name: before.get(name) or now[name] for name in ("extractor", "reference")}
    now |= {name: now[name] or evaluator[name] for name in evaluator}
    alike = {**before, **evaluator, "configurations": {name: known[name] for name in shared}}
    check_same_work(
        report.folder, "other measurements", alike, {**now, "configurations": shared},
        "change it back, or choose another --out",
    )  # fmt: skip
    return {**now, "configurations": {**known, **now["configurations"]}}


def _filled(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """``settings``, with the default of each one that is missing."""
    filled = {**defaults, **settings}
    for name, value in filled.items():
        if isinstance(value, Mapping):
            known = _defaults_of_part(name, value)
            if known is None and isinstance(defaults.get(name), Mapping):
                known = defaults[name]
            filled[name] = _filled(value, known or {})
    return filled


def _defaults_of_part(choice: str, values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The defaults of the part that is chosen for sampling or training, whatever part is the default there; None if
    it is no part.

    Of a part that is not known here, such as one of a plugin, there are none.
    """
    kind = KINDS.get(choice, choice)
    if kind not in parts.KINDS or "type" not in values:
        return None
    try:
        settings = parts.settings(parts.find(kind, str(values["type"])))
    except ValueError:
        return {}
    return {each.name: plain_value(each.default, each.type) for each in settings if each.default is not MISSING}


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _minutes(minutes: float) -> str:
    return f"{minutes:.1f} minutes" if minutes < 100 else f"{minutes / 60:,.1f} hours"
