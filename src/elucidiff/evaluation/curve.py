"""Quality and truncation error against network evaluations, for all combinations of some choices."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elucidiff import parts
from elucidiff.denoisers.backends import Backend
from elucidiff.denoisers.base import DenoiserLike
from elucidiff.denoisers.opening import checksum, load_guide
from elucidiff.design.steps import Karras, Spaced
from elucidiff.devices import choose_device
from elucidiff.evaluation.ablation.cells import TRUNCATION
from elucidiff.evaluation.ablation.measure import IDEAL, StudiedModel, not_for_ideal, open_model
from elucidiff.evaluation.ablation.report import Filled, Report, fill_tables
from elucidiff.evaluation.ablation.sampling import SamplingConfiguration
from elucidiff.evaluation.ablation.studies import SamplingAblation
from elucidiff.evaluation.quality.metric_sets import is_metric, metric_names
from elucidiff.launch.interrupt import Watch
from elucidiff.sampling.grid import range_advice
from elucidiff.sampling.sampler import KINDS, Sampler
from elucidiff.suggest import known_names, names_in

CURVE = "curve"
"""The experiment, in a table of results."""

_USUAL = Sampler()


@dataclass(frozen=True)
class Combinations:
    """Ways to sample.

    Attributes:
        made: those that make sense.
        left_out: why the others do not, by name.
    """

    made: tuple[SamplingConfiguration, ...]
    left_out: Mapping[str, str]


def combinations(
    base: Sampler, choices: Mapping[str, Sequence[Any]], guide: DenoiserLike | None = None
) -> Combinations:
    """All combinations of some choices, each of them once.

    Args:
        base: all other choices; its number of steps does not matter.
        choices: parts, or their text forms, by the choice of :class:`.Sampler`, such as ``{"solver": ["heun"]}``.
        guide: the worse model of autoguidance, for the combinations with a weight other than 1.

    Raises:
        ValueError: a part is unknown or out of its range whatever it is combined with, or its cost is no choice.
    """
    # With two steps churn takes back the smallest part of each, so what is refused then is refused for all budgets.
    base = _short(base)
    resolved = {
        name: [None if value is None else parts.resolve(KINDS[name], value) for value in values]
        for name, values in choices.items()
    }
    for name, values in resolved.items():
        for value in values:
            _check(_short(Sampler(Karras(2)).with_settings({name: value})))
    made: dict[str, SamplingConfiguration] = {}
    left_out: dict[str, str] = {}
    for together in itertools.product(*resolved.values()):
        chosen = dict(zip(resolved, together, strict=True))
        try:
            sampler = _short(base.with_settings(chosen))
        except ValueError as error:
            told = {name: value for name, value in chosen.items() if value != getattr(_USUAL, name)}
            left_out[", ".join(f"{name} {_text(value)}" for name, value in told.items())] = str(error)
            continue
        _check(sampler)
        name = name_of(sampler)
        made[name] = SamplingConfiguration(name, "", sampler, guide=None if sampler.guidance is None else guide)
    return Combinations(tuple(made.values()), left_out)


def settled(name: str, sampler: Sampler, guide: DenoiserLike | None = None) -> SamplingConfiguration:
    """A sampler whose steps are settled, under a name of its own; a point beside the curves.

    Raises:
        ValueError: its cost is not known beforehand.
    """
    _check_cost(sampler)
    guide = None if sampler.guidance is None else guide
    return SamplingConfiguration(name, "", sampler, guide=guide, settled=True)


def name_of(sampler: Sampler) -> str:
    """The name of a sampler whatever it is compared with: solver, steps, and all that is not as usual.

    The number of steps is no part of it. Samplers that differ in anything else have different names.
    """
    unusual = [
        f"{name} {_text(getattr(sampler, name))}"
        for name in KINDS
        if name not in ("solver", "steps") and getattr(sampler, name) != getattr(_USUAL, name)
    ]
    return ", ".join([parts.to_text(sampler.solver), _spacing(sampler), *unusual])


def _spacing(sampler: Sampler) -> str:
    steps = sampler.steps
    if isinstance(steps, Karras) and steps == Karras(steps.n, rho=steps.rho):
        short = f"{steps.rho:g}"
        return f"karras rho {short if float(short) == steps.rho else steps.rho}"
    return parts.to_text(replace(steps, n=18) if isinstance(steps, Spaced) else steps)


def _short(sampler: Sampler) -> Sampler:
    """The same with two steps, where their number is a choice."""
    return replace(sampler, steps=replace(sampler.steps, n=2)) if isinstance(sampler.steps, Spaced) else sampler


def _check(sampler: Sampler) -> None:
    """Raise ValueError unless the sampler takes as many steps as a budget pays for."""
    if not isinstance(sampler.steps, Spaced):
        raise ValueError(
            f"steps {parts.name_of(sampler.steps)!r} have no other number: "
            "give a sampler beside the model, by its name"
        )
    _check_cost(sampler)


def _check_cost(sampler: Sampler) -> None:
    if sampler.solver.adaptive:
        raise ValueError(
            f"solver {parts.name_of(sampler.solver)} chooses its own steps, another number for each sample, "
            "so it has no place on a curve: leave it out"
        )


def _text(part: object) -> str:
    """A part's text form, as short as it is written where its kind has but one part: ``30,sigma_min=0.01``."""
    if part is None:
        return "none"
    text = parts.to_text(part)
    name, _, rest = text.partition(":")
    if not rest or name not in {kind.bare for kind in parts.KINDS.values()}:
        return text
    return rest.removeprefix(f"{parts.settings(type(part))[0].name}=")


