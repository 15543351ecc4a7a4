"""``elucidiff ablate sampling|churn|alpha``: one model, many ways to sample from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from elucidiff.cli.ablate_table import Report, carry_out, chosen_from, words
from elucidiff.cli.common.models import IDEAL, open_model
from elucidiff.denoisers.backends import Backend
from elucidiff.devices import choose_device
from elucidiff.evaluation.ablation import (
    SamplingAblation,
    SamplingConfiguration,
    alpha_configurations,
    churn_configurations,
    sampling_configurations,
)
from elucidiff.plain_data import numbers_from_text
from elucidiff.sampling import Churn, Sampler, load_named
from elucidiff.sampling.sampler import parse_choice


@dataclass(frozen=True)
class OfSampling:
    model: tyro.conf.Positional[str]
    """A model folder; or ideal, for the exact denoiser of --data: the posterior mean over all of its images."""
    data: str | None = None
    """Name or path of the data set by which samples are judged. Left out: what the model was trained on."""
    nfe: str = "11,35,79"
    """Network evaluations per sample, with commas between them."""
    seeds: int = 3
    """Blocks of images, each with seeds of its own, for a mean and its standard error."""
    images: int = 512
    """Images in each block."""
    exact_images: int = 64
    """So many of them are compared with exact solutions of the ODE, where no noise is added; 0 for none."""
    extractor: str = "pca-20"
    """What describes samples, to compare them with the data, as for `elucidiff evaluate`: pca-20 for principal
    components of small images; none for the truncation error alone."""
    metrics: str = "fid"
    """Figures of quality, with commas between them: fid, kid, precision, recall, is."""
    labels: str | None = None
    """Classes that each seed draws one of, such as 0-9 or cat,dog, equally often; uniform for all of them; or a label
    vector, or a .npy. If this is left out, each is drawn as often as the training data had it."""
    any_class: bool = False
    """Take --labels even if the training data had no image of that class."""
    only: str | None = None
    """Some of the configurations, by name, with commas between them."""
    sigma_min: float | None = None
    """Lowest noise level of the paper's steps (0.002)."""
    sigma_max: float | None = None
    """Highest noise level of the paper's steps (80)."""
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
    """Folder of the table and of all measurements (ablations/KIND-MODEL). What is there is not measured again."""
    plan: bool = False
    """Say what there is to do and about how long it takes, and do nothing."""

    kind: ClassVar[str]
    title: ClassVar[str]

    def run(self, rows: Sequence[SamplingConfiguration], reference: str) -> int:
        """Measure what is missing, and print the table."""
        names = chosen_from({each.name: each.what for each in rows}, self.only)
        chosen, budgets = [each for each in rows if each.name in names], numbers_from_text("nfe", self.nfe, int)
        place = choose_device(self.device)
        studied = open_model(
            self.model,
            self.data,
            place,
            backend=self.backend,
            batch_size=self.batch_size,
            labels=self.labels,
            any_class=self.any_class,
        )
        evaluator = studied.judge(self.extractor, words(self.metrics), self.images, place, self.batch_size)
        ablation = SamplingAblation(
            studied.denoiser,
            chosen,
            budgets,
            blocks=self.seeds,
            images=self.images,
            exact_images=self.exact_images,
            evaluator=evaluator,
            first_seed=self.first_seed,
            batch_size=self.batch_size,
        )
        facts = {
            "kind": self.kind,
            **studied.facts,
            **{field: getattr(self, field) for field in ("images", "exact_images", "first_seed", "batch_size")},
        }
        report = Report(
            f"{self.title}: {studied.name}, {self.images} samples a seed",
            names,
            {each.name: reference for each in rows if each.name != reference},
            evaluator,
            facts,
            self.kind,
            studied.id,
            {each.name: {"method": each.method, **each.sampler.to_plain()} for each in chosen},
            Sampler().to_plain(),
            self.out or Path("ablations") / f"{self.kind}-{studied.name}",
        )
        return carry_out(ablation, report, only_plan=self.plan)


@dataclass(frozen=True)
class SamplingTable(OfSampling):
    """Deterministic sampling (Karras et al. 2022, Table 3): VP, VE and DDIM as they were, then with Heun and the
    paper's steps, then with sigma = t and s = 1, at the same numbers of network evaluations."""

    kind: ClassVar[str] = "sampling"
    title: ClassVar[str] = "Deterministic sampling (Table 3)"

    def __call__(self) -> int:
        """See the class."""
        return self.run(sampling_configurations(self.sigma_min, self.sigma_max), "edm")


@dataclass(frozen=True)
class ChurnTable(OfSampling):
    """Stochastic sampling (Karras et al. 2022, Tables 4 and 5): what S_churn, S_tmin and S_tmax, and S_noise add to
    the deterministic sampler, beside the samplers of Song et al. `elucidiff search` finds settings for a model."""

    churn: str = "30,sigma_min=0.05,sigma_max=1,noise_scale=1.007"
    """S_churn, S_tmin, S_tmax and S_noise, all of them."""
    sampler: str | None = None
    """Take these four from a sampler beside the model, by its name or path, instead."""

    kind: ClassVar[str] = "churn"
    title: ClassVar[str] = "Stochastic sampling (Tables 4 and 5)"

    def __call__(self) -> int:
        """See the class."""
        churn = parse_choice("churn", self.churn) or Churn()
        if self.sampler is not None:
            if self.model == IDEAL:
                raise ValueError("--sampler is for a model folder: the exact denoiser has no samplers beside it")
            churn = load_named(self.model, self.sampler).sampler.churn or Churn()
        return self.run(churn_configurations(churn, self.sigma_min, self.sigma_max), "deterministic")


@dataclass(frozen=True)
class AlphaTable(OfSampling):
    """Second-order methods (Karras et al. 2022, App. D.2) by where their second evaluation lies: 0.5 is the midpoint
    method, 1 Heun's, 1.1 the paper's best."""

    alphas: str = "0.5,0.6,0.7,0.8,0.9,1,1.1"
    """The values of alpha, with commas between them. Beyond 1 the second evaluation lies past the end of the step,
    and at the last steps past noise level 0, where the ODE goes on as an odd function."""

    kind: ClassVar[str] = "alpha"
    title: ClassVar[str] = "Second-order methods (App. D.2)"

    def __call__(self) -> int:
        """See the class."""
        rows = alpha_configurations(numbers_from_text("alphas", self.alphas, float), self.sigma_min, self.sigma_max)
        names = [row.name for row in rows]
        return self.run(rows, "alpha-1" if "alpha-1" in names else names[-1])
