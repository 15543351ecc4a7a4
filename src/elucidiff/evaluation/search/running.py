"""The loop of one worker: take a trial, measure its sampler on ever more seeds, store what was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Study, Trial
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from elucidiff.evaluation.search.objectives import Objective
from elucidiff.evaluation.search.proposals import Halving, Method, Proposals, distributions_of
from elucidiff.evaluation.search.space import Space
from elucidiff.evaluation.search.storage import Direction, open_study
from elucidiff.evaluation.search.workers import Beating, Workers
from elucidiff.launch.interrupt import StoppedError

NFE, IMAGES, WHY = "nfe", "images", "why"
_FAILURES = 3


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        space: the samplers.
        seeds: of the samples on which every trial is measured.
        rungs: after how many of them a trial is looked at; the last is all of them.
        trials: how many there are to be.
        method: how they are chosen.
        seed: of the choice.
        direction: whether a small or a large figure is wanted.
        with_nfe: whether few evaluations are wanted too, so that the result is a front, not one sampler.
        facts: what else decides the figures, as JSON-able values: the model and the objective.

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
    """How a worker's part ended.

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
        objective: the figure.
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
    # ended, and now it would be judged there by the value of later.
    reported = study.get_trials(deepcopy=False)[trial.number].intermediate_values
    for images in search.rungs:
        if images < max(reported, default=0):
            continue
        if stop():
            raise StoppedError
        try:
            figure = objective(sampler, search.seeds[:images])
        except ValueError as error:
            return _fail(trial, workers, str(error))
        if not math.isfinite(figure.value):
            return _fail(trial, workers, "the samples are not finite")
        trial.set_user_attr(NFE, figure.nfe)
        trial.set_user_attr(IMAGES, images)
        if len(search.rungs) > 1:
            if images not in reported:
                trial.report(figure.value, images)
            if images < len(search.seeds) and trial.should_prune():
                return workers.finish(trial, TrialState.PRUNED)
    values = [figure.nfe, figure.value] if search.with_nfe else [figure.value]
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
