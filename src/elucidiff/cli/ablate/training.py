"""``elucidiff ablate training|augment``: many trainings, each evaluated by what it samples."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import tyro

from elucidiff.cli.ablate.options import Ablation
from elucidiff.evaluation.ablation import (
    Baseline,
    Filled,
    TrainingTable,
    ablate_training,
    augmentation_table,
    training_table,
)
from elucidiff.launch.interrupt import Watch


@dataclass(frozen=True)
class OfTraining(Ablation):
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

    @abstractmethod
    def table(self) -> TrainingTable:
        """What is compared."""

    def fill(self, watch: Watch) -> Filled:
        """See :class:`.Ablation`."""
        return ablate_training(
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


@dataclass(frozen=True)
class TrainingOptions(OfTraining):
    """Training (Karras et al. 2022, Table 2): from the baseline A of Song et al. by adjusted hyper-parameters (B),
    redistributed capacity (C), EDM preconditioning (D) and loss (E) to non-leaking augmentation (F)."""

    baseline: Baseline = "vp"
    """Preconditioning, loss and network with which A begins."""

    def table(self) -> TrainingTable:
        """See the class."""
        return training_table(self.baseline)


@dataclass(frozen=True)
class AugmentOptions(OfTraining):
    """Augmentation (Karras et al. 2022, Table 6): none, each transform of the paper's set alone, the set, and colour
    corruption. Grey images are corrupted by changes of brightness and contrast alone."""

    p: float = 0.12
    """Probability of each transform."""

    def table(self) -> TrainingTable:
        """See the class."""
        return augmentation_table(self.p)
