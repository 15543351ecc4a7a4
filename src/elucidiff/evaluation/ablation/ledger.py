"""The measurements of an ablation in a table of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elucidiff.evaluation.ablation.cells import Ablation, Cell, Measured
from elucidiff.evaluation.results import ResultsTable, Row


class ResultsLedger:
    """Figures by cell and metric, as rows of one experiment; see :class:`.Ledger`.

    Args:
        table: the rows that are there already, and where others go.
        experiment: what they are measured for.
        ablation: tells what each figure is of.
        common: columns that all rows have in common, such as the model.
    """

    def __init__(
        self, table: ResultsTable, experiment: str, ablation: Ablation, common: Mapping[str, str] | None = None
    ) -> None:
        self._table, self._experiment, self._ablation = table, experiment, ablation
        self._common = dict(common or {})

    def missing(self, cell: Cell, metrics: Sequence[str]) -> list[str]:
        """See :class:`.Ledger`."""
        where = (self._experiment, cell.configuration, cell.nfe, cell.seed)
        return [name for name in metrics if (*where, name) not in self._table]

    def add(self, cell: Cell, measured: Measured) -> None:
        """See :class:`.Ledger`."""
        self._table.add(
            Row(
                self._experiment,
                cell.configuration,
                **{**self._common, **self._ablation.columns(cell, metric)},
                budget=cell.nfe,
                nfe=float(measured.nfe),
                seed=cell.seed,
                metric=metric,
                value=value,
                seconds=round(measured.seconds, 3),
            )
            for metric, value in measured.figures.items()
        )

    def values(self, configuration: str, budget: int, metric: str) -> dict[int, float]:
        """What was measured, by seed."""
        rows = self._table.find(
            experiment=self._experiment, configuration=configuration, budget=budget, metric=metric
        )
        return {row.seed: row.value for row in rows if row.seed is not None}