def measure_curve(
    model: str | os.PathLike[str],
    data: str | None = None,
    *,
    nfe: Sequence[int] = (5, 8, 10, 15, 20, 35, 79),
    base: Sampler | str = "",
    choices: Mapping[str, Sequence[Any]] | None = None,
    samplers: Mapping[str, Sampler] | None = None,
    guide: str | os.PathLike[str] | None = None,
    metrics: str | Sequence[str] = f"fid,{TRUNCATION}",
    extractor: str = "pca-20",
    weights: Path | None = None,
    cache: Path | None = None,
    labels: str | None = None,
    any_class: bool = False,
    blocks: int = 3,
    images: int = 512,
    exact_images: int = 64,
    first_seed: int = 0,
    batch_size: int = 64,
    backend: Backend = "eager",
    device: str = "auto",
    out: str | os.PathLike[str] | None = None,
    plan: bool = False,
    watch: Watch | None = None,
) -> Filled:
    """Measure quality and truncation error against network evaluations (Karras et al. 2022, Figs. 2 to 4).

    Example::

        choices = {"solver": ["heun", "ipndm:order=3"]}
        curve = ed.evaluation.measure_curve("runs/demo/model", choices=choices, nfe=[8, 12, 18])
        print(curve.to_markdown())
        [(row.configuration, row.nfe, row.value) for row in curve.rows if row.metric == "fid"]

    Args:
        model: a model folder; or "ideal", for the exact denoiser of ``data``.
        data: what samples are compared with; None for what the model was trained on.
        nfe: network evaluations per sample, at most.
        base: all choices that are not listed, an object or a text.
        choices: lists of parts, objects or texts, by the choice of a :class:`.Sampler`; all combinations are
            measured.
        samplers: points beside the curves, by name.
        guide: folder of a worse model of the same data, for combinations with guidance.
        metrics: some of fid, fid_infinity, kid, precision, recall and is; and truncation_error.
        extractor: see :func:`.extractor_by_name`.
        weights: of it, where they are not to be fetched.
        cache: folder for features of data sets.
        labels: what seeds draw their labels from; see :func:`.draw_labels_from`.
        any_class: likewise.
        blocks: of images, each with seeds of its own.
        images: in each block.
        exact_images: so many of them are compared with exact solutions.
        first_seed: of the first image.
        batch_size: images in one call of the network.
        backend: what computes the network; see :func:`.with_backend`.
        device: where to compute.
        out: folder of the tables (curves/MODEL); what is there is not measured again.
        plan: only say what there is to do.
        watch: is told how it goes, and may end it.

    Raises:
        ValueError: something of what was asked for is wrong or does not fit the rest, or the folder holds other work.
        OSError: something cannot be read or written.
        StoppedError: ``watch`` ended it before anything was measured.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> few = {"metrics": "truncation_error", "blocks": 1, "images": 4, "exact_images": 4}
    >>> with tempfile.TemporaryDirectory() as out:  # "ideal": the exact denoiser of the data
    ...     solvers = {"solver": ["euler", "heun"]}
    ...     curve = ed.evaluation.measure_curve("ideal", "digits", nfe=[5, 19], choices=solvers, out=out, **few)
    ...     rows = curve.rows
    ...
    >>> [(row.solver, row.nfe) for row in rows]
    [('euler', 5.0), ('euler', 19.0), ('heun', 5.0), ('heun', 19.0)]
    >>> errors = {(row.solver, row.nfe): row.value for row in rows}
    >>> errors["heun", 19] < errors["heun", 5]
    True
    """
    watch = watch or Watch()
    wanted = [name for name in names_in(metrics) if name == TRUNCATION or is_metric(name)]
    known_names(metrics, [*metric_names(), TRUNCATION, *wanted], "metrics")
    quality = [name for name in wanted if name != TRUNCATION]
    place = choose_device(device)
    studied = open_model(
        os.fspath(model), data, place, evaluated=bool(quality),
        backend=backend, batch_size=batch_size, labels=labels, any_class=any_class, watch=watch,
    )  # fmt: skip
    if studied.checksum == IDEAL and (samplers or guide):
        raise not_for_ideal("--samplers and --guide")
    base = Sampler.chosen(base, studied.denoiser)
    guided_by = None if guide is None else load_guide(Path(guide), Path(model), place)
    found, points = _configurations(base, choices or {}, samplers or {}, guided_by, studied, watch)
    evaluator = None
    if quality:
        evaluator = studied.evaluator(
            extractor, quality, images, place, batch_size, weights=weights, cache=cache, watch=watch
        )
    study = SamplingAblation(
        studied.denoiser,
        [*found.made, *points],
        nfe,
        blocks=blocks,
        images=images,
        exact_images=exact_images if TRUNCATION in wanted else 0,
        evaluator=evaluator,
        first_seed=first_seed,
        batch_size=batch_size,
        strict=False,
    )
    _note_left_out(found.left_out, study, watch)
    facts = {
        "kind": CURVE,
        # What samples are compared with is told by the evaluator; the exact denoiser is made of it.
        **{name: value for name, value in studied.facts.items() if name != "data" or studied.checksum == IDEAL},
        "guide": None if guide is None else checksum(guide),
        "images": images,
        "exact_images": exact_images,
        "first_seed": first_seed,
        "batch_size": batch_size,
    }
    report = Report(
        f"Quality against network evaluations: {studied.name}, {images} samples a seed",
        {each.name: each.what for each in (*found.made, *points)},
        {},
        evaluator,
        facts,
        CURVE,
        studied.id,
        {each.name: each.sampler.to_plain() for each in (*found.made, *points)},
        Sampler().to_plain(),
        Path("curves") / studied.name if out is None else Path(out),
        CURVE,
        CURVE,
    )
    return fill_tables(study, report, only_plan=plan, watch=watch)


