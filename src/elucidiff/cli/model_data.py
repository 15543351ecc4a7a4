"""The data set that a model was trained on, and the part of it that a model is to be judged by."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from elucidiff import data
from elucidiff.data import Dataset
from elucidiff.denoisers.preconditioned import Denoiser

Part = Literal["auto", "held-out", "training", "all"]


def data_name(denoiser: Denoiser) -> str | None:
    """Name or path of the data set that a model was trained on; None if it does not tell."""
    facts = denoiser.facts.get("data")
    name = facts.get("name") if isinstance(facts, dict) else None
    return name if isinstance(name, str) else None


def part_of(dataset: Dataset, denoiser: Denoiser, part: Part) -> tuple[Tensor, str]:
    """Which images, and what to call them.

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


def labels_of(dataset: Dataset, denoiser: Denoiser, places: Tensor, name: str) -> Tensor | None:
    """The labels of images as the model takes them, (N, label_dim); None for a model without labels.

    Raises:
        ValueError: the model takes labels that the data set does not have.
    """
    if not denoiser.label_dim:
        return None
    if dataset.label_dim != denoiser.label_dim or dataset.label_kind != denoiser.label_kind:
        have = f"{dataset.label_kind} of width {dataset.label_dim}" if dataset.label_dim else "no labels"
        raise ValueError(
            f"the model takes {denoiser.label_kind} of width {denoiser.label_dim}, but {name} has {have}: "
            "give --labels"
        )
    return dataset.labels(places)


def _held_out(dataset: Dataset, denoiser: Denoiser) -> Tensor | None:
    """What was held out in training, if this is what it was trained on; the draw is the same for every run."""
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
    return data.split(whole, count)[1].source_rows
