"""Which trial a worker takes next, beside other workers that may end at any moment.

A trial belongs to the process that began it, whose name it bears, and which shows from time to time that it is alive.
Where it is not, the trial is put back to be done again, with its number and its choice: so a kill leaves no gap.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

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
            if self._study.get_trials(deepcopy=False)[trial.number].state is not TrialState.WAITING:
                raise

    def in_other_hands(self) -> int:
        """How many trials other workers are at."""
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
        """Whether no other worker has put it back, or taken it, since it was read."""
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
    """Whether the worker of ``trial`` runs on this machine, other than this one; None if it is another machine's."""
    host, *process = str(trial.user_attrs.get(WORKER, "")).split(" ")
    if host != socket.gethostname() or len(process) != 2:
        return None
    # Who asks is at no trial: one that bears its name was left by a process that had the same number.
    return int(process[0]) != os.getpid() and _began(int(process[0])) == process[1]


def _began(process: int) -> str:
    """When a process of this machine began, in units of its own, for its number may be another's later."""
    try:
        os.kill(process, 0)
        # The fields after the name, which is in brackets and may have spaces; see proc(5).
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except ProcessLookupError:
        return ""
    except OSError:  # another user's, or a system without /proc
        return "0"
