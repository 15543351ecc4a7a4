"""A model and the images of its data set that it is compared with."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

import elucidiff
from elucidiff import data as data_sets
from elucidiff.data import Dataset, scaling_of
from elucidiff.data.scaling import is_picture
from elucidiff.data.subsets import evenly_spread
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.denoisers.labels import KnownLabels

Part = Literal["auto", "held-out", "training", "all"]
IDEAL, TRAINED = "exact denoiser", "trained network"

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

    denoiser: DenoiserModule
    ideal: DataPosterior
    images: Tensor
    labels: Tensor | None

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the data that the model is made for."""
        return self.denoiser.sigma_data


def open_model_and_data(model: Path, data: str | None, device: str) -> tuple[DenoiserModule, Dataset]:
    """The model on its device, and the data set it was trained on or another one that fits.

    Raises:
        ValueError: nobody says what data there are, or they do not fit the model.
        OSError: something cannot be read.
    """
    denoiser = elucidiff.load(model, device)
    denoiser.known_labels.refuse_field("a comparison with a data set")
    name = data or data_name(denoiser)
    if name is None:
        raise ValueError(f"{model} does not tell what data it is of: name a data set after it")
    dataset = data_sets.open(name)
    check_shapes(denoiser, dataset)
    return denoiser, dataset


def check_shapes(denoiser: DenoiserModule, dataset: Dataset) -> None:
    """Raise ValueError if a data set has images of another shape than the samples of a model, or, of latents, than
    the pictures that they are decoded to."""
    shape = tuple(denoiser.sample_shape)
    if dataset.shape not in (shape, scaling_of(denoiser).data_shape(shape)):
        raise ValueError(
            f"the model makes samples of shape {denoiser.sample_shape}, but those of {dataset.name} are "
            f"{dataset.shape}: name the data that it was trained on"
        )


def digest_of(values: Tensor) -> str:
    """SHA-256 of the values of a tensor on the CPU."""
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()


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
    classes = None if labels is None else labels_of(dataset, denoiser, known, dataset.name)
    place, scaling = denoiser.device, scaling_of(denoiser)
    return Opened(
        denoiser,
        DataPosterior(scaling.to_model(dataset.images(known)), classes).to(place),
        scaling.to_model(dataset.images(chosen)).to(place),
        None if labels is None else labels.to(place),
    )


def training_part(dataset: Dataset, denoiser: DenoiserModule) -> Tensor:
    """Places of the images that the model was trained on; of all, where it does not tell."""
    try:
        return part_of(dataset, denoiser, "training")[0]
    except ValueError:
        return part_of(dataset, denoiser, "all")[0]


def data_name(denoiser: DenoiserModule) -> str | None:
    """Name or path of the data set that a model was trained on; None if it does not tell."""
    facts = denoiser.facts.get("data")
    name = facts.get("name") if isinstance(facts, dict) else None
    return name if isinstance(name, str) else None


def part_of(dataset: Dataset, denoiser: DenoiserModule, part: Part) -> tuple[Tensor, str]:
    """The images of a part, and their name.

    Args:
        dataset: all of it.
        denoiser: whose ``facts`` tell what it was trained on.
        part: ``auto`` is what was held out, where the data are those that the model was trained on, and else all.

    Returns:
        places in the data set, (N,), and words such as "held-out images".

    Raises:
        ValueError: nothing is known of such a part.
    """
    held_out = _held_out(dataset, denoiser)
    if part == "all" or (part == "auto" and held_out is None):
        return torch.arange(len(dataset)), "images"
    if held_out is None:
        raise ValueError(
            f"the model was not trained on {dataset.name} with images held out, as far as it tells: leave --part out"
        )
    chosen = torch.zeros(len(dataset), dtype=torch.bool)
    chosen[held_out] = True
    wanted = chosen if part in ("auto", "held-out") else ~chosen
    return wanted.nonzero().flatten(), "training images" if part == "training" else "held-out images"


def labels_of(dataset: Dataset, denoiser: DenoiserModule, places: Tensor, name: str) -> Tensor | None:
    """The labels of images as the model takes them, (N, label_dim); None for a model without labels.

    Raises:
        ValueError: the model takes labels that the data set does not have.
    """
    known = denoiser.known_labels
    if not known.dim:
        return None
    alike = dataset.label_kind == known.kind and (known.kind == "classes" or dataset.label_dim == known.dim)
    if not alike:
        have = f"{dataset.label_kind} of width {dataset.label_dim}" if dataset.label_dim else "no labels"
        raise ValueError(f"the model takes {known.kind} of width {known.dim}, but {name} has {have}: give --labels")
    if dataset.classes is None:
        return dataset.labels(places)
    place_of, classes = places_of_classes(dataset, known), dataset.classes[places]
    for index in sorted(set(classes.tolist())):
        if index not in place_of:
            called = dataset.class_names[index] if dataset.class_names else index
            raise ValueError(
                f"{name} has images of class {called}, but the model knows {known.listed}: give --labels"
            )
    of_model = torch.tensor([place_of.get(index, 0) for index in range(dataset.label_dim)])
    return torch.nn.functional.one_hot(of_model[classes], known.dim).float()


def places_of_classes(dataset: Dataset, known: KnownLabels) -> dict[int, int]:
    """For each class of a data set that a model knows, too, its place there: by name, or else by number."""
    found: dict[int, int] = {}
    unnamed = not known.names and dataset.label_dim == known.dim
    for index in range(dataset.label_dim):
        label = index if unnamed or not dataset.class_names else dataset.class_names[index]
        with contextlib.suppress(ValueError):
            found[index] = known.place(label)
    return found


def _held_out(dataset: Dataset, denoiser: DenoiserModule) -> Tensor | None:
    """Images that were held out in training, if these data were trained on; the draw is the same for every run."""
    trained_on = denoiser.facts.get("data")
    provenance = denoiser.facts.get("provenance")
    training = provenance.get("training") if isinstance(provenance, dict) else None
    if not isinstance(trained_on, dict) or not isinstance(training, dict):
        return None
    same = (trained_on.get("name"), trained_on.get("shape"), trained_on.get("count")) == (
        dataset.name,
        list(dataset.shape),
        len(dataset),
    )
    count = training.get("validation_images")
    if not same or not isinstance(count, int) or not 0 < count < len(dataset):
        return None
    whole = dataset if training.get("conditional") else dataset.without_labels()
    return data_sets.split(whole, count)[1].source_rows
