"""Carrying out ``elucidiff search``: do trials, tell of them, and keep what is better than before."""

from __future__ import annotations

import csv
import io
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from elucidiff.cli.progress import Progress
from elucidiff.cli.search import Options
from elucidiff.cli.search_plan import Plan, plan_of
from elucidiff.evaluation.search import (
    Objective,
    StoppedError,
    best_samplers,
    measure_afresh,
    open_storage,
    rows,
    work,
)
from elucidiff.evaluation.search.results import Measured
from elucidiff.evaluation.search.running import IMAGES, WHY, Worked, begin
from elucidiff.evaluation.search.storage import dashboard_command, storage_errors, without_password
from elucidiff.files import write_whole
from elucidiff.launch.interrupt import Interrupt
from elucidiff.sampling.named import NamedSampler, Quality, describe, save_named
from elucidiff.sampling.optimise import measure, solve_exactly
from elucidiff.sampling.optimise.choices import check_deterministic, exact_range
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seed_ranges import SeedRanges

TABLE = "trials.csv"
_SEEDS_FOR_ERROR = 64


def carry_out(options: Options, arguments: Sequence[str]) -> int:
    """Search, and return the exit code."""
    with Interrupt() as interrupt:

        def stop_if_asked(_: object = None) -> None:
            if interrupt.received:
                raise StoppedError

        try:
            plan = plan_of(options, stop_if_asked)
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
                    _finish(Result(plan, worked, objective, options, f"elucidiff search {command}"))
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
    progress.say(f"trial {trial.number}: {result} ({_choice(trial)})")
    progress.reach(finished)


@dataclass(frozen=True)
class Result:
    """A search whose trials are done."""

    plan: Plan
    worked: Worked
    objective: Objective
    options: Options
    command: str


def _finish(result: Result) -> None:
    """Write the table, measure the best on fresh seeds beside the base, and keep what is better."""
    plan, search, worked = result.plan, result.plan.search, result.worked
    table = rows(worked.study, search, worked.trials)
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    print(f"{len(table)} trials: {write_whole(plan.out / TABLE, sheet.getvalue())}")
    metric = result.options.metric
    base = measure_afresh(result.objective, search.space.base, plan.blocks)
    print(f"before: {metric} {_with_error(base)} on fresh seeds, {base.nfe:g} evaluations")
    for trial, sampler in best_samplers(worked.study, search, worked.trials):
        measured = measure_afresh(result.objective, sampler, plan.blocks)
        name = f"{plan.study}-{round(measured.nfe)}" if search.with_nfe else plan.study
        print(f"{name}: {metric} {_with_error(measured)} on fresh seeds, {measured.nfe:g} evaluations")
        print(f"{name}: trial {trial.number}, {_choice(trial)}")
        better = measured.mean < base.mean if search.direction == "minimize" else measured.mean > base.mean
        if better or search.with_nfe:
            print(
                f"{name}: kept as {save_named(result.options.model, _named(name, sampler, measured, base, result))}"
            )
        else:
            print(f"{name}: not kept, since the sampler before is as good")


def _named(name: str, sampler: Sampler, measured: Measured, base: Measured, result: Result) -> NamedSampler:
    """The sampler with what was measured of it; with its distance to the exact solution, where there is one."""
    plan, facts = result.plan, result.plan.search.facts or {}
    several = len(plan.blocks) > 1
    quality = Quality(
        ", ".join(str(facts[key]) for key in ("metric", "extractor", "reference") if key in facts),
        measured.mean,
        measured.error if several else None,
        base.mean,
        base.error if several else None,
        str(SeedRanges(chain.from_iterable(_ranges(block) for block in plan.blocks))),
        len(plan.blocks),
    )
    seeds, model, command = str(plan.search.seeds), str(facts["model"]), result.command
    try:
        check_deterministic(sampler)
    except ValueError:
        nothing = dict.fromkeys(("error", "exact_error", "seeds", "baseline_error", "baseline_rho"))
        return NamedSampler(
            name,
            sampler,
            model,
            round(measured.nfe),
            **nothing,
            warm_up_seeds=seeds,
            command=command,
            quality=quality,
        )
    images = plan.images
    guided = sampler.guided(images.denoiser, images.guide)
    some = list(islice(chain.from_iterable(plan.blocks), _SEEDS_FOR_ERROR))
    low, high = exact_range(sampler, guided)
    exact = solve_exactly(guided, some, low, high, labels=images.labels, batch_size=images.batch_size)
    return replace(describe(name, sampler, model, measure(exact, sampler), exact, command, seeds), quality=quality)


def _ranges(seeds: SeedRanges) -> list[range]:
    return [range(seed, seed + 1) for seed in seeds]


def _choice(trial: FrozenTrial) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())


def _with_error(measured: Measured) -> str:
    error = f" +- {measured.error:.2g}" if len(measured.values) > 1 else ""
    return f"{measured.mean:.4g}{error}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
