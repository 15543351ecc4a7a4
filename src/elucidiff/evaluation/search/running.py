"""The running of a search: trials are taken, measured and noted, beside other workers that may end at any moment.

A trial belongs to the process that began it, whose name it bears, and which shows from time to time that it is alive.
Where it is not, the trial is put back to be done again, with its number and its choice: so a kill leaves no gap.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from elucidiff.evaluation.search.objectives import Objective
from elucidiff.evaluation.search.options import Space
from elucidiff.evaluation.search.proposals import Halving, Method, Proposals, distributions_of
from elucidiff.evaluation.search.storage import Direction, open_study
from elucidiff.launch.interrupt import StoppedError

BEAT_S = 20.0
GRACE_S = 90.0
WORKER, BEAT = "worker", "beat"


class Workers:
    """One worker's view of a study.

    Args:
        study: what all of them work on.
        storage: where it is.
        total: the number of trials wanted.
        options: what a trial chooses.
        grace_s: so long another machine's worker may be silent.
    """

    def __init__(
        self,
        study: Study,
        storage: BaseStorage,
        total: int,
        options: dict[str, BaseDistribution],
        grace_s: float = GRACE_S,
    ) -> None:
        self._study, self._storage, self._total, self._options = study, storage, total, options
        self._grace = grace_s
        self._id = storage.get_study_id_from_name(study.study_name)
        self._heard: dict[int, tuple[Any, float, bool]] = {}  # number: last beat, when first heard, whether it moved

    def claim(self) -> Trial | None:
        """A trial to do now; None if all are done, or the rest is in the hands of others.

        It waits while it is not known whether another machine's worker is alive.
        """
        while True:
            for trial in self._trials():
                if trial.state is TrialState.RUNNING and self._is_dead(trial) and self._is_as_seen(trial):
                    self.put_back(trial.number)
            trials = self._trials()
            waiting = [trial.number for trial in trials if trial.state is TrialState.WAITING]
            # Who takes a trial writes its name first: however soon it is killed, others know whom to look for.
            if waiting:
                self._storage.set_trial_user_attr(self._trial_id(waiting[0]), WORKER, _name())
            elif len(trials) < self._total:
                self._study.enqueue_trial({}, user_attrs={WORKER: _name()})
            elif all(self._is_alive(trial) for trial in trials if trial.state is TrialState.RUNNING):
                return None
            else:
                time.sleep(1.0)
                continue
            taken = self._study.ask(fixed_distributions=self._options)
            if taken.number >= self._total:  # other workers took all that there were
                self.put_back(taken.number)
                continue
            if taken.user_attrs.get(WORKER) != _name():  # another worker wanted it too
                taken.set_user_attr(WORKER, _name())
            return taken

    def put_back(self, number: int) -> None:
        """Let a trial be done again by whoever asks next, unless it is finished."""
        with contextlib.suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(self._trial_id(number), WORKER, _name())
            self._storage.set_trial_state_values(self._trial_id(number), state=TrialState.WAITING)

    def finish(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        """Store what became of a trial.

        If another worker took this one for dead, for it was suspended, say, it finds the same; so it does not matter
        whose result is kept.
        """
        try:
            self._study.tell(trial.number, values, state=state, skip_if_finished=True)
        except ValueError:
            now = self._study.get_trials(deepcopy=False)[trial.number]
            # It waits, or, a moment later, somebody else is at it, whose name is on it, or has done it.
            if now.state is TrialState.RUNNING and now.user_attrs.get(WORKER) == _name():
                raise

    def in_other_hands(self) -> int:
        """Number of trials that other workers are at."""
        return sum(trial.state is TrialState.RUNNING for trial in self._trials())

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def _trials(self) -> list[FrozenTrial]:
        """Those that are wanted. One more, which two workers at once can begin, waits until more are."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.number < self._total]

    def _is_dead(self, trial: FrozenTrial) -> bool:
        if (here := _runs_here(trial)) is not None:
            return not here
        beat, now = (trial.user_attrs.get(WORKER), trial.user_attrs.get(BEAT)), time.monotonic()
        before, since, _ = self._heard.get(trial.number, (None, now, False))
        if beat != before:
            self._heard[trial.number] = (beat, now, before is not None)
            return False
        return now - since > self._grace

    def _is_as_seen(self, trial: FrozenTrial) -> bool:
        """True if no other worker has put it back, or taken it, since it was read."""
        now = self._storage.get_trial(self._trial_id(trial.number))
        return (now.state, now.user_attrs.get(WORKER)) == (trial.state, trial.user_attrs.get(WORKER))

    def _is_alive(self, trial: FrozenTrial) -> bool:
        return _runs_here(trial) or self._heard.get(trial.number, (None, 0.0, False))[2]


