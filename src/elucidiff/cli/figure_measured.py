"""Figures that are measured before they are drawn: ``elucidiff figure curvature`` and others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor

import elucidiff
from elucidiff.cli.ablate_table import numbers
from elucidiff.cli.common.models import Part, labels_of, part_of
from elucidiff.cli.common.progress import Progress
from elucidiff.cli.figure_data import open_model_and_data, open_pictures, sigma_data, skip_alone, training_part
from elucidiff.data import to_unit
from elucidiff.data.subsets import evenly_spread
from elucidiff.design import objectives, schedules
from elucidiff.design.steps import Karras
from elucidiff.devices import choose_device
from elucidiff.evaluation.curvature import paths
from elucidiff.evaluation.loss_per_sigma import loss_per_sigma as measure_loss
from elucidiff.evaluation.noise_use import training_objective
from elucidiff.evaluation.repeated_churn import LOOKS
from elucidiff.evaluation.repeated_churn import repeated_churn as measure_churn
from elucidiff.evaluation.step_errors import RHOS
from elucidiff.evaluation.step_errors import step_errors as measure_steps
from elucidiff.evaluation.strips import strips as measure_strips
from elucidiff.figures import curvature, loss_per_sigma, repeated_churn, step_errors, strips
from elucidiff.figures.numbers import Numbers
from elucidiff.sampling.ranges import range_for
from elucidiff.sampling.seeds import parse_seeds

IDEAL, TRAINED = "exact denoiser", "trained network"


@dataclass(frozen=True)
class Curvature:
    """Solutions of the ODE of VP, VE and EDM for data on a line, in closed form, and by how much they turn (Karras et
    al. 2022, Fig. 3)."""

    means: tuple[float, ...] = (-1.0, 1.0)
    """The data: points, or the middles of Gaussians."""
    std: float = 0.0
    """Standard deviation of these Gaussians; 0 for points."""
    sigma_max: float = 25.0
    """Highest noise level of the upper row."""
    near: float = 1.0
    """Highest noise level of the lower row."""
    out: Path = Path("curvature.png")
    """File to write; an SVG and the numbers (.npz) go beside it."""

    def measure(self, command: str) -> Numbers:
        """Solve."""
        every = {"VP": schedules.VP(), "VE": schedules.VE(), "EDM": schedules.EDM()}
        panels = {
            name: [
                paths(schedule, means=self.means, std=self.std, sigma_max=top) for top in (self.sigma_max, self.near)
            ]
            for name, schedule in every.items()
        }
        return curvature.numbers(panels, command)


@dataclass(frozen=True)
class OfModel:
    model: tyro.conf.Positional[Path]
    """A model folder."""
    data: tyro.conf.Positional[str | None] = None
    """Name or path of a data set. Left out: what the model was trained on."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    batch_size: int = 16
    """Images in one call of the network."""


@dataclass(frozen=True)
class Strips(OfModel):
    """Real images at several noise levels, and what the exact denoiser of the training data and the model make of
    them (Karras et al. 2022, Fig. 1)."""

    images: int = 3
    """How many images."""
    part: Part = "training"
    """Which images: held-out, training, or all. The exact denoiser knows those of the training alone."""
    sigma: str = "0.05,0.1,0.2,0.5,1,2,5,20"
    """Noise levels, in units of the data, with commas between them."""
    seed: int = 0
    """Of the noise."""
    out: Path = Path("strips.png")
    """File to write; an SVG and the numbers (.npz) go beside it."""

    def measure(self, command: str) -> Numbers:
        """Denoise."""
        sigmas = torch.tensor(numbers("sigma", self.sigma, float), dtype=torch.float64)
        opened = open_pictures(self.model, self.data, self.device, self.part, self.images)
        found = measure_strips(
            {IDEAL: opened.ideal, TRAINED: opened.denoiser},
            opened.images,
            sigmas,
            torch.Generator().manual_seed(self.seed),
            opened.labels,
        )
        return strips.numbers(
            sigmas.numpy(),
            found.noisy.numpy(),
            {name: values.numpy() for name, values in found.denoised.items()},
            {name: values.numpy() for name, values in found.rms.items()},
            command,
            sigma_data=opened.sigma_data,
        )


