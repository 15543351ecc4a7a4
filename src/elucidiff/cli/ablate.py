"""``elucidiff ablate sampling|churn|alpha|training|augment``: the paper's tables, on any data set."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from elucidiff.cli.common.progress import Watching, code_after
from elucidiff.cli.common.verbs import Actions
from elucidiff.denoisers.backends import Backend
from elucidiff.evaluation.ablation import (
    TITLES,
    Baseline,
    Filled,
    SamplingTable,
    TrainingTable,
    ablate_sampling,
    ablate_training,
    alpha_table,
    augmentation_table,
    churn_table,
    deterministic_table,
    training_table,
)
from elucidiff.evaluation.ablation.measure import IDEAL
from elucidiff.launch.interrupt import Watch
from elucidiff.plain_data import numbers_from_text
from elucidiff.sampling import Churn, load_named
from elucidiff.sampling.sampler import parse_choice


@dataclass(frozen=True, kw_only=True)
class Ablation(ABC):
    """Fills a table, a row for each configuration."""

    extractor: str = "pca-20"
    """Features by which samples are compared with the data, as for `elucidiff evaluate`: pca-20 for principal
    components of small images; none to do without."""
    metrics: str = "fid"
    """Metrics, with commas between them: fid, kid, precision, recall, is."""
    only: str | None = None
    """Some of the configurations, by name, with commas between them."""
    first_seed: int = 0
    """Seed of the first image. Choose seeds on which nothing was searched or optimised."""
    batch_size: int = 64
    """Images in one call of the network when sampling."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    out: Path | None = None
    """Folder of the table and of all that was measured (ablations/KIND-MODEL or -RECIPE). What is there is kept."""
    plan: bool = False
    """Say what there is to do and about how long it takes, and do nothing."""

    @abstractmethod
    def fill(self, watch: Watch) -> Filled:
        """Measure what is missing."""

    def __call__(self) -> int:
        """Fill the table, print it, and return the exit code."""
        with Watching() as watch:
            filled = self.fill(watch)
        return finished(filled)


def finished(filled: Filled) -> int:
    """Print the tables, if anything was to be measured, and return the exit code."""
    if filled.tables:
        print(filled.to_markdown())
    if filled.stopped is not None:
        print(
            f"stopped by {filled.stopped}, what was measured is kept; the same command goes on from here",
            file=sys.stderr,
        )
    return code_after(filled.stopped)


@dataclass(frozen=True)
class OfSampling(Ablation):
    model: tyro.conf.Positional[str]
    """A model, as for `elucidiff sample`; or ideal, for the exact denoiser of --data."""
    data: str | None = None
    """Name or path of the data set that samples are compared with. Left out: what the model was trained on."""
    nfe: str = "11,35,79"
    """Network evaluations per sample, with commas between them."""
    seeds: int = 3
    """Blocks of images, each with seeds of its own, for a mean and its standard error."""
    images: int = 512
    """Images in each block."""
    exact_images: int = 64
    """So many of them are compared with exact solutions of the ODE, where no noise is added; 0 for none."""
    labels: str | None = None
    """Classes that each seed draws one of, such as 0-9 or cat,dog, equally often; uniform for all of them; or a label
    vector, or a .npy. If this is left out, each is drawn as often as the training data had it."""
    any_class: bool = False
    """Take --labels even if the training data had no image of that class."""
    sigma_min: float | None = None
    """Lowest noise level of the paper's steps (0.002)."""
    sigma_max: float | None = None
    """Highest noise level of the paper's steps (80)."""
    backend: Backend = "eager"
    """What computes the network: eager, compile or onnx, as for `elucidiff sample`. It takes minutes to make compile,
    seconds to make onnx, which is faster on a CPU. Samples differ by rounding."""

    @abstractmethod
    def table(self) -> SamplingTable:
        """The configurations that are compared."""

    def fill(self, watch: Watch) -> Filled:
        """See :class:`.Ablation`."""
        return ablate_sampling(
            self.model,
            self.data,
            self.table(),
            nfe=numbers_from_text("nfe", self.nfe, int),
            blocks=self.seeds,
            images=self.images,
            exact_images=self.exact_images,
            extractor=self.extractor,
            metrics=self.metrics,
            labels=self.labels,
            any_class=self.any_class,
            only=self.only,
            first_seed=self.first_seed,
            batch_size=self.batch_size,
            backend=self.backend,
            device=self.device,
            out=self.out,
            plan=self.plan,
            watch=watch,
        )


