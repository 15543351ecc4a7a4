"""An ablation as tables: means with standard errors, the best in bold, and differences at equal seeds."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats

from elucidiff.evaluation.ablation.cells import TRUNCATION
from elucidiff.notebooks import table_html

TIE = 0.05
"""Chance of telling two equal configurations apart, at which they count as distinguishable."""

_MOST_DECIMALS, _VANISHING = 9, 1e-6


@dataclass(frozen=True)
class Estimate:
    """Mean of some values and how well it is known.

    Attributes:
        mean: arithmetic mean; NaN if one of the values is not finite.
        error: standard error of the mean, s / sqrt(n) with s of n - 1 degrees of freedom; NaN for one value.
        count: n.
    """

    mean: float
    error: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """The mean and error of at least one value."""
        if not all(map(math.isfinite, values)):
            return cls(math.nan, math.nan, len(values))
        error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(fmean(values), error, len(values))

    def text(self, sign: bool = False) -> str:
        """Mean and standard error, such as ``0.1234 ± 0.0056``: to two digits of the error, or three of the mean.

        What would vanish behind nine decimals is written with powers of ten.

        Args:
            sign: whether to write a plus sign.
        """
        if not math.isfinite(self.mean):
            return "not finite"
        decimals = 1 - _magnitude(self.error) if self.error > 0 else 2 - _magnitude(self.mean)
        plus, form = "+" if sign else "", f".{min(max(decimals, 0), _MOST_DECIMALS)}f"
        if decimals > _MOST_DECIMALS and abs(self.mean) < _VANISHING:
            form = ".1e"
        mean = f"{self.mean:{plus}z{form}}"
        return mean if math.isnan(self.error) else f"{mean} ± {self.error:{form}}"

    def may_be_zero(self) -> bool:
        """True if a mean difference is compatible with none: a t-test, two-sided, with a chance of error of 5%.

        Of a single value nothing can be said; then it is False.
        """
        if self.count < 2 or not math.isfinite(self.mean):
            return False
        return abs(self.mean) <= float(stats.t.ppf(1 - TIE / 2, self.count - 1)) * self.error


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Mean and error of the differences ``values - reference`` over the seeds that both have; None if there are none.

    What a seed has in common, such as latents or the order of the data, cancels, so the difference may be known far
    better than either mean.
    """
    common = [seed for seed in values if seed in reference]
    return Estimate.of([values[seed] - reference[seed] for seed in common]) if common else None


def _magnitude(value: float) -> int:
    """The power of ten of the first digit."""
    return math.floor(math.log10(abs(value))) if value else 0


Values = Mapping[int, float]
"""The measured values, by seed."""

_RELATIVE = 1e-9


def resolution_of(metric: str) -> float:
    """Up to which difference values of a metric are equal.

    Distances to the exact solution of the ODE end where float32 ends, in which networks compute, and the exact
    solution was found.
    """
    return 1e-6 if metric == TRUNCATION else 1e-12


@dataclass(frozen=True)
class Column:
    """One metric in a column.

    Attributes:
        title: such as ``frechet @ 35``.
        lower_is_better: or higher.
        resolution: values closer than this to each other differ by errors of floating-point numbers alone; see
            :func:`resolution_of`.
    """

    title: str
    lower_is_better: bool = True
    resolution: float = 1e-12


@dataclass(frozen=True)
class Table:
    """The measurements of an ablation so far.

    Attributes:
        title: what it is about; may be empty.
        rows: name and description of each configuration, in order.
        columns: in order.
        values: by name of the configuration and title of the column; what is missing has not been measured, or is
            not defined.
        references: for each configuration the one that it is compared with, by name; none for those left out.
    """

    title: str
    rows: Mapping[str, str]
    columns: Sequence[Column]
    values: Mapping[tuple[str, str], Values]
    references: Mapping[str, str]

    def _repr_html_(self) -> str:
        """Mean and standard error of each cell, for notebooks."""
        rows = [(name, *(_printed(self.estimate(name, column)) for column in self.columns)) for name in self.rows]
        return table_html(self.title, rows, ("", *(column.title for column in self.columns)))

    def estimate(self, row: str, column: Column) -> Estimate | None:
        """Mean and standard error of a cell; None if it is empty."""
        values = self.values.get((row, column.title))
        return Estimate.of(list(values.values())) if values else None

    def difference(self, row: str, column: Column, reference: str) -> Estimate | None:
        """Mean and standard error of a cell's difference to that of ``reference``, over the seeds of both."""
        values, others = (self.values.get((name, column.title)) for name in (row, reference))
        return paired(values, others) if values and others and row != reference else None

    def best(self, column: Column) -> str | None:
        """The name of the configuration with the best mean.

        None if there is nothing to compare, or if another one is as good but for errors of floating-point numbers: a
        prize for the smallest of them would be one for chance.
        """
        means = {row: estimate.mean for row in self.rows if (estimate := self.estimate(row, column)) is not None}
        finite = {row: mean for row, mean in means.items() if math.isfinite(mean)}
        if len(finite) < 2:
            return None
        first, second, *_ = sorted(finite, key=lambda row: finite[row] if column.lower_is_better else -finite[row])
        return None if self._equal(first, second, column) else first

    def _equal(self, row: str, other: str, column: Column) -> bool:
        """True if two configurations differ at no seed by more than errors of floating-point numbers."""
        values, others = (self.values[name, column.title] for name in (row, other))
        common = values.keys() & others.keys()
        return bool(common) and all(
            math.isclose(values[seed], others[seed], rel_tol=_RELATIVE, abs_tol=column.resolution) for seed in common
        )

    def tied(self, column: Column) -> frozenset[str]:
        """Those that do not differ significantly from the best one: paired t-test, two-sided, at 5%."""
        best = self.best(column)
        if best is None:
            return frozenset()
        differences = {row: self.difference(row, column, best) for row in self.rows}
        return frozenset(row for row, each in differences.items() if each is not None and each.may_be_zero())


