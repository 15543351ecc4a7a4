"""``elucidiff curve MODEL [DATA]``: quality and truncation error against network evaluations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from elucidiff.cli.ablate_table import Report, carry_out, words
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.models import IDEAL, StudiedModel, load_guide, open_model
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.cli.common.units import range_advice
from elucidiff.denoisers.backends import Backend
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.devices import choose_device
from elucidiff.evaluation.ablation import SamplingAblation, SamplingConfiguration
from elucidiff.evaluation.ablation.cells import TRUNCATION
from elucidiff.evaluation.curve import CURVE, combinations, settled
from elucidiff.evaluation.quality import Evaluator
from elucidiff.evaluation.quality.metrics import is_metric, metric_names
from elucidiff.evaluation.results import ResultsTable
from elucidiff.figures import quality_against_nfe
from elucidiff.figures.style import save
from elucidiff.interop.opening import checksum
from elucidiff.launch.interrupt import Interrupt, StoppedError
from elucidiff.plain_data import numbers_from_text
from elucidiff.sampling.sampler import Sampler, parse_choice
from elucidiff.suggest import suggestion


@dataclass(frozen=True)
class Options:
    """Measure quality and truncation error against network evaluations, for all combinations of some choices (Karras
    et al. 2022, Figs. 2 to 4), with standard errors over blocks of seeds that all of them share.

    Before anything is measured, it says what there is to do and about how long it takes. What was begun and stopped
    or killed goes on with the same command; more choices, budgets, blocks and figures can be added later.
    """

    model: tyro.conf.Positional[str]
    """A model folder; or ideal, for the exact denoiser of DATA: the posterior mean over all of its images."""
    data: tyro.conf.Positional[str | None] = None
    """What samples are compared with: a data set, by its name or path; or a .npz of statistics (mu and sigma). Left
    out: what the model was trained on."""
    nfe: str = "5,8,10,15,20,35,79"
    """Network evaluations per sample, at most, with commas between them."""

    solvers: tuple[str, ...] = ()
    """Solvers, such as heun dpmpp_2m ipndm:order=3 (that of --base)."""
    steps: tuple[str, ...] = ()
    """How noise levels are spaced, such as karras:rho=3 karras:rho=7 (that of --base)."""
    schedules: tuple[str, ...] = ()
    """The curves that solvers follow, such as edm vp ve (that of --base)."""
    churn: tuple[str, ...] = ()
    """Churns, such as 0 30 30,sigma_min=0.01,sigma_max=1 (that of --base)."""
    guidance: tuple[str, ...] = ()
    """Guidances, such as 1 2 2,sigma_max=5 (that of --base)."""
    base: str = ""
    """All other choices in one text, such as "churn=30,noise_scale=1.007 schedule=vp"."""
    guide: Path | None = None
    """Folder of a worse model of the same data, to lead samples away from where guidance is not 1."""
    labels: str | None = None
    """Classes that each seed draws one of, such as 0-9 or cat,dog, equally often; uniform for all of them; or a label
    vector, or a .npy. If this is left out, each is drawn as often as the training data had it."""
    any_class: bool = False
    """Take --labels even if the training data had no image of that class."""
    samplers: tuple[str, ...] = ()
    """Samplers kept beside the model, such as fast, or in one text, "heun steps=karras:n=10": a point each."""

    metrics: str = f"fid,{TRUNCATION}"
    """Some of fid, fid_infinity, kid, precision, recall and is, see `elucidiff evaluate`; and truncation_error, the
    distance to the exact solution of the ODE, which needs no data, and no noise added."""
    extractor: str = "pca-20"
    """What describes samples, as for `elucidiff evaluate`: pca-20 for principal components of small images."""
    weights: Path | None = None
    """File with the weights of the extractor, where they are not to be fetched."""
    cache: Path | None = None
    """Folder for features of data sets (evaluation, beside the named data sets)."""
    blocks: int = 3
    """Blocks of images, each with seeds of its own, for a mean and its standard error."""
    images: int = 512
    """Images in each block. Compare only figures of equally many."""
    exact_images: int = 64
    """So many of them are compared with exact solutions."""
    first_seed: int = 0
    """Seed of the first image. Choose seeds on which nothing was searched or optimised."""

    batch_size: int = 64
    """Images in one call of the network."""
    backend: Backend = "eager"
    """What computes the network: eager, compile or onnx, as for `elucidiff sample`. It takes minutes to make compile,
    seconds to make onnx, which is faster on a CPU. Samples differ by rounding."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    out: Path | None = None
    """Folder of the tables (curves/MODEL). What is there is not measured again."""
    plan: bool = False
    """Say what there is to do and about how long it takes, and do nothing."""


# Choices of a sampler, and the option that lists some of each.
LISTS: Mapping[str, str] = {
    "solver": "solvers",
    "steps": "steps",
    "schedule": "schedules",
    "churn": "churn",
    "guidance": "guidance",
}


def run(arguments: Sequence[str]) -> int:
    """Measure what is missing, and print a table of each figure. Ctrl-C and SIGTERM keep what is measured, and exit
    with 130 and 0."""
    options = parse(Options, arguments, prog="elucidiff curve")
    quality = _quality(options.metrics)
    budgets = _once("nfe", numbers_from_text("nfe", options.nfe, int))
    base = Sampler.parse(options.base)
    choices = _choices(options, base)
    place = choose_device(options.device)
    studied = open_model(
        options.model,
        options.data,
        place,
        judged=bool(quality),
        backend=options.backend,
        batch_size=options.batch_size,
        labels=options.labels,
        any_class=options.any_class,
    )
    configurations, left_out = _configurations(options, base, choices, studied, place)
    with Interrupt() as interrupt:
        try:
            evaluator = _judge(options, quality, studied, place, interrupt.stop_if_asked)
        except StoppedError as stopped:
            print("stopped, what was described so far is kept; the same command goes on", file=sys.stderr)
            return 130 if stopped.signal == "SIGINT" else 0
    study = SamplingAblation(
        studied.denoiser,
        configurations,
        budgets,
        blocks=options.blocks,
        images=options.images,
        exact_images=options.exact_images if TRUNCATION in words(options.metrics) else 0,
        evaluator=evaluator,
        first_seed=options.first_seed,
        batch_size=options.batch_size,
        strict=False,
    )
    _tell_left_out(left_out, study)
    report = _report(options, configurations, studied, evaluator)
    code = carry_out(study, report, only_plan=options.plan)
    if not options.plan:
        _draw(report.folder)
    return code


