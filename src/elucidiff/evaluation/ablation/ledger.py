"""The measurements of an ablation in a file: a line a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from elucidiff.evaluation.ablation.cells import Cell, Measured
from elucidiff.files import write_whole

FIELDS = ("configuration", "budget", "nfe", "seed", "metric", "value", "seconds")


class FileLedger:
    """Figures by cell and metric, in a CSV file that is written whole whenever a cell is added.

    Args:
        path: the file; read if it is there.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[tuple[Cell, str], list[str]] = {}
        if path.exists():
            self._read()

    def missing(self, cell: Cell, metrics: Sequence[str]) -> list[str]:
        """See :class:`.Ledger`."""
        return [name for name in metrics if (cell, name) not in self._lines]

    def add(self, cell: Cell, measured: Measured) -> None:
        """See :class:`.Ledger`."""
        for metric, value in measured.figures.items():
            self._lines[cell, metric] = [
                cell.configuration, str(cell.nfe), str(measured.nfe), str(cell.seed), metric, repr(value),
                f"{measured.seconds:.3f}",
            ]  # fmt: skip
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([FIELDS, *self._lines.values()])
        write_whole(self.path, file.getvalue())

    def values(self, configuration: str, budget: int, metric: str) -> dict[int, float]:
        """What was measured, by seed."""
        return {
            cell.seed: float(line[5])
            for (cell, name), line in self._lines.items()
            if (cell.configuration, cell.nfe, name) == (configuration, budget, metric)
        }

    def _read(self) -> None:
        rows = list(csv.reader(io.StringIO(self.path.read_text(encoding="utf-8"))))
        try:
            if tuple(rows[0]) != FIELDS:
                raise ValueError
            for line in rows[1:]:
                configuration, budget, _, seed, metric, value, seconds = line
                _ = float(value), float(seconds)
                self._lines[Cell(configuration, int(budget), int(seed)), metric] = line
        except (ValueError, IndexError):
            raise ValueError(f"{self.path} is no table of an ablation: move it away") from None