@dataclass(frozen=True)
class SamplingOptions(OfSampling):
    """Deterministic sampling (Karras et al. 2022, Table 3): VP, VE and DDIM as they were, then with Heun and the
    paper's steps, then with sigma = t and s = 1, at the same numbers of network evaluations.

    Examples::

        elucidiff ablate sampling runs/demo/model --plan
        elucidiff ablate sampling runs/demo/model --nfe 11,35 --seeds 8 --images 256
    """

    def table(self) -> SamplingTable:
        """See the class."""
        return deterministic_table(self.sigma_min, self.sigma_max)


@dataclass(frozen=True)
class ChurnOptions(OfSampling):
    """Stochastic sampling (Karras et al. 2022, Tables 4 and 5): what S_churn, S_tmin and S_tmax, and S_noise add to
    the deterministic sampler, beside the samplers of Song et al. `elucidiff search` finds settings for a model.

    Examples::

        elucidiff ablate churn runs/demo/model --nfe 79 --out ablations/churn
    """

    churn: str = "30,sigma_min=0.05,sigma_max=1,noise_scale=1.007"
    """S_churn, S_tmin, S_tmax and S_noise, all of them."""
    sampler: str | None = None
    """Take these four from a sampler beside the model, by its name or path, instead."""

    def table(self) -> SamplingTable:
        """See the class."""
        churn = parse_choice("churn", self.churn) or Churn()
        if self.sampler is not None:
            if self.model == IDEAL:
                raise ValueError("--sampler is for a model folder: the exact denoiser has no samplers beside it")
            churn = load_named(self.model, self.sampler).sampler.churn or Churn()
        return churn_table(churn, self.sigma_min, self.sigma_max)


@dataclass(frozen=True)
class AlphaOptions(OfSampling):
    """Second-order methods (Karras et al. 2022, App. D.2) by where their second evaluation lies: 0.5 is the midpoint
    method, 1 Heun's, 1.1 the paper's best.

    Examples::

        elucidiff ablate alpha runs/demo/model --nfe 11,19
    """

    alphas: str = "0.5,0.6,0.7,0.8,0.9,1,1.1"
    """The values of alpha, with commas between them. Beyond 1 the second evaluation lies past the end of the step,
    and at the last steps past noise level 0, where the ODE goes on as an odd function."""

    def table(self) -> SamplingTable:
        """See the class."""
        return alpha_table(numbers_from_text("alphas", self.alphas, float), self.sigma_min, self.sigma_max)


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
        """The configurations that are compared."""

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
    redistributed capacity (C), EDM preconditioning (D) and loss (E) to non-leaking augmentation (F).

    Examples::

        elucidiff ablate training digits --only E,F --seeds 3
    """

    baseline: Baseline = "vp"
    """Preconditioning, loss and network with which A begins."""

    def table(self) -> TrainingTable:
        """See the class."""
        return training_table(self.baseline)


@dataclass(frozen=True)
class AugmentOptions(OfTraining):
    """Augmentation (Karras et al. 2022, Table 6): none, each transform of the paper's set alone, the set, and colour
    corruption. Grey images are corrupted by changes of brightness and contrast alone.

    Examples::

        elucidiff ablate augment digits --training-images 80000
    """

    p: float = 0.12
    """Probability of each transform."""

    def table(self) -> TrainingTable:
        """See the class."""
        return augmentation_table(self.p)


ACTIONS: dict[str, type[Any]] = {
    "sampling": SamplingOptions,
    "churn": ChurnOptions,
    "alpha": AlphaOptions,
    "training": TrainingOptions,
    "augment": AugmentOptions,
}


def run(arguments: Sequence[str]) -> int:
    """Fill and print one of the tables. Ctrl-C and SIGTERM keep what is measured, and exit with 130 and 0."""
    actions = Actions("elucidiff ablate", "table", TITLES, "tables of Karras et al. 2022:")
    return int(actions.made(ACTIONS, arguments)())