class Beating:
    """While active, a thread shows every few seconds that the worker of ``trial`` is alive."""

    def __init__(self, trial: Trial, every_s: float = BEAT_S) -> None:
        self._trial, self._every = trial, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        count = 0
        while not self._ended.wait(self._every):
            count += 1
            # A database that is away for a moment is for the worker itself to find out, when it has a result.
            with contextlib.suppress(Exception):
                self._trial.set_user_attr(BEAT, count)


def _name() -> str:
    return f"{socket.gethostname()} {os.getpid()} {_began(os.getpid())}"


def _runs_here(trial: FrozenTrial) -> bool | None:
    """True if the worker of ``trial`` runs on this machine, other than this one; None if it is another machine's."""
    host, *process = str(trial.user_attrs.get(WORKER, "")).split(" ")
    if host != socket.gethostname() or len(process) != 2:
        return None
    # Who asks is at no trial: one that bears its name was left by a process that had the same number.
    return int(process[0]) != os.getpid() and _began(int(process[0])) == process[1]


def _began(process: int) -> str:
    """The time at which a process of this machine began, in its own units, for its number may be another's later."""
    try:
        os.kill(process, 0)
        # The fields after the name, which is in brackets and may have spaces; see proc(5).
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except ProcessLookupError:
        return ""
    except OSError:  # another user's, or a system without /proc
        return "0"


NFE, IMAGES, WHY = "nfe", "images", "why"
_FAILURES = 3


@dataclass(frozen=True)
class Search:
    """A search: its space, trials and seeds.

    Attributes:
        space: the samplers.
        seeds: of the samples on which every trial is measured.
        rungs: after how many of them a trial is looked at; the last is all of them.
        trials: how many there are to be.
        method: how they are chosen.
        seed: of the choice.
        direction: whether a small or a large value is wanted.
        with_nfe: whether few evaluations are wanted too, so that the result is a front, not one sampler.
        facts: what else decides the values, as JSON-able values: the model and the objective.

    Raises:
        ValueError: the numbers do not fit, or trials are to be ended early in a search for a front.
    """

    space: Space
    seeds: Sequence[int]
    rungs: tuple[int, ...]
    trials: int
    method: Method = "tpe"
    seed: int = 0
    direction: Direction = "minimize"
    with_nfe: bool = False
    facts: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"{self.trials} trials are none: ask for at least 1")
        if not self.rungs or self.rungs[-1] != len(self.seeds) or sorted(set(self.rungs)) != list(self.rungs):
            raise ValueError(
                f"the numbers of images {self.rungs} must increase to the number of seeds, {len(self.seeds)}"
            )
        if self.with_nfe and len(self.rungs) > 1:
            raise ValueError("trials with several objectives cannot be ended early: measure all on all images")

    def to_dict(self) -> dict[str, Any]:
        """All that decides the trials, their number aside, as JSON-able values."""
        return {
            **(self.facts or {}),
            "space": self.space.to_dict(),
            "seeds": str(self.seeds),
            "rungs": list(self.rungs),
            "method": self.method,
            "seed": self.seed,
            "direction": self.direction,
            "with_nfe": self.with_nfe,
        }


