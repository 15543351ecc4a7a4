"""Loss against noise level, with the distribution that training draws from (after Karras et al. 2022, Fig. 5a)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter
from torch import Tensor

from elucidiff.data import scaling_of
from elucidiff.data.subsets import evenly_spread
from elucidiff.design import objectives
from elucidiff.design.training_noise import LogNormal
from elucidiff.evaluation.loss_per_sigma import NoiseUse, training_objective
from elucidiff.evaluation.loss_per_sigma import loss_per_sigma as measure_loss
from elucidiff.evaluation.model_and_data import (
    labels_of,
    open_model_and_data,
    part_of,
    training_part,
)
from elucidiff.figures.base import SILENT, Numbers, OfModel, ProgressBar
from elucidiff.figures.style import GREY, LINES, PALETTE, PURPLE, new_figure, quiet
from elucidiff.parts import part
from elucidiff.sampling.grid import range_for

NAME = "loss-per-sigma"


def draw(
    sigma: npt.NDArray[np.float64],
    loss: Mapping[str, npt.NDArray[np.float64]],
    density: npt.NDArray[np.float64],
    *,
    suggested: npt.NDArray[np.float64] | None = None,
    lowest: float | None = None,
) -> Figure:
    """Curves of the weighted loss, above the density of ln(sigma) in training.

    Args:
        sigma: noise levels, ``(K,)``, in units of the data.
        loss: name -> mean of lambda(sigma) |D(y + n; sigma) - y|^2 per pixel at each level, ``(K,)``.
        density: p_train as a density over ln(sigma), ``(K,)``.
        suggested: the same of another distribution, drawn as a line over it.
        lowest: where the axis of the loss ends; curves may leave the picture there. None: below all.
    """
    figure = new_figure(7.0, 4.2)
    curves, noise = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    for colour, line, (name, values) in zip(PALETTE, LINES, loss.items(), strict=False):
        curves.plot(sigma, values, color=colour, linestyle=line, label=name, linewidth=1.8)
    curves.set(xscale="log", yscale="log", ylabel=r"loss per pixel, $\lambda(\sigma)\,|D - y|^2$")
    curves.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    curves.yaxis.set_major_formatter(ScalarFormatter())
    curves.yaxis.set_minor_locator(NullLocator())
    if lowest is not None:
        curves.set_ylim(lowest, 1.5 * max(float(values.max()) for values in loss.values()))
    # Above the axes: there is no corner that curves of every data set leave free.
    curves.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=2)
    noise.fill_between(sigma, density, color=GREY, alpha=0.35, linewidth=0, label="as trained")
    if suggested is not None:
        noise.plot(sigma, suggested, color=PURPLE, linewidth=1.4, label="suggested")
        noise.legend(frameon=False, fontsize=8, loc="upper right")
    noise.set(xlabel=r"noise level $\sigma$ (units of the data)", ylabel=r"$p_{\mathrm{train}}$", yticks=[])
    noise.set_ylim(bottom=0)
    for axes in (curves, noise):
        quiet(axes)
    return figure


def draw_use(use: NoiseUse) -> Figure:
    """A model's loss beside those of the linear and the ideal denoiser, and the training noise that would suit it."""
    suggested = None
    if use.p_mean is not None and use.p_std is not None:
        suggested = LogNormal(use.p_mean, use.p_std).log_density(torch.from_numpy(use.sigma)).exp().numpy()
    losses = {
        "this model": use.model,
        "linear filter (no training)": use.linear,
        "ideal: knows every image": use.memory,
    }
    return draw(use.sigma, losses, use.density, suggested=suggested, lowest=0.3 * float(use.model.min()))


def numbers(
    sigma: npt.NDArray[np.float64],
    loss: Mapping[str, npt.NDArray[np.float64]],
    density: npt.NDArray[np.float64],
    command: str,
) -> Numbers:
    """The same as numbers to keep."""
    arrays = {"sigma": sigma, "density": density, **{f"loss/{name}": values for name, values in loss.items()}}
    return Numbers(NAME, command, {"curves": list(loss)}, arrays)


@part("figure", "loss_per_sigma")
@dataclass(frozen=True)
class LossPerSigmaFigure(OfModel):
    """The loss at each noise level on held-out and training images, beside a network whose output is 0, over the
    noise levels that training draws (Karras et al. 2022, Fig. 5a)."""

    summary: ClassVar[str] = "the loss at each noise level, and where training looks (Fig. 5)"
    title: ClassVar[str] = "Loss by noise level"
    alternative: ClassVar[str] = "Loss against noise level above training's density"

    images: int = 128
    """Number of images of each part."""
    levels: int = 24
    """Number of noise levels."""
    seed: int = 0
    """Of the noise."""

    def measure(self, command: str, progress: ProgressBar = SILENT) -> Numbers:
        """Denoise."""
        denoiser, dataset = open_model_and_data(self.model, self.data, self.device)
        objective = training_objective(denoiser.facts) or objectives.EDM()
        low, high = range_for(denoiser.sigma_data)
        low, high = math.log10(max(low, denoiser.sigma_min)), math.log10(min(high, denoiser.sigma_max))
        sigma = torch.logspace(low, high, self.levels, dtype=torch.float64)
        held_out, what = part_of(dataset, denoiser, "auto")
        parts = {what: held_out, "training images": training_part(dataset, denoiser)}
        if what == "images":
            parts.pop("training images")  # nobody tells which they are

        def without_network(x: Tensor, sigma: Tensor, labels: object = None) -> Tensor:
            return denoiser.without_network(x, sigma)  # which takes no account of labels

        place = denoiser.device
        losses: dict[str, npt.NDArray[np.float64]] = {}
        for name, places in parts.items():
            chosen = torch.from_numpy(evenly_spread(places.numpy(), self.images))
            labels = labels_of(dataset, denoiser, chosen, dataset.name)
            curves: dict[str, Callable[..., Tensor]] = {f"the network, {name}": denoiser}
            if not losses:
                curves = {f"a network whose output is 0, {name}": without_network, **curves}
            for title, kind in curves.items():
                losses[title] = measure_loss(
                    kind,
                    scaling_of(denoiser).to_model(dataset.images(chosen)).to(place),
                    sigma,
                    weight=objective.weight,
                    generator=torch.Generator().manual_seed(self.seed),
                    labels=None if labels is None else labels.to(place),
                    batch_size=self.batch_size,
                ).numpy()
        density = objective.noise.log_density(sigma).exp().numpy()
        return numbers(sigma.numpy(), losses, density, command)

    @classmethod
    def redraw(cls, kept: Numbers) -> Figure:
        """The figure from numbers that were kept."""
        loss = {name: kept.arrays[f"loss/{name}"] for name in kept.facts["curves"]}
        return draw(kept.arrays["sigma"], loss, kept.arrays["density"])

    @classmethod
    def explain(cls, kept: Numbers) -> str:
        """A paragraph for a report."""
        return """
            The weighted loss at each noise level, over the noise levels that training draws (Karras et al. 2022,
            Fig. 5a). At very low noise nothing can be learned and at very high noise there is little to learn, so
            training should look where the curve of the network falls below that of a network whose output is 0.
            """
