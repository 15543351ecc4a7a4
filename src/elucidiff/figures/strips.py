"""Images at rising noise levels, and what denoisers make of them (Karras et al. 2022, Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, as_denoiser, ask
from elucidiff.denoisers.conditions import Conditions
from elucidiff.evaluation.model_and_data import IDEAL, TRAINED, Part, open_pictures
from elucidiff.figures.base import SILENT, Numbers, OfModel, ProgressBar
from elucidiff.figures.style import GREY, INK, level_text, new_figure, picture, pixels
from elucidiff.parts import part
from elucidiff.plain_data import numbers_from_text


@dataclass(frozen=True)
class Strips:
    """Images at several noise levels, and what denoisers make of them.

    Attributes:
        noisy: y + sigma n with the same unit noise n at all levels, ``(K, B, C, *spatial)``.
        denoised: D(y + sigma n; sigma) by the name of the denoiser, likewise.
        rms: root mean square distance of these to y, over all images, ``(K,)``.
    """

    noisy: Tensor
    denoised: Mapping[str, Tensor]
    rms: Mapping[str, Tensor]


@torch.no_grad()
def strips(
    denoisers: Mapping[str, DenoiserLike],
    images: Tensor,
    sigmas: Tensor,
    generator: torch.Generator,
    labels: Conditions | None = None,
) -> Strips:
    """Add noise to images, and take it away again in one evaluation.

    Args:
        denoisers: D(x, sigma) or, with labels, D(x, sigma, labels), by name; on the images' device.
        images: clean images y in units of the noise levels, ``(B, C, *spatial)``.
        sigmas: noise levels, ``(K,)``.
        generator: of the noise, on the CPU.
        labels: rows ``(B, label_dim)`` or other conditions, or None.

    Returns:
        Everything on the CPU, in float64.
    """
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype).to(images.device)
    noisy = [images + float(sigma) * noise for sigma in sigmas]
    denoised = {
        name: torch.stack(
            [ask(as_denoiser(denoiser), x, sigma, labels) for x, sigma in zip(noisy, sigmas, strict=True)]
        ).double()
        for name, denoiser in denoisers.items()
    }
    clean = images.double()
    return Strips(
        torch.stack(noisy).double().cpu(),
        {name: found.cpu() for name, found in denoised.items()},
        {name: (found - clean).square().flatten(1).mean(1).sqrt().cpu() for name, found in denoised.items()},
    )


Array = npt.NDArray[np.float64]

NAME = "strips"
# Inches: a picture, the space to the next one and to the next image, names, noise levels, and a line of errors.
_CELL, _GAP, _BETWEEN, _LEFT, _TOP, _LINE = 0.8, 0.05, 0.2, 1.2, 0.3, 0.2


def draw(
    sigmas: Array,
    noisy: Array,
    denoised: Mapping[str, Array],
    rms: Mapping[str, Array],
    *,
    sigma_data: float = 0.5,
) -> Figure:
    """Rows of one image after another: noisy, then each denoiser's; a column for each noise level.

    Noisy images are shown as ``x / sqrt(1 + (sigma / sigma_data)^2)``, which keeps their contrast. At the foot stand
    the root mean square errors of each denoiser over all images, in units of the data.

    Args:
        sigmas: noise levels, ``(K,)``.
        noisy: ``(K, B, C, H, W)``.
        denoised: name -> D of these, likewise.
        rms: name -> error at each level, ``(K,)``.
        sigma_data: standard deviation of the data, for display only.
    """
    images, aspect = noisy.shape[1], noisy.shape[-2] / noisy.shape[-1]
    rows = ["noisy image", *denoised]
    tall = _CELL * aspect
    block = len(rows) * (tall + _GAP) + _BETWEEN
    foot = _TOP + images * block
    width = _LEFT + len(sigmas) * (_CELL + _GAP) + _GAP
    height = foot + _LINE * len(denoised) + _GAP
    figure = new_figure(width, height)
    figure.set_layout_engine("none")  # a plain grid in inches

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / width, 1 - y / height, text, va="center", fontsize=8, **style)

    for column, sigma in enumerate(sigmas):
        left, contrast = _LEFT + column * (_CELL + _GAP), np.sqrt(1.0 + (sigma / sigma_data) ** 2)
        write(left + _CELL / 2, _TOP / 2, rf"$\sigma$ = {level_text(float(sigma))}", ha="center", color=INK)
        for image in range(images):
            shown = [noisy[column, image] / contrast, *(found[column, image] for found in denoised.values())]
            for row, values in enumerate(shown):
                bottom = _TOP + image * block + row * (tall + _GAP) + tall
                axes = figure.add_axes((left / width, 1 - bottom / height, _CELL / width, tall / height))
                picture(axes, pixels(values))
        for line, errors in enumerate(rms.values()):
            write(left + _CELL / 2, foot + (line + 0.5) * _LINE, _error_text(errors[column]), ha="center", color=GREY)
    for image in range(images):
        for row, name in enumerate(rows):
            write(_LEFT - 0.08, _TOP + image * block + row * (tall + _GAP) + tall / 2, name, ha="right", color=INK)
    for line, name in enumerate(rms):
        write(_LEFT - 0.08, foot + (line + 0.5) * _LINE, f"RMS error, {name.split()[0]}", ha="right", color=GREY)
    return figure


def numbers(
    sigmas: Array,
    noisy: Array,
    denoised: Mapping[str, Array],
    rms: Mapping[str, Array],
    command: str,
    *,
    sigma_data: float,
) -> Numbers:
    """The same as numbers to keep."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "sigmas": sigmas,
        "noisy": noisy.astype(np.float32),
        **{f"denoised/{name}": found.astype(np.float32) for name, found in denoised.items()},
        **{f"rms/{name}": found for name, found in rms.items()},
    }
    return Numbers(NAME, command, {"denoisers": list(denoised), "sigma_data": sigma_data}, arrays)


