"""Results of a search: its trials as a table, the best of them on fresh seeds, and the files that say so."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from elucidiff.denoisers.guided import Guidance
from elucidiff.denoisers.opening import name_of
from elucidiff.evaluation.ablation.cells import TRUNCATION
from elucidiff.evaluation.ablation.measure import model_id
from elucidiff.evaluation.quality.metrics import standard_error
from elucidiff.evaluation.quality.subject import OfModel
from elucidiff.evaluation.results import Row, sampler_columns, write_results
from elucidiff.evaluation.search.objectives import Objective
from elucidiff.evaluation.search.running import IMAGES, NFE, Search, Worked
from elucidiff.files import write_whole
from elucidiff.launch.interrupt import Watch
from elucidiff.notebooks import table_html
from elucidiff.sampling.optimise import ExactSolutions, measure, solve_exactly
from elucidiff.sampling.optimise.candidate import check_deterministic, exact_range
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.saved_samplers import NamedSampler, Quality, describe, save_named
from elucidiff.sampling.seeds import SeedRanges

SYMBOLS = {
    "churn.amount": "S_churn",
    "churn.sigma_min": "S_tmin",
    "churn.sigma_max": "S_tmax",
    "churn.noise_scale": "S_noise",
}
"""The paper's names of columns."""

_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "ended early", TrialState.FAIL: "failed"}

TrialRow = dict[str, str | int | float | None]


def rows(study: Study, search: Search, trials: int) -> list[TrialRow]:
    """A row for each of the first ``trials`` trials that is finished, in order.

    The value of a trial that was ended early is that of the images it had; a failed one has none. Nothing in it
    depends on when and by whom a trial was done, so a search that was killed and went on ends with the same table.
    """
    return [_row(trial, search) for trial in study.get_trials(deepcopy=False)[:trials] if trial.state in _STATES]


def _row(trial: FrozenTrial, search: Search) -> TrialRow:
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
    """The column of each option: settings of steps and solver by themselves, as people write them."""
    options = search.space.options
    columns = {name: SYMBOLS.get(name, re.sub(r"^(steps|solver)\.", "", name)) for name in options}
    called = list(columns.values())
    return {name: column if called.count(column) == 1 else name for name, column in columns.items()}


