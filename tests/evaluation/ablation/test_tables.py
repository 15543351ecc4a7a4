"""The table word by word, and the statistics behind its marks, on numbers made up."""

from __future__ import annotations

import csv
import io
import math

import pytest
from scipy import stats

from elucidiff.evaluation.ablation.tables import Column, Table, markdown, resolution_of, to_csv

ERROR, PRECISION = Column("error"), Column("precision", lower_is_better=False)
TABLE = Table(
    "Of numbers",
    {"a": "the first", "b": "the second", "c": "the third"},
    [ERROR, PRECISION],
    {
        ("a", "error"): {0: 1.0, 1: 2.0, 2: 3.0},
        ("b", "error"): {0: 0.5, 1: 1.6, 2: 2.4},
        ("c", "error"): {0: 0.4, 1: 1.8, 2: 2.3},
        ("a", "precision"): {0: 0.5, 1: 0.5, 2: 0.5},
        ("b", "precision"): {0: 0.4, 1: 0.3, 2: 0.2},
    },
    {"b": "a", "c": "b"},
)


def test_markdown() -> None:
    assert markdown("Made up", [TABLE]) == (
        "## Made up\n\n"
        "### Of numbers\n\n"
        "| configuration | what it is | error | precision |\n"
        "| --- | --- | --- | --- |\n"
        "| `a` | the first | 2.00 ± 0.58 | **0.500 ± 0.000** |\n"
        "| `b` | the second | **1.50 ± 0.55** | 0.300 ± 0.058 ≈ |\n"
        "| `c` | the third | 1.50 ± 0.57 ≈ | – |\n\n"
        "Mean ± standard error over 3 seeds; the best in bold; ≈ marks what does not differ "
        "significantly from it (paired t-test, 5%).\n\n"
        "Differences at equal seeds, mean ± standard error:\n\n"
        "| configuration | minus | error | precision |\n"
        "| --- | --- | --- | --- |\n"
        "| `b` | `a` | -0.500 ± 0.058 | -0.200 ± 0.058 |\n"
        "| `c` | `b` | +0.00 ± 0.10 | – |\n"
    )


def test_ties_are_those_of_scipy() -> None:
    a, b, c = (list(TABLE.values[row, "error"].values()) for row in "abc")
    assert stats.ttest_rel(a, b).pvalue < 0.05 < stats.ttest_rel(c, b).pvalue
    assert TABLE.tied(ERROR) == {"c"}
    p, q = (list(TABLE.values[row, "precision"].values()) for row in "ab")
    assert stats.ttest_rel(p, q).pvalue > 0.05
    assert TABLE.tied(PRECISION) == {"b"}


def test_csv_has_every_digit() -> None:
    lines = {(line["configuration"], line["column"]): line for line in csv.DictReader(io.StringIO(to_csv([TABLE])))}
    assert len(lines) == 5
    line = lines["b", "error"]
    assert float(line["mean"]) == pytest.approx(1.5, abs=1e-15)
    assert float(line["standard_error"]) == pytest.approx(stats.sem([0.5, 1.6, 2.4]), rel=1e-14)
    assert (line["table"], line["seeds"], line["best"], line["tied_with_best"], line["reference"]) == (
        "Of numbers",
        "3",
        "1",
        "0",
        "a",
    )
    assert float(line["difference"]) == pytest.approx(-0.5)
    assert lines["a", "error"]["difference"] == ""
    assert lines["b", "precision"]["best"] == "0"


def test_one_seed_has_no_spread_and_no_ties() -> None:
    alone = Table("", {"a": "", "b": ""}, [ERROR], {("a", "error"): {0: 1.0}, ("b", "error"): {0: 2.0}}, {"b": "a"})
    assert alone.best(ERROR) == "a"
    assert alone.tied(ERROR) == frozenset()
    assert "| **1.00** |" in markdown("", [alone])
    assert "| +1.00 |" in markdown("", [alone])


def test_what_diverged_is_not_best() -> None:
    values = {("a", "error"): {0: math.nan}, ("b", "error"): {0: 2.0}, ("c", "error"): {0: 3.0}}
    table = Table("", {"a": "", "b": "", "c": ""}, [ERROR], values, {})
    assert table.best(ERROR) == "b"
    assert "| `a` | not finite |" in markdown("", [table])


@pytest.mark.parametrize(
    ("first", "second", "resolution", "best"),
    [
        (3.1e-17, 3.2e-17, 1e-6, None),
        (2e-7, 9e-7, 1e-6, None),
        (2e-7, 9e-7, 1e-12, "a"),
        (0.5, 0.5 + 1e-12, 1e-12, None),
        (0.5, 0.5001, 1e-6, "a"),
        (0.07, 0.07, 1e-12, None),
    ],
)
def test_none_is_best_by_errors_of_floating_point_numbers(
    first: float, second: float, resolution: float, best: str | None
) -> None:
    column = Column("error", resolution=resolution)
    values = {("a", "error"): {0: first}, ("b", "error"): {0: second}, ("c", "error"): {0: 3.0}}
    table = Table("", dict.fromkeys("abc", ""), [column], values, {})
    assert table.best(column) == best
    assert ("**" in markdown("", [table])) is (best is not None)
    assert resolution_of("truncation_error") == 1e-6
    assert resolution_of("fid") == 1e-12
