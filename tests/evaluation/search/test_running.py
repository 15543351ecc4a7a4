"""The loop of a worker: failures, ends, and what remains of a worker that was killed."""

from __future__ import annotations

import math
import os
import random
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna import Trial
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from elucidiff.evaluation.search import (
    Objective,
    Outcome,
    StoppedError,
    best_samplers,
    measure_afresh,
    open_storage,
    rows,
    work,
)
from elucidiff.evaluation.search.running import Workers
from elucidiff.sampling import Sampler
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.seeds import SeedRanges
from tests.evaluation.search.studies import SEEDS, begin, churn, close, end_of, journal, parabola, rho, search


class Deadly(JournalFileBackend):
    """A journal whose process is killed before or after it has written so many times."""

    def __init__(self, path: str, writes: int, after: bool) -> None:
        super().__init__(path)
        self._left, self._after = writes, after

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._left -= 1
        if self._left <= 0 and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        super().append_logs(logs)
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def test_the_table_is_that_of_the_trials() -> None:
    wanted = search(over=("rho", "churn"), trials=6)
    found = rows(work(wanted, InMemoryStorage(), "s", parabola).study, wanted, 6)
    assert [row["trial"] for row in found] == list(range(6))
    for row in found:
        assert list(row) == ["trial", "state", "rho", "S_churn", "images", "nfe", "value"]
        sampler = Sampler(
            steps=f"karras:rho={float(row['rho'] or 0)}", churn=Churn(amount=float(row["S_churn"] or 0))
        )
        assert close(float(row["value"] or 0), parabola(sampler, SEEDS[: int(row["images"] or 0)]).value)
        assert row["nfe"] == 35


