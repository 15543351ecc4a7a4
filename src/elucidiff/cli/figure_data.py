"""A model and images of its data set, as figures about denoising need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import elucidiff
from elucidiff.cli.common.models import Part, data_name, labels_of, part_of
from elucidiff.data import Dataset, to_unit
from elucidiff.data.subsets import evenly_spread
from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.devices import choose_device
from elucidiff.figures.style import is_picture

_VALUES = 1 << 26
"""So many values of images the exact denoiser knows at most; of a larger set, images evenly spread over it."""


@dataclass(frozen=True)
class Opened:
    """A model on its device, the data set that it is looked at with, and some of its images.

    Attributes:
        denoiser: the model.
        ideal: the posterior mean over the training images (Karras et al. 2022, Eq. 57), of each class alone where
            the model knows classes.
        images: ``(B, C, H, W)`` in units of the noise levels.
        labels: rows ``(B, label_dim)``, or None.
    """

    denoiser: Denoiser
    ideal: DataPosterior
    images: Tensor
    labels: Tensor | None

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the data, as the model was told."""
        return sigma_data(self.denoiser)


def open_model_and_data(model: Path, data: str | None, device: str) -> tuple[Denoiser, Dataset]:
    """The model on its device, and the data set it was trained on or another one that fits.

    Raises:
        ValueError: nobody says what data there are, or they do not fit the model.
        OSError: something cannot be read.
    """
    denoiser = elucidiff.load(model).eval().to(choose_device(device))
    name = data or data_name(denoiser)
    if name is None:
        raise ValueError(f"{model} does not tell what data it is of: name a data set after it")
    dataset = elucidiff.data.open(name)
    if dataset.shape != denoiser.sample_shape:
        raise ValueError(
            f"{model} makes samples of shape {denoiser.sample_shape}, but those of {dataset.name} are "
            f"{dataset.shape}: name the data that it was trained on"
        )
    return denoiser, dataset


def open_pictures(model: Path, data: str | None, device: str, part: Part, count: int) -> Opened:
    """The model, the exact denoiser of its training images, and ``count`` pictures of a part of the data.

    Raises:
        ValueError: as :func:`open_model_and_data`; the samples are no pictures, or the model takes label vectors.
        OSError: something cannot be read.
    """
    if count < 1:
        raise ValueError(f"--images is {count}: choose at least 1")
    denoiser, dataset = open_model_and_data(model, data, device)
    if not is_picture(dataset.shape):
        raise ValueError(f"{model} makes samples of shape {dataset.shape}, which are no pictures")
    if denoiser.label_dim and denoiser.label_kind == "vectors":
        raise ValueError(f"{model} takes label vectors: there is an exact denoiser for classes only")
    training = training_part(dataset, denoiser)
    known = torch.from_numpy(evenly_spread(training.numpy(), max(1, _VALUES // int(np.prod(dataset.shape)))))
    shown = known if part == "training" else part_of(dataset, denoiser, part)[0]
    chosen = torch.from_numpy(evenly_spread(shown.numpy(), count))
    labels = labels_of(dataset, denoiser, chosen, dataset.name)
    classes = None if labels is None or dataset.classes is None else dataset.classes[known]
    place = next(denoiser.parameters()).device
    return Opened(
        denoiser,
        DataPosterior(to_unit(dataset.images(known)), classes).to(place),
        to_unit(dataset.images(chosen)).to(place),
        None if labels is None else labels.to(place),
    )


def training_part(dataset: Dataset, denoiser: Denoiser) -> Tensor:
    """Places of the images that the model was trained on; of all, where it does not tell."""
    try:
        return part_of(dataset, denoiser, "training")[0]
    except ValueError:
        return part_of(dataset, denoiser, "all")[0]


def sigma_data(denoiser: Denoiser) -> float:
    """Standard deviation of the data, as the model was told; that of the paper, 0.5, where it was not."""
    return float(getattr(denoiser.preconditioning, "sigma_data", 0.5))


def skip_alone(denoiser: Denoiser) -> Callable[..., Tensor]:
    """The denoiser that the model's preconditioning makes of a network whose output is 0: c_skip(sigma) x."""

    def skipped(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return denoiser.preconditioning.c_skip(sigma) * x

    return skipped
