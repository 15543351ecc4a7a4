"""What is tried next is a function of the seed, the number of the trial, and the trials before."""

from __future__ import annotations

from typing import Any, cast

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from elucidiff.evaluation.search import rows, work
from elucidiff.evaluation.search.proposals import Method, Proposals, distributions_of
from elucidiff.sampling import Sampler
from elucidiff.sampling.churn import Churn
from tests.evaluation.search.studies import parabola, search


def table(trials: int = 20, **changes: Any) -> list[Any]:
    wanted = search(trials=trials, **changes)
    done = work(wanted, InMemoryStorage(), "s", parabola)
    return rows(done.study, wanted, done.trials)


@pytest.mark.parametrize("method", ["tpe", "random"])
def test_equal_seeds_propose_equal_trials(method: str) -> None:
    first, again, other = (table(method=method, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first[0] == other[0]  # the base
    assert all(mine["rho"] != theirs["rho"] for mine, theirs in zip(first[1:], other[1:], strict=True))


def test_the_base_comes_first() -> None:
    first = table(
        trials=1,
        base=Sampler(steps="karras:rho=8.5", churn=Churn(amount=1.5, noise_scale=1.003)),
    )[0]
    assert (first["rho"], first["S_churn"], first["S_noise"]) == (8.5, 1.5, 1.003)


def test_options_of_a_trial_differ_in_their_draws() -> None:
    # One generator begun anew for each of them would put all at the same place of their ranges.
    for row in table(trials=5, method="random")[1:]:
        assert abs((row["rho"] - 3) / 12 - row["S_churn"] / 7.4558) > 1e-3


def test_the_estimator_learns() -> None:
    wide = ("rho=1:40", "churn=0:7")
    found = (table(60, over=wide, rungs=(90,), method=method) for method in ("tpe", "random"))
    late_tpe, late_random = (sum(row["value"] for row in part[40:]) for part in found)
    assert late_tpe < 0.1 * late_random


def test_only_possible_samplers_are_proposed() -> None:
    found = table(40, over=("churn=0,2", "solver=heun,unipc", "rho"), rungs=(90,))
    assert {(row["S_churn"], row["solver"]) for row in found} == {(0, "heun"), (0, "unipc"), (2, "heun")}


@pytest.mark.parametrize("method", ["tpe", "random"])
@pytest.mark.parametrize("history", [0, 15])
def test_a_half_proposed_trial_is_completed_as_it_would_have_been(method: str, history: int) -> None:
    """A kill may come after some of a trial's options were stored."""
    wanted = search(trials=30, method=method)
    options = distributions_of(wanted.space)
    proposals = Proposals(wanted.space, cast("Method", method), 0, 30)

    def begun() -> optuna.Study:
        study = optuna.create_study(sampler=proposals)
        for _ in range(history + 1):  # not number 0, which is the base
            trial = study.ask(options)
            study.tell(trial, parabola(wanted.space.sampler(trial.params), range(9)).value)
        return study

    whole = begun().ask(options).params
    study = begun()
    names = list(options)
    half = study.ask({name: options[name] for name in names[:2]})
    storage = study._storage
    storage.set_trial_state_values(half._trial_id, state=TrialState.WAITING)
    again = study.ask(options)
    assert again.number == half.number
    assert again.params == whole


def test_a_grid_proposes_each_point_once() -> None:
    found = table(99, over=("rho=3:6:1", "churn=0,2"), method="grid", rungs=(90,))
    assert sorted((row["rho"], row["S_churn"]) for row in found) == [(r, c) for r in (3, 4, 5, 6) for c in (0, 2)]
    assert table(3, over=("rho=3:6:1", "churn=0,2"), method="grid", rungs=(90,)) == found[:3]
