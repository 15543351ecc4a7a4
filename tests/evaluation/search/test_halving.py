"""Trials that are ended early."""

from __future__ import annotations

from typing import Literal

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, create_trial

from elucidiff.evaluation.search import rows, work
from elucidiff.evaluation.search.proposals import Halving, rungs
from tests.evaluation.search.studies import parabola, search


def test_rungs_are_thirds() -> None:
    assert rungs(900, 100) == (100, 300, 900)
    assert rungs(500, 50) == (55, 166, 500)
    assert rungs(500, 500) == (500,)
    for images, first in ((500, 1), (500, 501)):
        with pytest.raises(ValueError, match=f"trials of 500 images cannot be looked at after {first}"):
            rungs(images, first)


Direction = Literal["minimize", "maximize"]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_best_third_goes_on(direction: Direction) -> None:
    sign = 1 if direction == "minimize" else -1
    study = optuna.create_study(direction=direction)
    for value in (1, 2, 3, 4, 5):
        study.add_trial(create_trial(value=sign * value, intermediate_values={10: sign * value}))

    def ended(value: float, step: int = 10) -> bool:
        trial: FrozenTrial = create_trial(value=0.0, intermediate_values={step: sign * value})
        trial.number = 5
        return Halving().prune(study, trial)

    # Of six, the two best: only 1 of those before may be better.
    assert [ended(value) for value in (0.5, 1.5, 2.5)] == [False, False, True]
    assert not ended(9, step=30)  # the first to come so far


def test_trials_of_higher_numbers_do_not_count() -> None:
    study = optuna.create_study()
    for value in (2.0, 1.0):
        study.add_trial(create_trial(value=value, intermediate_values={10: value}))
    first = study.get_trials()[0]
    assert not Halving().prune(study, first)


def test_halving_saves_most_images_and_keeps_the_best() -> None:
    wanted, full = (
        search(trials=40, over=("rho=1:40", "churn=0:7")),
        search(trials=40, over=("rho=1:40", "churn=0:7"), rungs=(90,)),
    )
    found, all_done = (rows(work(one, InMemoryStorage(), "s", parabola).study, one, 40) for one in (wanted, full))
    spent = sum(row["images"] for row in found)  # type: ignore[misc]
    assert spent < 0.6 * 40 * 90
    assert {row["images"] for row in found} == {10, 30, 90}
    assert all((row["state"] == "complete") == (row["images"] == 90) for row in found)
    best = [min(row["value"] for row in part if row["state"] == "complete") for part in (found, all_done)]  # type: ignore[type-var]
    assert best[0] < 1.0  # type: ignore[operator]  # of values up to 1200
