"""What a search found: its trials as a table, the best of them, and how good these are on seeds they never saw."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from elucidiff.evaluation.loss_per_sigma import standard_error
from elucidiff.evaluation.search.objectives import Objective
from elucidiff.evaluation.search.running import IMAGES, NFE, Search
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import SeedRanges

SYMBOLS = {
    "churn.amount": "S_churn",
    "churn.sigma_min": "S_tmin",
    "churn.sigma_max": "S_tmax",
    "churn.noise_scale": "S_noise",
}
"""The paper's names of columns."""

_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "ended early", TrialState.FAIL: "failed"}

Row = dict[str, str | int | float | None]


def rows(study: Study, search: Search, trials: int) -> list[Row]:
    """A row for each of the first ``trials`` trials that is finished, in order.

    The value of a trial that was ended early is that of the images it had; a failed one has none. Nothing in it
    depends on when and by whom a trial was done, so a search that was killed and went on ends with the same table.
    """
    return [_row(trial, search) for trial in study.get_trials(deepcopy=False)[:trials] if trial.state in _STATES]


def _row(trial: FrozenTrial, search: Search) -> Row:
    value = trial.values[-1] if trial.values else None
    return {
        "trial": trial.number,
        "state": _STATES[trial.state],
        **{column: trial.params[name] for name, column in _columns(search).items()},
        "images": trial.user_attrs.get(IMAGES),
        "nfe": trial.user_attrs.get(NFE),
        "value": value,
    }


def _columns(search: Search) -> dict[str, str]:
    """What the column of each option is called: settings of steps and solver by themselves, as people write them."""
    options = search.space.options
    columns = {name: SYMBOLS.get(name, re.sub(r"^(steps|solver)\.", "", name)) for name in options}
    called = list(columns.values())
    return {name: column if called.count(column) == 1 else name for name, column in columns.items()}


def best_samplers(study: Study, search: Search, trials: int) -> list[tuple[FrozenTrial, Sampler]]:
    """The best trial, or the front of those that none beats in both evaluations and figure, the cheapest first.

    Raises:
        ValueError: no trial was completed.
    """
    complete = [trial for trial in study.get_trials(deepcopy=False)[:trials] if trial.state is TrialState.COMPLETE]
    if not complete:
        raise ValueError(f"none of the {trials} trials was completed, so there is no best one")
    sign = 1 if search.direction == "minimize" else -1

    def cost(trial: FrozenTrial) -> float:
        return float(trial.user_attrs[NFE]) if search.with_nfe else 0.0

    front: list[FrozenTrial] = []
    for trial in sorted(complete, key=lambda trial: (cost(trial), sign * trial.values[-1], trial.number)):
        if not front or sign * trial.values[-1] < sign * front[-1].values[-1]:
            front.append(trial)
    return [(trial, search.space.sampler(trial.params)) for trial in front]


@dataclass(frozen=True)
class Measured:
    """A figure of a sampler on fresh seeds, in blocks of as many as a trial has.

    Attributes:
        values: one for each block.
        nfe: network evaluations per sample.
    """

    values: tuple[float, ...]
    nfe: float

    @property
    def mean(self) -> float:
        """Over the blocks."""
        return float(np.mean(self.values))

    @property
    def error(self) -> float:
        """Standard error of the mean; not a number for one block."""
        return standard_error(self.values)


def measure_afresh(
    objective: Objective, sampler: Sampler, blocks: Sequence[SeedRanges], between: Callable[[], object] = lambda: None
) -> Measured:
    """Measure a sampler on blocks of seeds.

    Args:
        objective: the figure.
        sampler: what to measure.
        blocks: seeds that it was not chosen by, of equal numbers, since many figures depend on that.
        between: called before each block; may raise to end the work.

    Raises:
        ValueError: there are no blocks, they differ in size, or the sampler cannot be measured.
    """
    if not blocks or any(len(one) != len(other) for one, other in pairwise(blocks)):
        raise ValueError("fresh seeds come in blocks of equal size, at least one")
    figures = []
    for block in blocks:
        between()
        figures.append(objective(sampler, block))
    return Measured(tuple(figure.value for figure in figures), float(np.mean([figure.nfe for figure in figures])))
