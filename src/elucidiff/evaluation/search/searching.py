"""A search from one call: plan, trials and result. What ``elucidiff search`` does."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from elucidiff.denoisers.base import as_denoiser
from elucidiff.denoisers.opening import checksum, is_model
from elucidiff.devices import choose_device
from elucidiff.evaluation.model_and_data import data_name
from elucidiff.evaluation.quality.evaluation import evaluator_for
from elucidiff.evaluation.quality.evaluator import Evaluator
from elucidiff.evaluation.quality.metric_sets import is_metric, metric_names
from elucidiff.evaluation.quality.subject import OfModel, open_subject
from elucidiff.evaluation.search.objectives import Objective, OfSamples, TruncationError
from elucidiff.evaluation.search.options import Space, Values, parse_options
from elucidiff.evaluation.search.proposals import Method, rungs
from elucidiff.evaluation.search.report import ERROR, Plan, Result, SearchResult, told_choice
from elucidiff.evaluation.search.running import IMAGES, WHY, Search, Worked, begin, work
from elucidiff.evaluation.search.storage import dashboard_command, open_storage, storage_errors, without_password
from elucidiff.launch.interrupt import Bar, Watch
from elucidiff.launch.output_folder import held_if_free
from elucidiff.sampling.optimise import solve_exactly
from elucidiff.sampling.optimise.candidate import check_deterministic, exact_range
from elucidiff.sampling.optimise.steps import check_seeds
from elucidiff.sampling.sampler import Sampler, SamplerChoice
from elucidiff.sampling.saved_samplers import check_name, names_beside
from elucidiff.sampling.seeds import SeedRanges, seed_ranges
from elucidiff.suggest import suggestion

CHURN_SETTINGS = ("churn.amount", "churn.sigma_min", "churn.sigma_max", "churn.noise_scale")
"""The settings that are searched where nothing else is asked for."""

_FIRST, _FIRST_FRESH, _BLOCKS = 1_000_000, 2_000_000, 3
_IMAGES, _IMAGES_FOR_ERROR = 500, 32
_SHARE, _FEWEST = 3, 20  # of the images of a trial: the first look


def search_samplers(
    model: str | os.PathLike[str],
    over: Sequence[str] = CHURN_SETTINGS,
    *,
    sampler: SamplerChoice = None,
    metric: str = "fid",
    reference: str | None = None,
    extractor: str = "efficientnet-lite0",
    weights: Path | None = None,
    front: bool = False,
    method: Method = "tpe",
    trials: int = 40,
    first_images: int | None = None,
    seeds: str | Sequence[int] | None = None,
    fresh_seeds: str | Sequence[int] | None = None,
    choice_seed: int = 0,
    labels: str | None = None,
    any_class: bool = False,
    guide: Path | None = None,
    name: str = "searched",
    out: str | os.PathLike[str] | None = None,
    storage: str | None = None,
    batch_size: int = 16,
    device: str = "auto",
    overwrite: bool = False,
    command: str | None = None,
    watch: Watch | None = None,
) -> SearchResult:
    """Find the sampling options that make the best samples of a model, by trying them.

    Every trial draws the same seeds, with the same latents and noise. The best is measured on fresh seeds beside the
    sampler that the search began with, and kept as MODEL/samplers/NAME.json if it is better. What was stopped or
    killed goes on with the same call; several processes with one ``storage`` share the trials.

    Example::

        over = ["n=6:18", "solver=heun,dpmpp_2m"]
        found = ed.evaluation.search_samplers("runs/demo/model", over, extractor="pca-20", trials=20)
        found.samplers["searched"], found.before

    Args:
        model: a model folder.
        over: what to search; see :func:`.parse_options`.
        sampler: the search begins with it, see :data:`.SamplerChoice` (the model's usual).
        metric: what is made better: one of :func:`.evaluate`'s, or "error", the distance to the ODE's exact solution.
        reference: what samples are compared with; None for what the model was trained on.
        extractor: see :func:`.extractor_by_name`.
        weights: of it, where they are not to be fetched.
        front: look for few evaluations, too: all samplers that none beats in both are kept.
        method: "tpe", "random" or "grid".
        trials: in all.
        first_images: a trial is looked at after so many images.
        seeds: of each trial's images.
        fresh_seeds: others, in blocks of as many, on which the best is measured.
        choice_seed: of the choices.
        labels: of the samples; see :func:`.labels_or_uniform`.
        any_class: likewise.
        guide: folder of the worse model of autoguidance.
        name: of the sampler, and of the study.
        out: folder for the table of trials (searches/NAME).
        storage: of the study (OUT/study.db).
        batch_size: samples in one call of the network.
        device: where to compute.
        overwrite: replace a sampler of that name.
        command: what is noted of how the sampler came about; None for the call itself.
        watch: is told how it goes, and may end it.

    Raises:
        ValueError: an option, a name or a combination is impossible, or the data do not fit the model.
        OSError: the model, the data or a sampler cannot be read, or something not be written.
        StoppedError: ``watch`` ended it.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> network = ed.networks.UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    >>> few = {"metric": "error", "trials": 2, "seeds": "0-1", "fresh_seeds": "2-3", "first_images": 2}
    >>> with tempfile.TemporaryDirectory() as run:
    ...     ed.Denoiser(network, ed.preconditioning.EDM()).save(f"{run}/model")
    ...     found = ed.evaluation.search_samplers(f"{run}/model", ["n=3:5"], out=f"{run}/search", **few)
    ...
    >>> [sampler.steps.n in (3, 4, 5) for sampler, _ in found.samplers.values()]
    [True]
    """
    watch, folder = watch or Watch(), Path(model)
    _check_names(folder, name, front, overwrite, metric)
    trial_seeds, blocks = _seeds(seeds, fresh_seeds, metric)
    looks = _looks(first_images, len(trial_seeds), whole=front or method == "grid" or metric == ERROR)
    place = choose_device(device)
    subject = open_subject(
        folder, place, sampler=sampler, seeds=trial_seeds, labels=labels, any_class=any_class, guide=guide,
        batch_size=batch_size, watch=watch,
    )  # fmt: skip
    images = subject.ready(watch.stop_if_asked)
    assert isinstance(images, OfModel)
    space = _space(over, images.sampler, method, metric)
    facts: dict[str, Any] = {"model": checksum(folder), "metric": metric}
    if guide is not None:
        facts["guide"] = checksum(guide)
    if labels is not None:
        facts["labels"] = labels
    objective: Callable[[], Objective]
    if metric == ERROR:
        smaller, objective = True, _error_of(images, space, (trial_seeds, *blocks), watch)
    else:
        compared = reference or data_name(as_denoiser(images.denoiser))
        if compared is None:
            raise ValueError(f"{folder} does not tell what it was trained on: name data with --reference")
        # The fewest images that it will evaluate are those of the first look.
        evaluator = evaluator_for(
            subject, compared, [metric], looks[0], extractor, place,
            weights=weights, batch_size=batch_size, watch=watch,
        )  # fmt: skip
        facts |= {"extractor": evaluator.extractor.id, "reference": evaluator.reference.id}
        smaller, objective = evaluator.metrics[metric], _metric_of(images, evaluator, metric)
    search = Search(
        space, trial_seeds, looks, trials, method, choice_seed, "minimize" if smaller else "maximize", front, facts
    )
    table = Path("searches") / name if out is None else Path(out)
    plan = Plan(search, blocks, images, objective, name, storage or str(table / "study.db"), table)
    return _carry_out(plan, folder, command, watch)


def _carry_out(plan: Plan, model: Path, command: str | None, watch: Watch) -> SearchResult:
    """Do trials until there are no more, and write the result, if that falls to this process."""
    storage = open_storage(plan.where)
    with storage_errors(plan.where):
        worked, objective = _search(plan, storage, watch)
        if worked.in_other_hands:
            watch.result(
                f"all trials are taken; other workers are at {worked.in_other_hands} of them still. The last to "
                "finish writes the result; if it dies, the same command does"
            )
            return SearchResult(plan.out, None, {})
        said = command or f"search_samplers({str(model)!r}, {list(plan.search.space.options)!r}, name={plan.study!r})"
        with held_if_free(plan.out) as free:
            if free:
                told = said.replace(plan.where, without_password(plan.where))
                return Result(plan, worked, objective, told, watch).keep(model)
        # Two finished at the same moment.
        watch.result(f"all trials are done; another worker is writing the result to {plan.out}")
        return SearchResult(plan.out, None, {})


def _search(plan: Plan, storage: BaseStorage, watch: Watch) -> tuple[Worked, Objective]:
    """Do trials until there are no more."""
    begin(plan.search, storage, plan.study)  # another search is refused before any work
    watch.note(f"to watch: {dashboard_command(plan.where)}")
    objective = plan.objective()

    with watch.bar("searching", plan.search.trials, "trials") as bar:
        worked = work(
            plan.search,
            storage,
            plan.study,
            objective,
            stop=watch.asks_to_stop,
            tell=lambda trial, finished: _tell(bar, trial, finished),
        )
    return worked, objective


def _tell(bar: Bar, trial: FrozenTrial, finished: int) -> None:
    """Tell of a trial, the last of those that are finished."""
    if trial.state is TrialState.FAIL:
        result = f"failed, {trial.user_attrs[WHY]}"
    else:
        early = "" if trial.state is TrialState.COMPLETE else f", ended after {trial.user_attrs[IMAGES]} images"
        result = f"{trial.values[-1]:.4g}{early}"
    bar.say(f"trial {trial.number}: {result} ({told_choice(trial)})")
    bar.reach(finished)


def _check_names(model: Path, name: str, front: bool, overwrite: bool, metric: str) -> None:
    check_name(name)
    if not is_model(model):
        raise FileNotFoundError(f"there is no model folder or file {model}")
    ours = re.compile(re.escape(name) + (r"-\d+" if front else ""))
    for beside in names_beside(model):
        if ours.fullmatch(beside) and not overwrite:
            raise ValueError(f"{model} has a sampler {beside!r} already: take another --name, or add --overwrite")
    known = [*metric_names(), ERROR]
    if metric != ERROR and not is_metric(metric):
        raise ValueError(f"--metric {metric!r} is unknown; {suggestion(metric, known)}")


def _seeds(
    asked: str | Sequence[int] | None, asked_fresh: str | Sequence[int] | None, metric: str
) -> tuple[SeedRanges, tuple[SeedRanges, ...]]:
    """Those of the trials, and the fresh ones in blocks."""
    images = _IMAGES_FOR_ERROR if metric == ERROR else _IMAGES
    seeds = seed_ranges(asked or range(_FIRST, _FIRST + images))
    size = len(seeds)
    fresh = seed_ranges(asked_fresh or range(_FIRST_FRESH, _FIRST_FRESH + _BLOCKS * size))
    check_seeds(seeds, fresh)
    if len(fresh) % size:
        raise ValueError(
            f"--fresh-seeds are {len(fresh)}, but must be a multiple of --seeds, {size}: metrics of other numbers of "
            "images cannot be compared"
        )
    return seeds, tuple(fresh[start : start + size] for start in range(0, len(fresh), size))


def _looks(first: int | None, images: int, *, whole: bool) -> tuple[int, ...]:
    """The numbers of images after which trials are looked at.

    A grid is tried as a ``whole``, and the error of a few images says as much as that of many.
    """
    if first is not None:
        return rungs(images, first)
    return rungs(images, images if whole else min(images, max(_FEWEST, images // _SHARE)))


def _space(asked: Sequence[str], base: Sampler, method: str, metric: str) -> Space:
    """The samplers to choose from."""
    over = parse_options(asked, base, grid=method == "grid")
    if metric == ERROR:
        check_deterministic(base)
        for name in over:
            if name.startswith(("churn", "restart", "solver.tau", "solver.eta")):
                raise ValueError(f"{name} adds noise, so there is no exact solution: take another --metric")
            if name.startswith("guidance"):
                raise ValueError(f"{name} changes the exact solution, so errors are not alike: take another --metric")
    return Space(base, over)


def _metric_of(images: OfModel, evaluator: Evaluator, metric: str) -> Callable[[], OfSamples]:
    return lambda: OfSamples(images, evaluator.extractor, lambda features: evaluator.values(features)[metric])


def _error_of(
    images: OfModel, space: Space, seeds: tuple[SeedRanges, ...], watch: Watch
) -> Callable[[], TruncationError]:
    """The truncation error on all ``seeds``."""
    guided = space.base.guided(images.denoiser, images.guide)
    ranges = [exact_range(sampler, guided) for sampler in _ends(space)]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)

    def objective() -> TruncationError:
        every = [seed for part in seeds for seed in part]
        # Taken in turn from the beginning of each part, as they are when these are sampled.
        labels = images.labels
        if isinstance(labels, torch.Tensor):
            labels = torch.cat([labels[torch.arange(len(part)) % len(labels)] for part in seeds])
        watch.note(f"solving the ODE exactly for {len(every)} seeds")
        return TruncationError(
            solve_exactly(guided, every, low, high, labels=labels, any_class=True, batch_size=images.batch_size)
        )

    return objective


def _ends(space: Space) -> list[Sampler]:
    """The base, and with the lowest and the highest noise levels that are searched."""
    samplers = [space.base]
    for name in ("steps.sigma_min", "steps.sigma_max"):
        if option := space.options.get(name):
            ends = option.values if isinstance(option, Values) else (option.low, option.high)
            samplers += [space.sampler({name: end}) for end in ends]
    return samplers
