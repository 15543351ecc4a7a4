"""Filling the table of an ablation: what is missing, one cell at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from elucidiff.evaluation.ablation.cells import Ablation, Cell, Measured


class Ledger(Protocol):
    """Where measurements are kept."""

    def missing(self, cell: Cell, metrics: Sequence[str]) -> list[str]:
        """Those of the metrics that are not there yet."""
        ...

    def add(self, cell: Cell, measured: Measured) -> None:
        """Keep what was measured, wholly or not at all."""
        ...


def missing_cells(ablation: Ablation, ledger: Ledger) -> list[tuple[Cell, list[str]]]:
    """The cells that lack a metric, and which."""
    wanted = [(cell, ledger.missing(cell, ablation.metrics(cell))) for cell in ablation.cells()]
    return [(cell, metrics) for cell, metrics in wanted if metrics]


def fill(
    ablation: Ablation,
    ledger: Ledger,
    *,
    tick: Callable[[Cell, float], object] = lambda cell, share: None,
    done: Callable[[Cell, Measured], object] = lambda cell, measured: None,
) -> None:
    """Measure what is missing, and keep each cell as soon as it is complete.

    A cell that is broken off is done again from its beginning, trainings from their newest checkpoint. Nothing in it
    depends on what was measured before, so an ablation that was killed ends with the same table.

    Args:
        ablation: the table.
        ledger: what is there already, and where the rest goes.
        tick: called now and then with a cell and the share of it that is done; may raise to end the work.
        done: told about each cell.
    """
    for cell, metrics in missing_cells(ablation, ledger):
        measured = ablation.measure(cell, metrics, partial(tick, cell))
        ledger.add(cell, measured)
        done(cell, measured)
