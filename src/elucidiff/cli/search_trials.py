"""Carrying out ``elucidiff search``: doing trials and telling of them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from elucidiff.cli.common.progress import Progress
from elucidiff.cli.search import Options
from elucidiff.cli.search_plan import Plan, plan_of
from elucidiff.cli.search_result import Result, told_choice
from elucidiff.evaluation.search import Objective, open_storage, work
from elucidiff.evaluation.search.running import IMAGES, WHY, Worked, begin
from elucidiff.evaluation.search.storage import dashboard_command, storage_errors, without_password
from elucidiff.launch.interrupt import Interrupt, StoppedError
from elucidiff.launch.lock import held_if_free


def carry_out(options: Options, arguments: Sequence[str]) -> int:
    """Search, and return the exit code."""
    with Interrupt() as interrupt:
        try:
            plan = plan_of(options, interrupt.stop_if_asked)
            storage = open_storage(plan.where)
            with storage_errors(plan.where):
                worked, objective = _search(plan, storage, interrupt)
                if worked.in_other_hands:
                    print(
                        f"all trials are taken; other workers are at {worked.in_other_hands} of them still. The last "
                        "to finish writes the result; if it dies, the same command does"
                    )
                else:
                    command = shlex.join(arguments).replace(plan.where, without_password(plan.where))
                    with held_if_free(plan.out) as free:
                        if free:
                            Result(plan, worked, objective, f"elucidiff search {command}").keep(options.model)
                        else:  # two that finished at the same moment
                            print(f"all trials are done; another worker is writing the result to {plan.out}")
        except StoppedError:
            print("what was found so far is kept; the same command goes on", file=sys.stderr)
    return 130 if interrupt.received == "SIGINT" else 0


def _search(plan: Plan, storage: BaseStorage, interrupt: Interrupt) -> tuple[Worked, Objective]:
    """Do trials until there are no more."""
    begin(plan.search, storage, plan.study)  # another search is refused before any work
    print(f"to watch: {dashboard_command(plan.where)}", file=sys.stderr)
    objective = plan.objective()
    with Progress("searching", plan.search.trials, "trials") as progress:
        worked = work(
            plan.search,
            storage,
            plan.study,
            objective,
            stop=lambda: interrupt.received is not None,
            tell=lambda trial, finished: _tell(progress, trial, finished),
        )
    return worked, objective


def _tell(progress: Progress, trial: FrozenTrial, finished: int) -> None:
    """Tell of a trial, the last of those that are finished."""
    if trial.state is TrialState.FAIL:
        result = f"failed, {trial.user_attrs[WHY]}"
    else:
        early = "" if trial.state is TrialState.COMPLETE else f", ended after {trial.user_attrs[IMAGES]} images"
        result = f"{trial.values[-1]:.4g}{early}"
    progress.say(f"trial {trial.number}: {result} ({told_choice(trial)})")
    progress.reach(finished)
