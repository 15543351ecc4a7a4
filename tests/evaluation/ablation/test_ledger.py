"""Measurements as rows: what is there is not missing, and every row says what it is of."""

from __future__ import annotations

from pathlib import Path

from elucidiff.evaluation.ablation.cells import TRUNCATION, Cell, Measured, ResultsLedger
from elucidiff.evaluation.ablation.sampling import sampling_configurations
from elucidiff.evaluation.ablation.studies import SamplingAblation
from elucidiff.evaluation.results import ResultsTable, Row, read_results
from tests.evaluation.ablation.ledgers import MeanEvaluator
from tests.sampling.optimise.mixtures import mixture

COMMON = {"model": "mixture-01234567", "extractor": "pca-3"}
CELL = Cell("edm", 9, 1)


def ledger(folder: Path) -> ResultsLedger:
    rows = [row for row in sampling_configurations() if row.name == "edm"]
    ablation = SamplingAblation(
        mixture(), rows, [5, 9], blocks=2, images=6, exact_images=2, evaluator=MeanEvaluator()
    )
    return ResultsLedger(ResultsTable(folder), "sampling", ablation, COMMON)


def test_a_measurement_is_rows(tmp_path: Path) -> None:
    kept = ledger(tmp_path)
    kept.add(CELL, Measured({TRUNCATION: 0.25, "count": 6.0}, 9, 1.23456))
    shared = {
        "solver": "heun", "schedule": "edm", "steps": "karras", "rho": 7.0, "sigma_min": 0.002, "sigma_max": 80.0,
        "churn": 0.0, "guidance": 1.0, "budget": 9, "nfe": 9.0, "seed": 1, "seconds": 1.235, **COMMON,
    }  # fmt: skip
    assert read_results(tmp_path) == [
        Row("sampling", "edm", seeds="6-7", images=2, metric=TRUNCATION, value=0.25, **shared),
        Row("sampling", "edm", seeds="6-11", images=6, metric="count", value=6.0, lower_is_better=False, **shared),
    ]


def test_what_is_there_is_not_missing(tmp_path: Path) -> None:
    ledger(tmp_path).add(CELL, Measured({TRUNCATION: 0.25}, 9, 1.0))
    again = ledger(tmp_path)
    assert again.missing(CELL, [TRUNCATION, "count"]) == ["count"]
    assert again.missing(Cell("edm", 9, 0), [TRUNCATION]) == [TRUNCATION]
    assert again.missing(Cell("edm", 5, 1), [TRUNCATION]) == [TRUNCATION]
    assert again.values("edm", 9, TRUNCATION) == {1: 0.25}
    assert again.values("edm", 5, TRUNCATION) == {}


def test_experiments_share_a_table(tmp_path: Path) -> None:
    ResultsTable(tmp_path).add([Row("curve", "edm", budget=9, seed=1, metric=TRUNCATION, value=7.0)])
    kept = ledger(tmp_path)
    assert kept.missing(CELL, [TRUNCATION]) == [TRUNCATION]
    kept.add(CELL, Measured({TRUNCATION: 0.25}, 9, 1.0))
    assert [row.value for row in read_results(tmp_path)] == [7.0, 0.25]
