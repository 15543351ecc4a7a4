"""``elucidiff ablate sampling|churn|alpha``: one model, many ways to sample from it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import tyro

from elucidiff.cli.ablate.options import Ablation
from elucidiff.denoisers.backends import Backend
from elucidiff.evaluation.ablation import (
    Filled,
    SamplingTable,
    ablate_sampling,
    alpha_table,
    churn_table,
    deterministic_table,
)
from elucidiff.evaluation.ablation.measure import IDEAL
from elucidiff.launch.interrupt import Watch
from elucidiff.plain_data import numbers_from_text
from elucidiff.sampling import Churn, load_named
from elucidiff.sampling.sampler import parse_choice


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
        """What is compared."""

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
    paper's steps, then with sigma = t and s = 1, at the same numbers of network evaluations."""

    def table(self) -> SamplingTable:
        """See the class."""
        return deterministic_table(self.sigma_min, self.sigma_max)


@dataclass(frozen=True)
class ChurnOptions(OfSampling):
    """Stochastic sampling (Karras et al. 2022, Tables 4 and 5): what S_churn, S_tmin and S_tmax, and S_noise add to
    the deterministic sampler, beside the samplers of Song et al. `elucidiff search` finds settings for a model."""

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
    method, 1 Heun's, 1.1 the paper's best."""

    alphas: str = "0.5,0.6,0.7,0.8,0.9,1,1.1"
    """The values of alpha, with commas between them. Beyond 1 the second evaluation lies past the end of the step,
    and at the last steps past noise level 0, where the ODE goes on as an odd function."""

    def table(self) -> SamplingTable:
        """See the class."""
        return alpha_table(numbers_from_text("alphas", self.alphas, float), self.sigma_min, self.sigma_max)
