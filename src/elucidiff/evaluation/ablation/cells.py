"""What an ablation is made of: cells, each a configuration with a budget and a seed, and what is measured in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

TRUNCATION, LOSS = "truncation_error", "held_out_loss"


Tick = Callable[[float], object]
"""Called now and then with the share of a cell that is done; may raise to end the work."""


@dataclass(frozen=True)
class Cell:
    """The smallest part of an ablation that is measured, and done again if the program is killed.

    Attributes:
        configuration: by its name.
        nfe: network evaluations per sample, at most.
        seed: which block of image seeds, or which training.
    """

    configuration: str
    nfe: int
    seed: int


@dataclass(frozen=True)
class Measured:
    """What was found in a cell.

    Attributes:
        figures: by metric.
        nfe: network evaluations per sample, counted.
        seconds: spent on it.
    """

    figures: Mapping[str, float]
    nfe: int
    seconds: float


class Judge(Protocol):
    """Figures of quality, against reference data."""

    @property
    def metrics(self) -> Mapping[str, bool]:
        """The figures by name, and for each whether lower is better."""
        ...

    def describe(self, x: Tensor) -> npt.ArrayLike:
        """Features (B, D) of samples (B, C, *spatial)."""
        ...

    def figures(self, features: npt.NDArray[np.float64]) -> Mapping[str, float]:
        """The figures of samples with these features (n, D)."""
        ...


class Ablation(Protocol):
    """A table to fill."""

    @property
    def unit(self) -> str:
        """What work is counted in, in the plural."""
        ...

    def cells(self) -> Sequence[Cell]:
        """In the order in which they are best measured."""
        ...

    def metrics(self, cell: Cell) -> Sequence[str]:
        """What is measured in a cell; a truncation error is not defined in all of them."""
        ...

    def columns(self, cell: Cell, metric: str) -> Mapping[str, Any]:
        """What a table of results says of a figure beside its value: the sampler, images, whether lower is better."""
        ...

    def work(self, cell: Cell) -> float:
        """How much there is to do for a cell."""
        ...

    def seconds(self, cell: Cell) -> float:
        """About how long that takes."""
        ...

    def measure(self, cell: Cell, metrics: Sequence[str], tick: Tick) -> Measured:
        """Measure some of a cell's metrics."""
        ...
