"""Which trials a worker takes over from others."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from elucidiff.evaluation.search import running as workers
from elucidiff.evaluation.search.proposals import Proposals, distributions_of
from elucidiff.evaluation.search.running import BEAT, WORKER, Beating, Workers
from tests.evaluation.search.studies import begin, end_of, search


def worker(total: int, grace_s: float = 90.0) -> tuple[Workers, optuna.Study]:
    """A worker of an empty study."""
    space, storage = search().space, InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="s", sampler=Proposals(space, "random", 0, total))
    return Workers(study, storage, total, distributions_of(space), grace_s), study


def a_dead_process() -> int:
    process = begin(lambda: None)
    end_of(process)
    return process


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of waiting takes none, and the clock goes on by it."""
    clock = [0.0]
    monkeypatch.setattr(workers.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    monkeypatch.setattr(workers.time, "monotonic", lambda: clock[0])


@pytest.mark.parametrize(
    "name",
    [
        f"{socket.gethostname()} {{dead}} 0",
        f"{socket.gethostname()} {os.getpid()} 0",  # the number is this process's now
        f"{socket.gethostname()} 1 another-beginning",  # or another's, which began at another time
    ],
    ids=["gone", "number taken by this one", "number taken by another"],
)
def test_what_a_dead_process_of_this_machine_had_is_done_again_at_once(name: str) -> None:
    ours, study = worker(2)
    lost = ours.claim()
    assert lost is not None
    lost.set_user_attr(WORKER, name.format(dead=a_dead_process()))
    again = ours.claim()
    assert again is not None
    assert (again.number, again.params) == (0, lost.params)
    assert study.trials[0].user_attrs[WORKER].startswith(f"{socket.gethostname()} {os.getpid()} ")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system has no /proc")
def test_what_a_living_process_has_is_left_to_it() -> None:
    ours, study = worker(1)
    taken = ours.claim()
    assert taken is not None
    taken.set_user_attr(WORKER, f"{socket.gethostname()} {os.getppid()} {workers._began(os.getppid())}")
    assert ours.claim() is None
    assert ours.in_other_hands() == 1
    assert study.trials[0].state is TrialState.RUNNING


@pytest.mark.usefixtures("no_waiting")
def test_another_machines_worker_is_dead_once_it_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = worker(1, grace_s=90.0)
    taken = ours.claim()
    assert taken is not None
    taken.set_user_attr(WORKER, "elsewhere 7 0")
    again = ours.claim()
    assert again is not None
    assert again.number == 0
    assert 90 < workers.time.monotonic() < 93


def test_another_machines_worker_is_alive_while_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = worker(1)
    taken = ours.claim()
    assert taken is not None
    taken.set_user_attr(WORKER, "elsewhere 7 0")
    beats = iter(range(5))
    monkeypatch.setattr(workers.time, "sleep", lambda seconds: taken.set_user_attr(BEAT, next(beats)))
    assert ours.claim() is None


def test_one_trial_too_many_waits_until_it_is_wanted() -> None:
    ours, study = worker(2)
    for _ in range(3):
        study.enqueue_trial({})  # two others wanted the last one
    numbers = []
    while (trial := ours.claim()) is not None:
        numbers.append(trial.number)
        ours.finish(trial, TrialState.COMPLETE, [0.0])
    assert numbers == [0, 1]
    assert study.trials[2].state is TrialState.WAITING


def test_a_worker_shows_that_it_is_alive() -> None:
    ours, study = worker(1)
    trial = ours.claim()
    assert trial is not None
    with Beating(trial, every_s=0.01):
        while study.trials[0].user_attrs.get(BEAT, 0) < 3:
            pass
