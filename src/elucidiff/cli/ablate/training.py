"""``elucidiff ablate training|augment``: many trainings, each evaluated by what it samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from elucidiff.cli.ablate.printing import finished
from elucidiff.cli.common.progress import Watching
from elucidiff.evaluation.ablation import (
    Baseline,
    TrainingTable,
    ablate_training,
    augmentation_table,
    training_table,
)


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
    """Images that are evaluated of each training."""
    nfe: int = 35
    """Network evaluations for each of them, by the paper's deterministic sampler."""
    extractor: str = "pca-20"
    """What describes samples, to compare them with the data, as for `elucidiff evaluate`: pca-20 for principal
    components of small images; none for the loss on held-out images alone."""
    metrics: str = "fid"
    """Metrics, with commas between them: fid, kid, precision, recall, is."""
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

    title: ClassVar[str]

    @abstractmethod
    def table(self) -> TrainingTable:
        """What is compared."""

    def __call__(self) -> int:
        """Train and measure what is missing, and print the table."""
        with Watching() as watch:
            filled = ablate_training(
                self.recipe,
                self.table(),
                data=self.data,
                training_images=self.training_images,
                seeds=self.seeds,
                images=self.images,
                nfe=self.nfe,
                extractor=self.extractor,
                metrics=self.metrics,
                only=self.only,
                first_seed=self.first_seed,
                batch_size=self.batch_size,
                device=self.device,
                out=self.out,
                plan=self.plan,
                watch=watch,
            )
        return finished(filled)


@dataclass(frozen=True)
class TrainingOptions(OfTraining):
    """Training (Karras et al. 2022, Table 2): from the baseline A of Song et al. by adjusted hyper-parameters (B),
    redistributed capacity (C), EDM preconditioning (D) and loss (E) to non-leaking augmentation (F)."""

    baseline: Baseline = "vp"
    """Preconditioning, loss and network with which A begins."""

    title: ClassVar[str] = "Training (Table 2)"

    def table(self) -> TrainingTable:
        """See the class."""
        return training_table(self.baseline)


@dataclass(frozen=True)
class AugmentOptions(OfTraining):
    """Augmentation (Karras et al. 2022, Table 6): none, each transform of the paper's set alone, the set, and colour
    corruption. Grey images are corrupted by changes of brightness and contrast alone."""

    p: float = 0.12
    """Probability of each transform."""

    title: ClassVar[str] = "Augmentation (Table 6)"

    def table(self) -> TrainingTable:
        """See the class."""
        return augmentation_table(self.p)