@dataclass(frozen=True)
class RepeatedChurn(OfModel):
    """What many rounds of adding noise and taking it away do to images, with the exact denoiser and with the model
    (Karras et al. 2022, App. E.1)."""

    images: int = 64
    """How many images to begin with."""
    part: Part = "training"
    """Which images: held-out, training, or all. The exact denoiser knows those of the training alone."""
    sigma_min: float = 0.1
    """Noise level at which a cycle begins and ends."""
    sigma_max: float = 0.5
    """Noise level to which it goes up."""
    noise_scale: float = 1.0
    """S_noise: standard deviation of the noise that is added."""
    cycles: str = ",".join(map(str, LOOKS))
    """After how many cycles to look, with commas between them."""
    seed: int = 0
    """Of the noise."""
    out: Path = Path("repeated-churn.png")
    """File to write; an SVG and the numbers (.npz) go beside it."""

    def measure(self, command: str) -> Numbers:
        """Churn."""
        looks = numbers("cycles", self.cycles, int)
        opened = open_pictures(self.model, self.data, self.device, self.part, self.images)
        traces = {}
        with Progress("churning", 2 * looks[-1], "cycles") as bar:
            for number, (name, denoiser) in enumerate({IDEAL: opened.ideal, TRAINED: opened.denoiser}.items()):

                def tick(done: int, before: int = number * looks[-1]) -> None:
                    bar.reach(before + done)

                traces[name] = measure_churn(
                    denoiser,
                    opened.images,
                    sigma_min=self.sigma_min,
                    sigma_max=self.sigma_max,
                    noise_scale=self.noise_scale,
                    looks=looks,
                    labels=opened.labels,
                    seed=self.seed,
                    batch_size=self.batch_size,
                    progress=tick,
                )
        return repeated_churn.numbers(traces, (self.sigma_min, self.sigma_max), command)


@dataclass(frozen=True)
class StepErrors:
    """The error of single Heun steps by noise level for several rho, the rho that makes it even, and what errors add
    up to (Karras et al. 2022, Fig. 13)."""

    model: tyro.conf.Positional[Path]
    """A model folder."""
    n: int = 18
    """Number of steps."""
    rho: str = ",".join(f"{rho:g}" for rho in RHOS)
    """Exponents of karras steps, with commas between them."""
    seeds: str = "0-31"
    """Seeds of the samples."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    batch_size: int = 16
    """Images in one call of the network."""
    out: Path = Path("step-errors.png")
    """File to write; an SVG and the numbers (.npz) go beside it."""

    def measure(self, command: str) -> Numbers:
        """Take the steps."""
        rhos, seeds = numbers("rho", self.rho, float), parse_seeds(self.seeds)
        for rho in rhos:
            Karras(self.n, rho=rho)  # refuses what are no steps
        denoiser = elucidiff.load(self.model).eval().to(choose_device(self.device))
        with Progress("solving", len(rhos), "values of rho") as bar:
            errors = measure_steps(
                denoiser, seeds, n=self.n, rhos=rhos, batch_size=self.batch_size, progress=bar.reach
            )
        return step_errors.numbers(errors, command)


@dataclass(frozen=True)
class LossPerSigma(OfModel):
    """The loss at each noise level on held-out and training images, beside a network whose output is 0, over the
    noise levels that training draws (Karras et al. 2022, Fig. 5a)."""

    images: int = 128
    """How many images of each part."""
    levels: int = 24
    """Number of noise levels."""
    seed: int = 0
    """Of the noise."""
    out: Path = Path("loss-per-sigma.png")
    """File to write; an SVG and the numbers (.npz) go beside it."""

    def measure(self, command: str) -> Numbers:
        """Denoise."""
        denoiser, dataset = open_model_and_data(self.model, self.data, self.device)
        objective = training_objective(denoiser.facts) or objectives.EDM()
        low, high = range_for(sigma_data(denoiser))
        low, high = math.log10(max(low, denoiser.sigma_min)), math.log10(min(high, denoiser.sigma_max))
        sigma = torch.logspace(low, high, self.levels, dtype=torch.float64)
        held_out, what = part_of(dataset, denoiser, "auto")
        parts = {what: held_out, "training images": training_part(dataset, denoiser)}
        if what == "images":
            parts.pop("training images")  # nobody tells which they are
        place = next(denoiser.parameters()).device
        losses: dict[str, npt.NDArray[np.float64]] = {}
        for name, places in parts.items():
            chosen = torch.from_numpy(evenly_spread(places.numpy(), self.images))
            labels = labels_of(dataset, denoiser, chosen, dataset.name)
            curves: dict[str, Callable[..., Tensor]] = {f"the network, {name}": denoiser}
            if not losses:
                curves = {f"a network whose output is 0, {name}": skip_alone(denoiser), **curves}
            for title, kind in curves.items():
                losses[title] = measure_loss(
                    kind,
                    to_unit(dataset.images(chosen)).to(place),
                    sigma,
                    weight=objective.weight,
                    generator=torch.Generator().manual_seed(self.seed),
                    labels=None if labels is None else labels.to(place),
                    batch_size=self.batch_size,
                ).numpy()
        density = objective.noise.log_density(sigma).exp().numpy()
        return loss_per_sigma.numbers(sigma.numpy(), losses, density, command)