def _draw(folder: Path) -> None:
    """A figure for each metric that has been measured so far, named after it."""
    rows = ResultsTable(folder).rows
    for metric in dict.fromkeys(row.metric for row in rows):
        save(quality_against_nfe.draw(rows, metric), folder / metric)


def _report(
    options: Options,
    configurations: Sequence[SamplingConfiguration],
    studied: StudiedModel,
    evaluator: Evaluator | None,
) -> Report:
    """What is made of the measurements."""
    facts = {
        "kind": CURVE,
        # What samples are compared with is told by the judge; the exact denoiser is made of it.
        **{name: value for name, value in studied.facts.items() if name != "data" or studied.checksum == IDEAL},
        "guide": None if options.guide is None else checksum(options.guide),
        **{name: getattr(options, name) for name in ("images", "exact_images", "first_seed", "batch_size")},
    }
    return Report(
        f"Quality against network evaluations: {studied.name}, {options.images} samples a seed",
        {each.name: each.what for each in configurations},
        {},
        evaluator,
        facts,
        CURVE,
        studied.id,
        {each.name: each.sampler.to_plain() for each in configurations},
        Sampler().to_plain(),
        options.out or Path("curves") / studied.name,
        CURVE,
        CURVE,
    )


def _quality(metrics: str) -> list[str]:
    """The figures that need data to compare with.

    Raises:
        ValueError: one is unknown; the nearest is suggested.
    """
    names, known = words(metrics), [*metric_names(), TRUNCATION]
    for name in names:
        if name != TRUNCATION and not is_metric(name):
            raise ValueError(f"--metrics {metrics}: {name!r} is unknown; {suggestion(name, known)}")
    if not names:
        raise ValueError(f"--metrics {metrics!r} names no figure: choose some of {', '.join(known)}")
    return [name for name in names if name != TRUNCATION]


def _choices(options: Options, base: Sampler) -> dict[str, list[Any]]:
    """The parts of each choice."""
    choices: dict[str, list[Any]] = {}
    for name, option in LISTS.items():
        texts = getattr(options, option)
        if texts and getattr(base, name) != getattr(Sampler(), name):
            raise ValueError(f"{name} of --base would have no effect with --{option}: leave one of them out")
        made = [parse_choice(name, text) for text in texts] or [getattr(base, name)]
        choices[name] = _once(option, made)
    return choices


def _once(option: str, values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"--{option} has a value twice: give each once")
    return values


def _configurations(
    options: Options, base: Sampler, choices: Mapping[str, Sequence[Any]], studied: StudiedModel, device: torch.device
) -> tuple[list[SamplingConfiguration], Mapping[str, str]]:
    """All that is measured; and why combinations that make no sense are left out, by name.

    Raises:
        ValueError: a value is out of its range, none of the combinations makes sense, or something has no effect.
        OSError: a sampler or the guide cannot be read.
    """
    ideal = studied.checksum == IDEAL
    if ideal and (options.samplers or options.guide):
        raise ValueError(f"--samplers and --guide are for a model folder, not for {IDEAL}: leave them out")
    guide = None if options.guide is None else load_guide(options.guide, Path(options.model), device)
    if base.n != Sampler().n:
        raise ValueError("n of --base would have no effect: --nfe says how many evaluations samples may take")
    found = combinations(base, choices, guide)
    named = [settled(text, SamplingChoices(text).chosen(Path(options.model)), guide) for text in options.samplers]
    every = [*found.made, *named]
    if not every:
        raise ValueError(f"none of these combinations makes sense: {next(iter(found.left_out.values()))}")
    if guide is not None and all(each.sampler.guidance is None for each in every):
        raise ValueError("--guide does nothing with guidance 1: choose more, such as --guidance 2, or leave it out")
    for each in every:
        each.guided(studied.denoiser)  # refuses guidance that the model does not know
    if isinstance(studied.denoiser, Denoiser) and (advice := range_advice(base, studied.denoiser)):
        print(advice, file=sys.stderr)
    return every, found.left_out


def _judge(
    options: Options,
    quality: Sequence[str],
    studied: StudiedModel,
    device: torch.device,
    between: Callable[[], object],
) -> Evaluator | None:
    if not quality:
        return None
    return studied.judge(
        options.extractor,
        quality,
        options.images,
        device,
        options.batch_size,
        weights=options.weights,
        cache=options.cache,
        between=between,
    )


def _tell_left_out(left_out: Mapping[str, str], study: SamplingAblation) -> None:
    """Say which combinations make no sense, and which cannot be had within a budget.

    Raises:
        ValueError: nothing can.
    """
    reasons: dict[str, dict[int, str]] = {}
    for (name, budget), reason in study.left_out.items():
        reasons.setdefault(name, {})[budget] = reason
    if not study.cells():
        raise ValueError(f"nothing can be had within these budgets: {next(iter(study.left_out.values()))}")
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    for name, found in reasons.items():
        print(f"left out: {name} @ {', '.join(map(str, found))}: {next(iter(found.values()))}", file=sys.stderr)