def best_samplers(study: Study, search: Search, trials: int) -> list[tuple[FrozenTrial, Sampler]]:
    """The best trial, or the front of those that none beats in both evaluations and value, the cheapest first.

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
    """Values for a sampler on fresh seeds, in blocks of as many as a trial has.

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
        objective: measures them.
        sampler: what to measure.
        blocks: seeds that it was not chosen by, of equal numbers, since many metrics depend on that.
        between: called before each block; may raise to end the work.

    Raises:
        ValueError: there are no blocks, they differ in size, or the sampler cannot be measured.
    """
    if not blocks or any(len(one) != len(other) for one, other in pairwise(blocks)):
        raise ValueError("fresh seeds come in blocks of equal size, at least one")
    outcomes = []
    for block in blocks:
        between()
        outcomes.append(objective(sampler, block))
    return Measured(
        tuple(outcome.value for outcome in outcomes), float(np.mean([outcome.nfe for outcome in outcomes]))
    )


# A view of the study: unlike the table of results it has every option that was searched, and how each trial ended.
TABLE = "trials.csv"
SEARCH = "search"
ERROR = "error"
_SEEDS_FOR_ERROR = 64


@dataclass(frozen=True)
class Plan:
    """A search, its parts opened.

    Attributes:
        search: what is searched.
        blocks: fresh seeds, in blocks of as many as a trial has.
        images: the model, on its device, and how it is sampled from.
        objective: measures; the work that this takes is done when it is called.
        study: name of the study.
        where: its storage.
        out: folder of the table.
    """

    search: Search
    blocks: tuple[SeedRanges, ...]
    images: OfModel
    objective: Callable[[], Objective]
    study: str
    where: str
    out: Path


@dataclass(frozen=True)
class SearchResult:
    """A finished search.

    Attributes:
        folder: of the tables.
        before: the sampler that the search began with, on fresh seeds; None if another worker writes the result.
        samplers: the best, by name, each with what was measured of it on fresh seeds.
    """

    folder: Path
    before: Measured | None
    samplers: Mapping[str, tuple[Sampler, Measured]]

    def _repr_html_(self) -> str:
        """The best samplers beside that of before, for notebooks."""
        found = {name: (sampler.to_text(), measured) for name, (sampler, measured) in self.samplers.items()}
        if self.before is not None:
            found = {"before": ("", self.before), **found}
        rows = [
            (name, text, f"{measured.nfe:g}", f"{measured.mean:.4g} ± {measured.error:.2g}")
            for name, (text, measured) in found.items()
        ]
        return table_html("Search, on fresh seeds", rows, ("sampler", "choices", "evaluations", "value"))


@dataclass(frozen=True)
class Result:
    """A search whose trials are done."""

    plan: Plan
    worked: Worked
    objective: Objective
    command: str
    watch: Watch
    _exact: dict[tuple[Guidance | None, float, float], ExactSolutions] = field(default_factory=dict)

    def keep(self, model: Path) -> SearchResult:
        """Write the table, measure the best on fresh seeds beside the base, tell, and keep what is better.

        Raises:
            ValueError: no trial was completed.
            OSError: a file cannot be written.
        """
        plan, search, study = self.plan, self.plan.search, self.worked.study
        table = rows(study, search, self.worked.trials)
        measured = self._trials(model)
        write_results(plan.out, measured)
        sheet = io.StringIO()
        writer = csv.DictWriter(sheet, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
        self.watch.result(f"{len(table)} trials: {write_whole(plan.out / TABLE, sheet.getvalue())}")
        base = measure_afresh(self.objective, search.space.base, plan.blocks)
        measured += self._afresh(model, "before", search.space.base, base)
        self.watch.result(f"before: {self._told(base)}")
        best: dict[str, tuple[Sampler, Measured]] = {}
        for trial, sampler in best_samplers(study, search, self.worked.trials):
            found = measure_afresh(self.objective, sampler, plan.blocks)
            name = f"{plan.study}-{round(found.nfe)}" if search.with_nfe else plan.study
            measured += self._afresh(model, name, sampler, found)
            best[name] = (sampler, found)
            self.watch.result(f"{name}: {self._told(found)}, trial {trial.number} ({told_choice(trial)})")
            if search.with_nfe or (
                found.mean < base.mean if search.direction == "minimize" else found.mean > base.mean
            ):
                self.watch.result(f"{name}: kept as {save_named(model, self._named(name, sampler, found, base))}")
            else:
                self.watch.result(f"{name}: not kept, since the sampler before is as good")
        write_results(plan.out, measured)
        return SearchResult(plan.out, base, best)

    def _trials(self, model: Path) -> list[Row]:
        """A row for each trial that has a value; one that was ended early, of the images it had."""
        search = self.plan.search
        found = self.worked.study.get_trials(deepcopy=False)[: self.worked.trials]
        return [
            self._row(
                model,
                f"trial {trial.number}",
                search.space.sampler(trial.params),
                search.seeds[: trial.user_attrs[IMAGES]],
                0,
                trial.values[-1],
                trial.user_attrs[NFE],
            )
            for trial in found
            if trial.values and IMAGES in trial.user_attrs and NFE in trial.user_attrs
        ]

    def _afresh(self, model: Path, name: str, sampler: Sampler, measured: Measured) -> list[Row]:
        """A row for each block of fresh seeds."""
        return [
            self._row(model, name, sampler, block, number, value, measured.nfe)
            for number, (block, value) in enumerate(zip(self.plan.blocks, measured.values, strict=True))
        ]

    def _row(
        self, model: Path, name: str, sampler: Sampler, seeds: Sequence[int], seed: int, value: float, nfe: float
    ) -> Row:
        facts, images = self.plan.search.facts or {}, self.plan.images
        return Row(
            SEARCH,
            name,
            **sampler_columns(sampler, sampler.guided(images.denoiser, images.guide)),
            nfe=float(nfe),
            seeds=str(seeds),
            seed=seed,
            images=len(seeds),
            metric=TRUNCATION if facts["metric"] == ERROR else str(facts["metric"]),
            value=value,
            lower_is_better=self.plan.search.direction == "minimize",
            model=model_id(name_of(model), str(facts["model"])),
            reference=str(facts.get("reference", "")),
            extractor=str(facts.get("extractor", "")),
        )

    def _named(self, name: str, sampler: Sampler, found: Measured, base: Measured) -> NamedSampler:
        """The sampler with what was measured of it; with its distance to the exact solution, where there is one."""
        search, blocks = self.plan.search, self.plan.blocks
        facts = search.facts or {}
        quality = Quality(
            ", ".join(str(facts[key]) for key in ("metric", "extractor", "reference") if key in facts),
            found.mean,
            found.error if len(blocks) > 1 else None,
            base.mean,
            base.error if len(blocks) > 1 else None,
            str(SeedRanges.of(seed for block in blocks for seed in block)),
            len(blocks),
        )
        seeds, model = str(search.seeds), str(facts["model"])
        try:
            check_deterministic(sampler)
        except ValueError:
            unknown = (None, None, None, None, None)
            return NamedSampler(name, sampler, model, round(found.nfe), *unknown, seeds, self.command, quality)
        exact = self._solved(sampler)
        named = describe(name, sampler, model, measure(exact, sampler), exact, self.command, seeds)
        return replace(named, quality=quality)

    def _solved(self, sampler: Sampler) -> ExactSolutions:
        """Exact solutions for some fresh seeds, solved once for all samplers that have them in common."""
        images = self.plan.images
        guided = sampler.guided(images.denoiser, images.guide)
        low, high = exact_range(sampler, guided)
        key = (sampler.guidance, low, high)
        if key not in self._exact:
            some = list(islice((seed for block in self.plan.blocks for seed in block), _SEEDS_FOR_ERROR))
            labels = images.labels_of(range(len(some)))
            self._exact[key] = solve_exactly(
                guided, some, low, high, labels=labels, any_class=True, batch_size=images.batch_size
            )
        return self._exact[key]

    def _told(self, measured: Measured) -> str:
        metric = (self.plan.search.facts or {})["metric"]
        error = f" ± {measured.error:.2g}" if len(measured.values) > 1 else ""
        return f"{metric} {measured.mean:.4g}{error} on fresh seeds, {measured.nfe:g} evaluations"


def told_choice(trial: FrozenTrial) -> str:
    """The options of a trial in a line."""
    values = trial.params.items()
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values
    )