def test_every_trial_is_measured_on_the_same_seeds() -> None:
    asked: list[tuple[int, ...]] = []

    def note(sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        asked.append(tuple(seeds))
        return parabola(sampler, seeds)

    work(search(trials=9), InMemoryStorage(), "s", note)
    assert set(asked) == {tuple(SEEDS[:images]) for images in (10, 30, 90)}


def test_a_trial_that_fails_is_left_out() -> None:
    def sometimes(sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        if churn(sampler) > 4:
            raise ValueError("too\nmuch")
        return Outcome(math.nan, 35) if rho(sampler) > 9 else parabola(sampler, seeds)

    wanted = search(trials=25)
    done = work(wanted, InMemoryStorage(), "s", sometimes)
    failed = {row["trial"]: row for row in rows(done.study, wanted, 25) if row["state"] == "failed"}
    assert len(failed) > 2
    assert all(row["value"] is None for row in failed.values())
    why = {trial.user_attrs.get("why") for trial in done.study.trials if trial.number in failed}
    assert why == {"too much", "the samples are not finite"}
    assert best_samplers(done.study, wanted, 25)[0][1].steps.rho < 9


def test_where_all_trials_fail_it_says_why() -> None:
    def never(sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        raise ValueError("the evaluator is away")

    with pytest.raises(ValueError, match="the first 3 trials all failed, the last since the evaluator is away"):
        work(search(trials=25), InMemoryStorage(), "s", never)


def test_more_trials_can_be_asked_for_later(tmp_path: Path) -> None:
    where = journal(tmp_path)
    few = search(trials=8)
    before = rows(work(few, open_storage(where), "s", parabola).study, few, 8)
    many = search(trials=14)
    after = rows(work(many, open_storage(where), "s", parabola).study, many, 14)
    assert after[:8] == before
    assert after == rows(work(many, InMemoryStorage(), "s", parabola).study, many, 14)


def test_an_end_that_is_wished_for_loses_the_trial_at_hand_alone(tmp_path: Path) -> None:
    wanted, where = search(trials=12), journal(tmp_path)
    calls = 0

    def interrupted(sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise StoppedError
        return parabola(sampler, seeds)

    with pytest.raises(StoppedError):
        work(wanted, open_storage(where), "s", interrupted)
    with pytest.raises(StoppedError):
        work(wanted, open_storage(where), "s", parabola, stop=lambda: True)
    done = work(wanted, open_storage(where), "s", parabola)
    assert all(trial.state is not TrialState.WAITING for trial in done.study.trials)
    assert rows(done.study, wanted, 12) == rows(work(wanted, InMemoryStorage(), "s", parabola).study, wanted, 12)


def test_killed_at_any_write_it_ends_with_the_same_table(tmp_path: Path) -> None:
    where, wanted = journal(tmp_path), search(trials=16)
    generator, exits = random.Random(0), []
    while 0 not in exits:
        deadly = Deadly(where, generator.randrange(1, 20), generator.random() < 0.5)
        exits.append(end_of(begin(lambda: work(wanted, JournalStorage(deadly), "s", parabola))))  # noqa: B023
    assert exits.count(-signal.SIGKILL) == len(exits) - 1 > 15
    done = work(wanted, open_storage(where), "s", parabola)
    assert rows(done.study, wanted, 16) == rows(work(wanted, InMemoryStorage(), "s", parabola).study, wanted, 16)


def test_a_trial_that_another_worker_has_finished_meanwhile_is_left_to_it() -> None:
    storage, wanted = InMemoryStorage(), search(trials=6)
    asked = 0

    def overtaken(sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        nonlocal asked
        asked += 1
        if asked == 1:
            storage.set_trial_state_values(0, TrialState.COMPLETE, [parabola(sampler, SEEDS).value])
        return parabola(sampler, seeds)

    done = work(wanted, storage, "s", overtaken)
    assert [trial.number for trial in done.study.trials] == list(range(6))
    assert all(trial.state.is_finished() for trial in done.study.trials)


def test_a_trial_that_was_put_back_meanwhile_is_done_again() -> None:
    storage, wanted = InMemoryStorage(), search(trials=3, rungs=(90,))
    asked: list[float] = []

    def taken_for_dead(sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        asked.append(rho(sampler))
        if len(asked) == 1:
            storage.set_trial_state_values(0, TrialState.WAITING)
        return parabola(sampler, seeds)

    done = work(wanted, storage, "s", taken_for_dead)
    assert asked[0] == asked[1]
    assert rows(done.study, wanted, 3) == rows(work(wanted, InMemoryStorage(), "s", parabola).study, wanted, 3)


def test_a_trial_whose_end_was_not_stored_ends_at_the_same_images_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first look again, it would be compared with the value of the second."""
    storage, wanted, finish = InMemoryStorage(), search(trials=12), Workers.finish

    def interrupted(workers: Workers, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        if state is TrialState.PRUNED and trial.user_attrs["images"] == 30:
            raise KeyboardInterrupt
        finish(workers, trial, state, values)

    with monkeypatch.context() as patch:
        patch.setattr(Workers, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            work(wanted, storage, "s", parabola)
    done = work(wanted, storage, "s", parabola)
    assert rows(done.study, wanted, 12) == rows(work(wanted, InMemoryStorage(), "s", parabola).study, wanted, 12)


def killed_after(calls: int, seconds: float) -> Objective:
    """An objective whose process is killed when it was asked so many times, or so many seconds later."""
    left = calls

    def mortal(sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        nonlocal left
        left -= 1
        if left == 0 and seconds > 0:
            threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
        elif left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return parabola(sampler, seeds)

    return mortal


@pytest.mark.slow
def test_killed_at_random_times_a_sqlite_study_ends_with_the_same_table(tmp_path: Path) -> None:
    where, wanted = str(tmp_path / "study.db"), search(trials=12)
    generator, kills = random.Random(0), 0
    while True:
        # The first three do not come far enough to end; those after them are killed wherever they are.
        seconds = 0.0 if kills < 3 else generator.uniform(0.01, 0.3)
        mortal = killed_after(generator.randrange(2, 5), seconds)
        process = begin(lambda: work(wanted, open_storage(where), "s", mortal))  # noqa: B023
        if (code := end_of(process)) == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    assert kills >= 3
    done = work(wanted, open_storage(where), "s", parabola)
    assert rows(done.study, wanted, 12) == rows(work(wanted, InMemoryStorage(), "s", parabola).study, wanted, 12)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"over": ("rho", "churn=0:5")},
            "space options churn amount high = 7.455844122715712, not space options churn amount high = 5.0",
        ),
        (
            {"over": ("rho=3:9", "churn", "churn.sigma_min", "churn.sigma_max", "churn.noise_scale")},
            "space options steps rho high = 15.0, not ",
        ),
        ({"base": Sampler(solver="euler")}, "space base solver type = heun, not space base solver type = euler"),
        ({"rungs": (90,)}, "rungs = [10, 30, 90], not rungs = [90]"),
        ({"method": "random"}, "method = tpe, not method = random"),
        ({"seed": 1}, "seed = 0, not seed = 1"),
        ({"facts": {"model": "b"}}, "model = a, not model = b"),
    ],
)
def test_a_study_goes_on_as_it_was_begun(changes: dict[str, Any], said: str) -> None:
    storage = InMemoryStorage()
    work(search(trials=1, facts={"model": "a"}), storage, "s", parabola)
    with pytest.raises(ValueError, match="the study 's' was begun with ") as caught:
        work(search(**{"trials": 2, "facts": {"model": "a"}, **changes}), storage, "s", parabola)
    assert said in str(caught.value)
    assert str(caught.value).endswith("choose another --study, or the same settings")


def test_fresh_seeds_come_in_equal_blocks() -> None:
    blocks = [SeedRanges([range(start, start + 10)]) for start in (0, 50, 90)]

    def first_seed(sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        return Outcome(float(seeds[0]), 35)

    measured = measure_afresh(first_seed, Sampler(), blocks)
    assert measured.values == (0, 50, 90)
    assert close(measured.mean, 140 / 3)
    assert close(measured.error, math.sqrt(((140 / 3) ** 2 + (50 - 140 / 3) ** 2 + (90 - 140 / 3) ** 2) / 2 / 3))
    with pytest.raises(ValueError, match="blocks of equal size"):
        measure_afresh(first_seed, Sampler(), [*blocks, SeedRanges([range(3)])])
