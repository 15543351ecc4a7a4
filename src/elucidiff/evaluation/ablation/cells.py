"""Cells of an ablation, a configuration with a budget and a seed each: their cost, and what is measured in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, as_denoiser, ask
from elucidiff.denoisers.conditions import Conditions
from elucidiff.devices import choose_device, wait_for
from elucidiff.evaluation.results import ResultsTable, Row
from elucidiff.networks.fields import FIELD, LABELS
from elucidiff.training.batches import TrainingData, draw
from elucidiff.training.config import TrainingConfig
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.state import TrainingState

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
    """The values of a cell.

    Attributes:
        values: by metric.
        nfe: network evaluations per sample, counted.
        seconds: spent on it.
    """

    values: Mapping[str, float]
    nfe: int
    seconds: float


class SampleEvaluator(Protocol):
    """Metrics of samples, against reference data."""

    @property
    def metrics(self) -> Mapping[str, bool]:
        """The metrics by name, and for each whether lower is better."""
        ...

    def features(self, x: Tensor) -> npt.ArrayLike:
        """Features (B, D) of samples (B, C, *spatial)."""
        ...

    def values(self, features: npt.NDArray[np.float64]) -> Mapping[str, float]:
        """The metrics of samples with these features (n, D)."""
        ...


class Ablation(Protocol):
    """A table to fill."""

    @property
    def unit(self) -> str:
        """The unit of work, in the plural."""
        ...

    def cells(self) -> Sequence[Cell]:
        """In the order in which they are best measured."""
        ...

    def metrics(self, cell: Cell) -> Sequence[str]:
        """The metrics of a cell; a truncation error is not defined in all of them."""
        ...

    def columns(self, cell: Cell, metric: str) -> Mapping[str, Any]:
        """Columns of a table of results beside a value: the sampler, images, whether lower is better."""
        ...

    def work(self, cell: Cell) -> float:
        """The amount of work in a cell."""
        ...

    def seconds(self, cell: Cell) -> float:
        """About how long that takes."""
        ...

    def measure(self, cell: Cell, metrics: Sequence[str], tick: Tick) -> Measured:
        """Measure some of a cell's metrics."""
        ...


class Ledger(Protocol):
    """The store of measurements."""

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


class ResultsLedger:
    """Values by cell and metric, as rows of one experiment; see :class:`.Ledger`.

    Args:
        table: the rows that are there already, and where others go.
        experiment: what they are measured for.
        ablation: tells what each value is of.
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
            for metric, value in measured.values.items()
        )

    def values(self, configuration: str, budget: int, metric: str) -> dict[int, float]:
        """The measured values, by seed."""
        rows = self._table.find(
            experiment=self._experiment, configuration=configuration, budget=budget, metric=metric
        )
        return {row.seed: row.value for row in rows if row.seed is not None}


# A batch that takes longer than this is not timed again for the sake of a better estimate.
_ENOUGH_S = 0.5
_BATCH = 64


@torch.no_grad()
def seconds_per_evaluation(denoiser: DenoiserLike, batch_size: int) -> float:
    """Time of one evaluation of the network for one sample, in batches of ``batch_size``."""
    described = as_denoiser(denoiser)
    known = described.known_labels
    device, width = described.device, known.dim
    x = torch.zeros(batch_size, *described.sample_shape, device=device)
    rows = torch.eye(width, device=device)[torch.arange(batch_size) % width] if width else None
    labels: Conditions | None = rows
    if known.kind == "conditions" and known.examples is not None:
        labels = known.examples[:1].to(device)
    if shape := known.field:
        field = torch.zeros(1, *shape, device=device)
        labels = {FIELD: field} if rows is None else {FIELD: field, LABELS: rows}

    def evaluate() -> None:
        ask(described, x, torch.ones(()), labels)

    return _seconds(evaluate, device) / batch_size


def seconds_per_training_image(config: TrainingConfig, data: TrainingData) -> float:
    """Time of one image of a training: augmentation, forward, backward, and its share of the optimiser's step."""
    device = choose_device(config.device)
    size = min(config.batch_size, _BATCH)
    small = replace(config, batch_size=size, device_batch_size=None)
    state = TrainingState(
        small, data.shape, data.label_dim, device, label_kind=data.label_kind, condition_shape=data.condition_shape
    )
    images, _, labels, _ = state.blank(size)

    def step() -> None:
        draws = draw(small.seed, state.step, images.shape, state.objective.noise, state.augment, device)
        update(state, noisy_batches(state, images, labels, draws))

    return _seconds(step, device) / size


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The time that ``work`` takes once it is warm, or the first time, if that is long."""
    took = 0.0
    for _ in range(3):
        begun = time.monotonic()
        work()
        wait_for(device)
        took = time.monotonic() - begun
        if took > _ENOUGH_S:
            break
    return took