@dataclass(frozen=True)
class Worked:
    """The end of a worker's part.

    Attributes:
        study: the study, with all that is known of it.
        trials: number of trials wanted; that of the points of a grid, if it has fewer.
        in_other_hands: how many trials other workers are at still.
    """

    study: Study
    trials: int
    in_other_hands: int


def begin(search: Search, storage: BaseStorage, name: str) -> tuple[Study, Proposals]:
    """The study of a name, begun if there is none, and what proposes its trials.

    Raises:
        ValueError: it was begun as another search.
    """
    proposals = Proposals(search.space, search.method, search.seed, search.trials)
    directions: list[Direction] = ["minimize", search.direction] if search.with_nfe else [search.direction]
    return open_study(storage, name, search.to_dict(), directions, proposals, Halving()), proposals


def work(
    search: Search,
    storage: BaseStorage,
    name: str,
    objective: Objective,
    *,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[FrozenTrial, int], object] = lambda trial, finished: None,
) -> Worked:
    """Do trials until all are done, or the rest is in the hands of other workers.

    Args:
        search: what is searched.
        storage: where the study is, or will be.
        name: of the study.
        objective: measures a sampler.
        stop: once it says so, the trial at hand is put back, and nothing more is begun. An objective may raise
            :class:`StoppedError` to end sooner.
        tell: called with each trial that this worker has finished, and how many are finished in all.

    Raises:
        ValueError: the study was begun as another search; or the first trials all fail, with what the last said.
        StoppedError: ``stop`` said so.
    """
    study, proposals = begin(search, storage, name)
    workers = Workers(study, storage, proposals.trials, distributions_of(search.space))
    while not stop():
        trial = workers.claim()
        if trial is None:
            return Worked(study, proposals.trials, workers.in_other_hands())
        try:
            with Beating(trial):
                _measure(search, study, trial, objective, workers, stop)
        except UpdateFinishedTrialError:
            # Two workers thought that the one before had died, and the other one was faster with the same result.
            pass
        except BaseException:
            workers.put_back(trial.number)
            raise
        trials = study.get_trials(deepcopy=False)
        finished = [each for each in trials if each.state.is_finished()]
        tell(trials[trial.number], len(finished))
        _check_failures(finished)
    raise StoppedError


def _measure(
    search: Search, study: Study, trial: Trial, objective: Objective, workers: Workers, stop: Callable[[], bool]
) -> None:
    """Measure a trial rung by rung, and store the result."""
    sampler = search.space.sampler(trial.params)
    # One whose worker was killed has reported values already. It goes on at the last of them: before that it was not
    # ended, and now it would be compared there with the value of later.
    reported = study.get_trials(deepcopy=False)[trial.number].intermediate_values
    for images in search.rungs:
        if images < max(reported, default=0):
            continue
        if stop():
            raise StoppedError
        try:
            outcome = objective(sampler, search.seeds[:images])
        except ValueError as error:
            return _fail(trial, workers, str(error))
        if not math.isfinite(outcome.value):
            return _fail(trial, workers, "the samples are not finite")
        trial.set_user_attr(NFE, outcome.nfe)
        trial.set_user_attr(IMAGES, images)
        if len(search.rungs) > 1:
            if images not in reported:
                trial.report(outcome.value, images)
            if images < len(search.seeds) and trial.should_prune():
                return workers.finish(trial, TrialState.PRUNED)
    values = [outcome.nfe, outcome.value] if search.with_nfe else [outcome.value]
    return workers.finish(trial, TrialState.COMPLETE, values)


def _fail(trial: Trial, workers: Workers, why: str) -> None:
    trial.set_user_attr(WHY, " ".join(why.split()))
    workers.finish(trial, TrialState.FAIL)


def _check_failures(finished: Sequence[FrozenTrial]) -> None:
    """Raise ValueError if there is nothing but failures."""
    if len(finished) >= _FAILURES and all(trial.state is TrialState.FAIL for trial in finished):
        raise ValueError(
            f"the first {len(finished)} trials all failed, the last since {finished[-1].user_attrs[WHY]}"
        )
