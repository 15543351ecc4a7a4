"""A ledger in memory, and an evaluator of one line, for tests of what fills the one and asks the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from elucidiff.evaluation.ablation.cells import Cell, Measured


class MemoryLedger:
    """Keeps values in a dictionary."""

    def __init__(self) -> None:
        self.found: dict[tuple[Cell, str], float] = {}

    def missing(self, cell: Cell, metrics: Sequence[str]) -> list[str]:
        return [name for name in metrics if (cell, name) not in self.found]

    def add(self, cell: Cell, measured: Measured) -> None:
        self.found |= {(cell, name): value for name, value in measured.values.items()}


class MeanEvaluator:
    """The mean of all values, and their number."""

    metrics: Mapping[str, bool] = {"mean": True, "count": False}

    def features(self, x: Tensor) -> npt.ArrayLike:
        return x.flatten(1).numpy()

    def values(self, features: npt.NDArray[np.float64]) -> Mapping[str, float]:
        return {"mean": float(features.mean()), "count": float(len(features))}