def _error_text(error: float) -> str:
    return f"{error:.2g}" if error >= 0.0005 else "0"


@part("figure", "strips")
@dataclass(frozen=True)
class StripsFigure(OfModel):
    """Real images at several noise levels, and what the exact denoiser of the training data and the model make of
    them (Karras et al. 2022, Fig. 1)."""

    summary: ClassVar[str] = "noisy images, and what denoisers make of them (Fig. 1)"
    title: ClassVar[str] = "From noisy images back"
    alternative: ClassVar[str] = "Rows of noisy images and of denoised ones by noise level"

    images: int = 3
    """Number of images."""
    part: Part = "training"
    """Which images: held-out, training, or all. The exact denoiser knows those of the training alone."""
    sigma: str = "0.05,0.1,0.2,0.5,1,2,5,20"
    """Noise levels, in units of the data, with commas between them."""
    seed: int = 0
    """Of the noise."""

    def measure(self, command: str, progress: ProgressBar = SILENT) -> Numbers:
        """Denoise."""
        sigmas = torch.tensor(numbers_from_text("sigma", self.sigma, float), dtype=torch.float64)
        opened = open_pictures(self.model, self.data, self.device, self.part, self.images)
        found = strips(
            {IDEAL: opened.ideal, TRAINED: opened.denoiser},
            opened.images,
            sigmas,
            torch.Generator().manual_seed(self.seed),
            opened.labels,
        )
        return numbers(
            sigmas.numpy(),
            found.noisy.numpy(),
            {name: values.numpy() for name, values in found.denoised.items()},
            {name: values.numpy() for name, values in found.rms.items()},
            command,
            sigma_data=opened.sigma_data,
        )

    @classmethod
    def redraw(cls, kept: Numbers) -> Figure:
        """The figure from numbers that were kept."""
        names, arrays = kept.facts["denoisers"], kept.arrays
        return draw(
            arrays["sigmas"],
            arrays["noisy"].astype(np.float64),
            {name: arrays[f"denoised/{name}"].astype(np.float64) for name in names},
            {name: arrays[f"rms/{name}"] for name in names},
            sigma_data=float(kept.facts["sigma_data"]),
        )

    @classmethod
    def explain(cls, kept: Numbers) -> str:
        """A paragraph for a report."""
        return """
            Noisy images, what the exact denoiser of the training data makes of them, and what the network does
            (Karras et al. 2022, Fig. 1). At high noise both answer with the mean of what is possible; at low noise
            the exact denoiser can only answer with images that it knows, while the network treats unseen ones as
            well.
            """
