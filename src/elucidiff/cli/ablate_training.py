"""``elucidiff ablate training|augment``: many trainings, each judged by what it samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import tyro

import elucidiff
from elucidiff.cli.ablate_table import Report, carry_out, chosen_from, words
from elucidiff.devices import choose_device
from elucidiff.evaluation.ablation import (
    TRAINING_CONFIGURATIONS,
    Baseline,
    TrainingAblation,
    augmentation_configurations,
    configure,
    open_evaluator,
    recipe,
)
from elucidiff.plain_data import to_dict
from elucidiff.sampling import Sampler
from elucidiff.training.batches import TrainingData
from elucidiff.training.config import TrainingConfig


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
class OfTraining(ABC):
    recipe: tyro.conf.Positional[str] = "digits"
    """Settings of the last configuration: digits, fashion-mnist, cifar10, or the path of a config.yaml."""
    data: str | None = None
    """Train on another data set, by its name or path."""
    training_images: int | None = None
    """Length of each training, in images (that of the recipe)."""
    seeds: int = 3
    """Trainings of each configuration, for a mean and its standard error."""
    images: int = 1000
    """Images that are judged of each training."""
    nfe: int = 35
    """Network evaluations for each of them, by the paper's deterministic sampler."""
    extractor: str = "pca-20"
    """What describes samples, to compare them with the data, as for `elucidiff evaluate`: pca-20 for principal
    components of small images; none for the loss on held-out images alone."""
    metrics: str = "fid"
    """Figures of quality, with commas between them: fid, kid, precision, recall, is."""
    only: str | None = None
    """Some of the configurations, by name, with commas between them."""
    first_seed: int = 0
    """Seed of the first image."""
    batch_size: int = 64
    """Images in one call of the network when sampling."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    out: Path | None = None
    """Folder of the table and of all runs (ablations/KIND-RECIPE). What is there is not done again."""
    plan: bool = False
    """Say what there is to do and about how long it takes, and do nothing."""

    kind: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def runs(self, last: TrainingConfig, data: TrainingData) -> dict[str, Run]:
        """All configurations by name, given the last one and the data."""

    @abstractmethod
    def references(self, names: Sequence[str]) -> dict[str, str]:
        """For each configuration the one that it is compared with."""

    def __call__(self) -> int:
        """Train and measure what is missing, and print the table."""
        last = self._last()
        data = TrainingData.open(last)
        every = self.runs(last, data)
        rows = chosen_from({name: each.what for name, each in every.items()}, self.only)
        configs = {name: every[name].config for name in rows}
        place = choose_device(self.device)
        dataset = elucidiff.data.open(last.data)
        evaluator = open_evaluator(
            self.extractor, dataset, words(self.metrics), dataset.shape, self.images, place, self.batch_size
        )
        name = Path(self.recipe).stem
        folder = self.out or Path("ablations") / f"{self.kind}-{name}"
        ablation = TrainingAblation(
            configs,
            folder / "runs",
            last,
            data,
            Sampler(),
            self.nfe,
            seeds=self.seeds,
            images=self.images,
            evaluator=evaluator,
            first_seed=self.first_seed,
            batch_size=self.batch_size,
        )
        facts = {
            "kind": self.kind,
            "data": dict(data.identity),
            **{field: getattr(self, field) for field in ("images", "first_seed", "batch_size")},
        }
        report = Report(
            f"{self.title}: {name}, {last.duration_images:,} training images; {self.images} samples a seed, "
            f"{self.nfe} evaluations each",
            rows,
            self.references(list(rows)),
            evaluator,
            facts,
            self.kind,
            "",
            # Where data and device are may change.
            {name: {**to_dict(config), "data": None, "device": None} for name, config in configs.items()},
            to_dict(TrainingConfig(data="")),
            folder,
        )
        return carry_out(ablation, report, only_plan=self.plan)

    def _last(self) -> TrainingConfig:
        """The settings of the last configuration."""
        last = replace(recipe(self.recipe), device=self.device)
        if self.data is not None:
            last = replace(last, data=self.data)
        if self.training_images is not None:
            often = min(last.checkpoint_images, max(1, self.training_images // 4))
            last = replace(last, duration_images=self.training_images, checkpoint_images=often)
        return last


@dataclass(frozen=True)
class TrainingTable(OfTraining):
    """Training (Karras et al. 2022, Table 2): from the baseline A of Song et al. by adjusted hyper-parameters (B),
    redistributed capacity (C), EDM preconditioning (D) and loss (E) to non-leaking augmentation (F)."""

    baseline: Baseline = "vp"
    """Preconditioning, loss and network with which A begins."""

    kind: ClassVar[str] = "training"
    title: ClassVar[str] = "Training (Table 2)"

    def runs(self, last: TrainingConfig, data: TrainingData) -> dict[str, Run]:
        """See the class."""
        every = {each.name: each for each in TRAINING_CONFIGURATIONS}
        return {
            name: Run(each.what, configure(each, last, data.shape, self.baseline)) for name, each in every.items()
        }

    def references(self, names: Sequence[str]) -> dict[str, str]:
        """Each is compared with the one before."""
        return {name: before for before, name in pairwise(names)}


@dataclass(frozen=True)
class AugmentTable(OfTraining):
    """Augmentation (Karras et al. 2022, Table 6): none, each transform of the paper's set alone, the set, and colour
    corruption. Grey images are corrupted by changes of brightness and contrast alone."""

    p: float = 0.12
    """Probability of each transform."""

    kind: ClassVar[str] = "augment"
    title: ClassVar[str] = "Augmentation (Table 6)"

    def runs(self, last: TrainingConfig, data: TrainingData) -> dict[str, Run]:
        """See the class."""
        every = augmentation_configurations(self.p, data.shape)
        return {each.name: Run(each.what, each.configure(last)) for each in every}

    def references(self, names: Sequence[str]) -> dict[str, str]:
        """All are compared with no augmentation."""
        return dict.fromkeys(names[1:], names[0])
