"""Ablations from one call: the paper's tables for any model, data set and recipe. What ``elucidiff ablate`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import elucidiff.data
from elucidiff.denoisers.backends import Backend
from elucidiff.devices import choose_device
from elucidiff.evaluation.ablation.measure import open_evaluator, open_model
from elucidiff.evaluation.ablation.report import Filled, Report, chosen_from, fill_tables
from elucidiff.evaluation.ablation.sampling import (
    SamplingConfiguration,
    alpha_configurations,
    churn_configurations,
    sampling_configurations,
)
from elucidiff.evaluation.ablation.studies import SamplingAblation, TrainingAblation
from elucidiff.evaluation.ablation.training import (
    TRAINING_CONFIGURATIONS,
    Baseline,
    augmentation_configurations,
    configure,
)
from elucidiff.evaluation.ablation.training import (
    recipe as recipe_named,
)
from elucidiff.launch.interrupt import Watch
from elucidiff.plain_data import to_dict
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.sampler import Sampler
from elucidiff.suggest import names_in
from elucidiff.training.batches import TrainingData
from elucidiff.training.config import TrainingConfig

TITLES: Mapping[str, str] = {
    "sampling": "Deterministic sampling (Table 3)",
    "churn": "Stochastic sampling (Tables 4 and 5)",
    "alpha": "Second-order methods (App. D.2)",
    "training": "Training (Table 2)",
    "augment": "Augmentation (Table 6)",
}
"""Titles of the tables of Karras et al. 2022 that are filled here, by their short names."""


@dataclass(frozen=True)
class SamplingTable:
    """Ways to sample from one model that are compared.

    Attributes:
        kind: its short name, which its folder and its rows in the table of results have.
        title: in print.
        rows: the ways.
        reference: name of the row that all others are compared with.
    """

    kind: str
    title: str
    rows: Sequence[SamplingConfiguration]
    reference: str


def deterministic_table(sigma_min: float | None = None, sigma_max: float | None = None) -> SamplingTable:
    """Deterministic sampling (Karras et al. 2022, Table 3); see :func:`.sampling_configurations`."""
    rows = sampling_configurations(sigma_min, sigma_max)
    return SamplingTable("sampling", TITLES["sampling"], rows, "edm")


def churn_table(
    churn: Churn | None = None, sigma_min: float | None = None, sigma_max: float | None = None
) -> SamplingTable:
    """Stochastic sampling (Karras et al. 2022, Tables 4 and 5); see :func:`.churn_configurations`."""
    rows = churn_configurations(churn or Churn(), sigma_min, sigma_max)
    return SamplingTable("churn", TITLES["churn"], rows, "deterministic")


def alpha_table(
    alphas: Sequence[float], sigma_min: float | None = None, sigma_max: float | None = None
) -> SamplingTable:
    """Second-order methods (Karras et al. 2022, App. D.2); see :func:`.alpha_configurations`."""
    rows = alpha_configurations(alphas, sigma_min, sigma_max)
    names = [row.name for row in rows]
    return SamplingTable("alpha", TITLES["alpha"], rows, "alpha-1" if "alpha-1" in names else names[-1])


def ablate_sampling(
    model: str | os.PathLike[str],
    data: str | None = None,
    table: SamplingTable | None = None,
    *,
    nfe: Sequence[int] = (11, 35, 79),
    blocks: int = 3,
    images: int = 512,
    exact_images: int = 64,
    extractor: str = "pca-20",
    metrics: str | Sequence[str] = "fid",
    labels: str | None = None,
    any_class: bool = False,
    only: str | Sequence[str] | None = None,
    first_seed: int = 0,
    batch_size: int = 64,
    backend: Backend = "eager",
    device: str = "auto",
    out: str | os.PathLike[str] | None = None,
    plan: bool = False,
    watch: Watch | None = None,
) -> Filled:
    """Fill a table of ways to sample from one model: what each choice is worth, with standard errors.

    Example::

        churn = ed.evaluation.ablation.churn_table(ed.Churn(30, 0.05, 1.0, 1.007))
        filled = ed.evaluation.ablate_sampling("runs/demo/model", table=churn, nfe=[35])
        print(filled.to_markdown())

    Args:
        model: a model folder; or "ideal", for the exact denoiser of ``data``.
        data: by which samples are evaluated; None for what the model was trained on.
        table: what is compared; None for :func:`deterministic_table`.
        nfe: budgets of network evaluations per sample.
        blocks: of images, each with seeds of its own.
        images: in each block.
        exact_images: so many of them are compared with exact solutions of the ODE, where no noise is added.
        extractor: see :func:`.extractor_by_name`; "none" for the truncation error alone.
        metrics: some of fid, kid, precision, recall and is.
        labels: what seeds draw their labels from; see :func:`.draw_labels_from`.
        any_class: likewise.
        only: some of the rows, by name.
        first_seed: of the first image.
        batch_size: images in one call of the network.
        backend: what computes the network; see :func:`.with_backend`.
        device: where to compute.
        out: folder of the table and of all measurements (ablations/KIND-MODEL); what is there is not measured again.
        plan: only say what there is to do.
        watch: is told how it goes, and may end it.

    Raises:
        ValueError: something of what was asked for is wrong or does not fit the rest, or the folder holds other work.
        OSError: something cannot be read or written.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> few = {"extractor": "none", "blocks": 1, "images": 4, "exact_images": 4, "only": "edm-euler,edm"}
    >>> with tempfile.TemporaryDirectory() as out:  # "ideal": the exact denoiser of the data
    ...     rows = ed.evaluation.ablate_sampling("ideal", "digits", nfe=[19], out=out, **few).rows
    ...
    >>> [(row.configuration, row.nfe, row.metric) for row in rows]
    [('edm-euler', 19.0, 'truncation_error'), ('edm', 19.0, 'truncation_error')]
    """
    table, watch = table or deterministic_table(), watch or Watch()
    names = chosen_from({each.name: each.what for each in table.rows}, only)
    chosen = [each for each in table.rows if each.name in names]
    place = choose_device(device)
    studied = open_model(
        os.fspath(model), data, place,
        backend=backend, batch_size=batch_size, labels=labels, any_class=any_class, watch=watch,
    )  # fmt: skip
    evaluator = studied.evaluator(extractor, names_in(metrics), images, place, batch_size, watch=watch)
    ablation = SamplingAblation(
        studied.denoiser,
        chosen,
        nfe,
        blocks=blocks,
        images=images,
        exact_images=exact_images,
        evaluator=evaluator,
        first_seed=first_seed,
        batch_size=batch_size,
    )
    facts = {
        "kind": table.kind,
        **studied.facts,
        "images": images,
        "exact_images": exact_images,
        "first_seed": first_seed,
        "batch_size": batch_size,
    }
    report = Report(
        f"{table.title}: {studied.name}, {images} samples a seed",
        names,
        {each.name: table.reference for each in table.rows if each.name != table.reference},
        evaluator,
        facts,
        table.kind,
        studied.id,
        {each.name: {"method": each.method, **each.sampler.to_plain()} for each in chosen},
        Sampler().to_plain(),
        Path("ablations") / f"{table.kind}-{studied.name}" if out is None else Path(out),
    )
    return fill_tables(ablation, report, only_plan=plan, watch=watch)


@dataclass(frozen=True)
class Run:
    """A configuration of a table about training.

    Attributes:
        what: what it is, in a few words.
        config: its settings.
    """

    what: str
    config: TrainingConfig


@dataclass(frozen=True)
class TrainingTable:
    """Ways to train that are compared.

    Attributes:
        kind: its short name.
        title: in print.
        runs: makes all runs by name, given the last one's settings and the shape of a sample.
        references: for each name in order, which one it is compared with.
    """

    kind: str
    title: str
    runs: Callable[[TrainingConfig, Sequence[int]], Mapping[str, Run]]
    references: Callable[[Sequence[str]], Mapping[str, str]]


def training_table(baseline: Baseline = "vp") -> TrainingTable:
    """Training (Karras et al. 2022, Table 2), from a baseline of Song et al. on; see :func:`.configure`."""

    def runs(last: TrainingConfig, shape: Sequence[int]) -> dict[str, Run]:
        return {
            each.name: Run(each.what, configure(each, last, tuple(shape), baseline))
            for each in TRAINING_CONFIGURATIONS
        }

    def references(names: Sequence[str]) -> dict[str, str]:
        return {name: before for before, name in pairwise(names)}  # each is compared with the one before

    return TrainingTable("training", TITLES["training"], runs, references)


def augmentation_table(p: float = 0.12) -> TrainingTable:
    """Augmentation (Karras et al. 2022, Table 6); see :func:`.augmentation_configurations`."""

    def runs(last: TrainingConfig, shape: Sequence[int]) -> dict[str, Run]:
        every = augmentation_configurations(p, tuple(shape))
        return {each.name: Run(each.what, each.configure(last)) for each in every}

    def references(names: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(names[1:], names[0])  # all are compared with no augmentation

    return TrainingTable("augment", TITLES["augment"], runs, references)


def ablate_training(
    recipe: str = "digits",
    table: TrainingTable | None = None,
    *,
    data: str | None = None,
    training_images: int | None = None,
    seeds: int = 3,
    images: int = 1000,
    nfe: int = 35,
    extractor: str = "pca-20",
    metrics: str | Sequence[str] = "fid",
    only: str | Sequence[str] | None = None,
    first_seed: int = 0,
    batch_size: int = 64,
    device: str = "auto",
    out: str | os.PathLike[str] | None = None,
    plan: bool = False,
    watch: Watch | None = None,
) -> Filled:
    """Fill a table of trainings, each evaluated by what it samples.

    Example::

        table = ed.evaluation.ablation.augmentation_table(p=0.12)
        filled = ed.evaluation.ablate_training("digits", table, training_images=200_000, seeds=2)

    Args:
        recipe: settings of the last configuration: digits, fashion-mnist, cifar10, or the path of a config.yaml.
        table: what is compared; None for :func:`training_table`.
        data: another data set, by its name or path.
        training_images: length of each training (that of the recipe).
        seeds: trainings of each configuration.
        images: evaluated of each training.
        nfe: network evaluations for each of them, by the paper's deterministic sampler.
        extractor: see :func:`.extractor_by_name`; "none" for the loss on held-out images alone.
        metrics: some of fid, kid, precision, recall and is.
        only: some of the configurations, by name.
        first_seed: of the first image.
        batch_size: images in one call of the network when sampling.
        device: where to compute.
        out: folder of the table and of all runs (ablations/KIND-RECIPE); what is there is not done again.
        plan: only say what there is to do.
        watch: is told how it goes, and may end it.

    Raises:
        ValueError: something of what was asked for is wrong or does not fit the rest, or the folder holds other work.
        OSError: something cannot be read or written.

    >>> import elucidiff as ed
    >>> planned = ed.evaluation.ablate_training("digits", training_images=2000, extractor="none", plan=True)
    >>> planned.title.split(";")[0]  # nothing is trained yet
    'Training (Table 2): digits, 2,000 training images'
    """
    table = table or training_table()
    last = _last(recipe, data, training_images, device)
    opened = TrainingData.open(last)
    every = table.runs(last, opened.shape)
    rows = chosen_from({name: each.what for name, each in every.items()}, only)
    configs = {name: every[name].config for name in rows}
    place = choose_device(device)
    dataset = elucidiff.data.open(last.data)
    evaluator = open_evaluator(
        extractor, dataset, names_in(metrics), dataset.shape, images, place, batch_size,
        scaling=opened.scaling,
    )  # fmt: skip
    name = Path(recipe).stem
    folder = Path("ablations") / f"{table.kind}-{name}" if out is None else Path(out)
    ablation = TrainingAblation(
        configs,
        folder / "runs",
        last,
        opened,
        Sampler(),
        nfe,
        seeds=seeds,
        images=images,
        evaluator=evaluator,
        first_seed=first_seed,
        batch_size=batch_size,
    )
    facts: dict[str, Any] = {
        "kind": table.kind,
        "data": dict(opened.identity),
        "images": images,
        "first_seed": first_seed,
        "batch_size": batch_size,
    }
    report = Report(
        f"{table.title}: {name}, {last.duration_images:,} training images; {images} samples a seed, "
        f"{nfe} evaluations each",
        rows,
        table.references(list(rows)),
        evaluator,
        facts,
        table.kind,
        "",
        # Where data and device are may change.
        {each: {**to_dict(config), "data": None, "device": None} for each, config in configs.items()},
        to_dict(TrainingConfig(data="")),
        folder,
    )
    return fill_tables(ablation, report, only_plan=plan, watch=watch)


def _last(recipe: str, data: str | None, training_images: int | None, device: str) -> TrainingConfig:
    """The settings of the last configuration."""
    last = replace(recipe_named(recipe), device=device)
    if data is not None:
        last = replace(last, data=data)
    if training_images is not None:
        often = min(last.checkpoint_images, max(1, training_images // 4))
        last = replace(last, duration_images=training_images, checkpoint_images=often)
    return last