def _configurations(
    base: Sampler,
    choices: Mapping[str, Sequence[Any]],
    samplers: Mapping[str, Sampler],
    guide: DenoiserLike | None,
    studied: StudiedModel,
    watch: Watch,
) -> tuple[Combinations, list[SamplingConfiguration]]:
    """All that is measured: combinations, and points beside them.

    Raises:
        ValueError: a value is out of its range, none of the combinations makes sense, or something has no effect.
    """
    for name, values in choices.items():
        if len(set(values)) < len(values):
            raise ValueError(f"--{name} has a value twice: give each once")
    if base.n != Sampler().n:
        raise ValueError("n of --base would have no effect: --nfe says how many evaluations samples may take")
    found = combinations(base, choices, guide)
    points = [settled(name, sampler, guide) for name, sampler in samplers.items()]
    every = [*found.made, *points]
    if not every:
        raise ValueError(f"none of these combinations makes sense: {next(iter(found.left_out.values()))}")
    if guide is not None and all(each.sampler.guidance is None for each in every):
        raise ValueError("--guide does nothing with guidance 1: choose more, such as --guidance 2, or leave it out")
    for each in every:
        each.guided(studied.denoiser)  # refuses guidance that the model does not know
    if advice := range_advice(base.sigmas(studied.denoiser), studied.denoiser):
        watch.note(f"warning: {advice}")
    return found, points


def _note_left_out(left_out: Mapping[str, str], study: SamplingAblation, watch: Watch) -> None:
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
        watch.note(f"left out: {name}: {reason}")
    for name, found in reasons.items():
        watch.note(f"left out: {name} @ {', '.join(map(str, found))}: {next(iter(found.values()))}")
