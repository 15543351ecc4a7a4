"""``elucidiff curve MODEL [DATA]``: quality and truncation error against network evaluations."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from elucidiff.cli.ablate import finished
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.progress import Watching, code_after
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.denoisers.backends import Backend
from elucidiff.evaluation.ablation.cells import TRUNCATION
from elucidiff.evaluation.ablation.measure import IDEAL, not_for_ideal
from elucidiff.evaluation.curve import measure_curve
from elucidiff.figures import quality_against_nfe
from elucidiff.figures.style import save
from elucidiff.launch.interrupt import StoppedError
from elucidiff.plain_data import numbers_from_text
from elucidiff.sampling.sampler import Sampler, parse_choice


@dataclass(frozen=True)
class Options:
    """Measure quality and truncation error against network evaluations, for all combinations of some choices (Karras
    et al. 2022, Figs. 2 to 4), with standard errors over blocks of seeds that all of them share.

    Before anything is measured, it says what there is to do and about how long it takes. What was begun and stopped
    or killed goes on with the same command; more choices, budgets, blocks and metrics can be added later.

    Examples::

        elucidiff curve runs/demo/model digits --nfe 5,8,12,20,35 --solvers heun dpmpp_2m ipndm:order=3
        elucidiff curve runs/demo/model digits --churn 0 30,sigma_min=0.05,sigma_max=50 --plan
    """

    model: tyro.conf.Positional[str]
    """A model, as for `elucidiff sample`; or ideal, for the exact denoiser of DATA."""
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
    """A worse model of the same data, to lead samples away from where guidance is not 1."""
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
    """Images in each block. Compare only metrics of equally many."""
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
    """Measure what is missing, and print a table of each metric. Ctrl-C and SIGTERM keep what is measured, and exit
    with 130 and 0."""
    options = parse(Options, arguments, prog="elucidiff curve")
    base = Sampler.parse(options.base)
    with Watching() as watch:
        try:
            filled = measure_curve(
                options.model,
                options.data,
                nfe=_once("nfe", numbers_from_text("nfe", options.nfe, int)),
                base=base,
                choices=_choices(options, base),
                samplers=_samplers(options),
                guide=options.guide,
                metrics=options.metrics,
                extractor=options.extractor,
                weights=options.weights,
                cache=options.cache,
                labels=options.labels,
                any_class=options.any_class,
                blocks=options.blocks,
                images=options.images,
                exact_images=options.exact_images,
                first_seed=options.first_seed,
                batch_size=options.batch_size,
                backend=options.backend,
                device=options.device,
                out=options.out,
                plan=options.plan,
                watch=watch,
            )
        except StoppedError as stopped:
            print("stopped, what was described so far is kept; the same command goes on", file=sys.stderr)
            return code_after(stopped.signal)
    if options.plan:
        return 0
    code = finished(filled)
    for metric in dict.fromkeys(row.metric for row in filled.rows):
        save(quality_against_nfe.draw(filled.rows, metric), filled.folder / metric)
    return code


def _samplers(options: Options) -> dict[str, Sampler]:
    """The samplers of --samplers by their texts."""
    if options.model == IDEAL and options.samplers:
        raise not_for_ideal("--samplers and --guide")
    model = Path(options.model)
    return {text: SamplingChoices(text).chosen(model) for text in options.samplers}


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