def markdown(title: str, tables: Sequence[Table]) -> str:
    """Tables for people, under one heading."""
    return "\n".join([f"## {title}", "", *(line for table in tables for line in _markdown(table))])


def _markdown(table: Table) -> list[str]:
    described = any(table.rows.values())
    heading = ["configuration", *(["what it is"] if described else []), *(column.title for column in table.columns)]
    best = {column.title: table.best(column) for column in table.columns}
    tied = {column.title: table.tied(column) for column in table.columns}

    def cell(row: str, column: Column) -> str:
        estimate = table.estimate(row, column)
        if estimate is None:
            return "–"
        text = estimate.text()
        if row == best[column.title]:
            return f"**{text}**"
        return f"{text} ≈" if row in tied[column.title] else text

    lines = [*([f"### {table.title}", ""] if table.title else []), *_rows(heading)]
    for row, what in table.rows.items():
        values = [cell(row, column) for column in table.columns]
        lines.append(_line([f"`{row}`", *([what] if described else []), *values]))
    lines += ["", _legend(table), ""]
    if table.references and any(_differences(table, row) for row in table.rows):
        lines += ["Differences at equal seeds, mean ± standard error:", ""]
        lines += _rows(["configuration", "minus", *(column.title for column in table.columns)])
        lines += [
            _line([f"`{row}`", f"`{table.references[row]}`", *_differences(table, row)])
            for row in table.rows
            if row in table.references and any(text != "–" for text in _differences(table, row))
        ]
        lines.append("")
    return lines


def to_csv(tables: Sequence[Table]) -> str:
    """Tables for programs: a line a cell, with empty fields for what is not defined."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            "table", "configuration", "column", "seeds", "mean", "standard_error", "best", "tied_with_best",
            "reference", "difference", "difference_standard_error",
        ]
    )  # fmt: skip
    for table in tables:
        writer.writerows(_cells(table))
    return file.getvalue()


def _cells(table: Table) -> Iterator[list[object]]:
    """A line of the CSV file for each cell that is not empty."""
    for column in table.columns:
        best, tied = table.best(column), table.tied(column)
        for row in table.rows:
            estimate = table.estimate(row, column)
            if estimate is None:
                continue
            reference = table.references.get(row, "")
            difference = table.difference(row, column, reference)
            place = [table.title, row, column.title]
            marks = [int(row == best), int(row in tied)]
            yield [*place, estimate.count, *_digits(estimate), *marks, reference, *_digits(difference)]


def _digits(estimate: Estimate | None) -> list[str]:
    """Mean and standard error with all their digits; nothing for what is not a number."""
    numbers = (math.nan, math.nan) if estimate is None else (estimate.mean, estimate.error)
    return ["" if math.isnan(number) else repr(number) for number in numbers]


def _differences(table: Table, row: str) -> list[str]:
    reference = table.references.get(row)
    if reference is None:
        return []
    found = [table.difference(row, column, reference) for column in table.columns]
    return ["–" if each is None else each.text(sign=True) for each in found]


def _legend(table: Table) -> str:
    counts = {len(values) for values in table.values.values()}
    seeds = "–".join(map(str, sorted({min(counts), max(counts)}))) if counts else "0"
    text = f"Mean ± standard error over {seeds} seed{'' if seeds == '1' else 's'}; the best in bold"
    if any(table.tied(column) for column in table.columns):
        text += "; ≈ marks what does not differ significantly from it (paired t-test, 5%)"
    return text + "."


def _rows(heading: Sequence[str]) -> list[str]:
    return [_line(heading), _line(["---"] * len(heading))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _printed(estimate: Estimate | None) -> str:
    """Mean and standard error, where there is one."""
    if estimate is None:
        return ""
    return f"{estimate.mean:.4g}" if math.isnan(estimate.error) else f"{estimate.mean:.4g} ± {estimate.error:.2g}"
