"""What the options of ``elucidiff search`` mean, checked before any work."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from elucidiff.cli import evaluate
from elucidiff.cli.evaluate_reference import evaluator_for
from elucidiff.cli.evaluate_subject import Subject, subject_of
from elucidiff.cli.search import Options
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.devices import choose_device
from elucidiff.evaluation.model_and_data import data_name
from elucidiff.evaluation.quality import Evaluator, OfModel
from elucidiff.evaluation.quality.metrics import is_metric, metric_names
from elucidiff.evaluation.search import (
    Objective,
    OfSamples,
    Search,
    Space,
    TruncationError,
    Values,
    parse_options,
    rungs,
)
from elucidiff.interop.opening import checksum
from elucidiff.sampling.optimise import solve_exactly
from elucidiff.sampling.optimise.choices import check_deterministic, exact_range
from elucidiff.sampling.optimise.steps import check_seeds
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.saved_samplers import check_name, names_beside
from elucidiff.sampling.seeds import SeedRanges, parse_seeds
from elucidiff.suggest import suggestion

ERROR = "error"
_FIRST, _FIRST_FRESH, _BLOCKS = 1_000_000, 2_000_000, 3
_IMAGES, _IMAGES_FOR_ERROR = 500, 32
_SHARE, _FEWEST = 3, 20  # of the images of a trial: the first look


@dataclass(frozen=True)
class Plan:
    """A search, its parts opened.

    Attributes:
        search: what is searched.
        blocks: fresh seeds, in blocks of as many as a trial has.
        images: the model, on its device, and how it is sampled from.
        objective: makes the figure; the work that this takes is done when it is called.
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


def plan_of(options: Options, stop_if_asked: Callable[[], object]) -> Plan:
    """Everything that can be wrong is found here.

    Args:
        options: of the command line.
        stop_if_asked: called between batches of samples; may raise to end the work.

    Raises:
        ValueError: an option, a name or a combination is impossible, or the data do not fit the model.
        OSError: the model, the data or a sampler cannot be read.
    """
    _check_names(options)
    seeds, blocks = _seeds(options)
    looks = _looks(options, len(seeds))
    place = choose_device(options.device)
    judging = _as_evaluation(options, seeds)
    subject = subject_of(judging, place)
    images = subject.ready(stop_if_asked)
    assert isinstance(images, OfModel)
    space = _space(options, images.sampler)
    facts: dict[str, Any] = {"model": checksum(options.model), "metric": options.metric}
    objective: Callable[[], Objective]
    if options.sampling.guide is not None:
        facts["guide"] = checksum(options.sampling.guide)
    if options.labels is not None:
        facts["labels"] = options.labels
    if options.metric == ERROR:
        smaller, objective = True, _error_of(images, space, (seeds, *blocks))
    else:
        evaluator = _judge(judging, subject, options.metric, looks[0], stop_if_asked)
        facts |= {"extractor": evaluator.extractor.id, "reference": evaluator.reference.id}
        smaller, objective = evaluator.metrics[options.metric], _figure_of(images, evaluator, options.metric)
    search = Search(
        space,
        seeds,
        looks,
        options.trials,
        options.method,
        options.choice_seed,
        "minimize" if smaller else "maximize",
        options.front,
        facts,
    )
    out = options.out or Path("searches") / options.name
    return Plan(search, blocks, images, objective, options.name, options.storage or str(out / "study.db"), out)


def _check_names(options: Options) -> None:
    check_name(options.name)
    if not (options.model / "model.json").is_file():
        raise FileNotFoundError(f"there is no model folder {options.model}")
    ours = re.compile(re.escape(options.name) + (r"-\d+" if options.front else ""))
    for name in names_beside(options.model):
        if ours.fullmatch(name) and not options.overwrite:
            raise ValueError(
                f"{options.model} has a sampler {name!r} already: take another --name, or add --overwrite"
            )
    known = [*metric_names(), ERROR]
    if options.metric != ERROR and not is_metric(options.metric):
        raise ValueError(f"--metric {options.metric!r} is unknown; {suggestion(options.metric, known)}")


def _seeds(options: Options) -> tuple[SeedRanges, tuple[SeedRanges, ...]]:
    """Those of the trials, and the fresh ones in blocks."""
    images = _IMAGES_FOR_ERROR if options.metric == ERROR else _IMAGES
    seeds = parse_seeds(options.seeds or f"{_FIRST}-{_FIRST + images - 1}")
    size = len(seeds)
    fresh = parse_seeds(options.fresh_seeds or f"{_FIRST_FRESH}-{_FIRST_FRESH + _BLOCKS * size - 1}")
    check_seeds(seeds, fresh)
    if len(fresh) % size:
        raise ValueError(
            f"--fresh-seeds are {len(fresh)}, but must be a multiple of --seeds, {size}: figures of other numbers of "
            "images cannot be compared"
        )
    return seeds, tuple(fresh[start : start + size] for start in range(0, len(fresh), size))


def _looks(options: Options, images: int) -> tuple[int, ...]:
    """The numbers of images after which trials are looked at."""
    if options.first_images is not None:
        return rungs(images, options.first_images)
    # A grid is tried as a whole, and the error of a few images says as much as that of many.
    whole = options.front or options.method == "grid" or options.metric == ERROR
    return rungs(images, images if whole else min(images, max(_FEWEST, images // _SHARE)))


def _as_evaluation(options: Options, seeds: SeedRanges) -> evaluate.Options:
    """What ``elucidiff evaluate`` would be asked for, to judge what the search begins with."""
    return evaluate.Options(
        str(options.model),
        options.reference or "",
        extractor=options.extractor,
        weights=options.weights,
        seeds=str(seeds),
        labels=options.labels,
        any_class=options.any_class,
        sampling=options.sampling,
        batch_size=options.batch_size,
        extractor_batch_size=options.batch_size,
        device=options.device,
    )


def _space(options: Options, base: Sampler) -> Space:
    """The samplers to choose from."""
    over = parse_options(options.over, base, grid=options.method == "grid")
    if options.metric == ERROR:
        check_deterministic(base)
        for name in over:
            if name.startswith(("churn", "restart", "solver.tau", "solver.eta")):
                raise ValueError(f"{name} adds noise, so there is no exact solution: take another --metric")
            if name.startswith("guidance"):
                raise ValueError(f"{name} changes the exact solution, so errors are not alike: take another --metric")
    return Space(base, over)


def _judge(
    judging: evaluate.Options, subject: Subject, metric: str, count: int, stop_if_asked: Callable[[], object]
) -> Evaluator:
    """What samples are judged by; ``count`` are the fewest that it will evaluator."""
    assert isinstance(subject.images, OfModel)
    assert isinstance(subject.images.denoiser, Denoiser)
    if not judging.reference:
        name = data_name(subject.images.denoiser)
        if name is None:
            raise ValueError(f"{judging.what} does not tell what it was trained on: name data with --reference")
        judging = replace(judging, reference=name)
    device = choose_device(judging.device)
    return evaluator_for(judging, [metric], subject, count, device, stop_if_asked)


def _figure_of(images: OfModel, evaluator: Evaluator, metric: str) -> Callable[[], OfSamples]:
    return lambda: OfSamples(images, evaluator.extractor, lambda features: evaluator.figures(features)[metric])


def _error_of(images: OfModel, space: Space, seeds: tuple[SeedRanges, ...]) -> Callable[[], TruncationError]:
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
        print(f"solving the ODE exactly for {len(every)} seeds", file=sys.stderr)
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
