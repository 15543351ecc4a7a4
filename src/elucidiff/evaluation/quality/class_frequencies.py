"""How often a model's samples have each class, and whether the reference has them as often."""

from __future__ import annotations

import torch
from torch import Tensor

from elucidiff.data import Dataset
from elucidiff.denoisers.base import as_denoiser
from elucidiff.denoisers.labels import KnownLabels
from elucidiff.evaluation.model_and_data import places_of_classes
from elucidiff.evaluation.quality.samples import OfModel

# The share of the samples that is of other classes than in the reference, from which on it is worth a word; and how
# many times what chance alone makes of it.
_SHARE, _TIMES = 0.02, 3.0


def told_classes(images: OfModel) -> str:
    """How the classes of a model's samples are chosen, in a few words; empty where nothing is known of them."""
    known: KnownLabels = as_denoiser(images.denoiser).known_labels
    if not known.dim or known.kind == "vectors":
        return ""
    if isinstance(images.labels, Tensor):
        return ""
    if images.labels is not None:
        return "classes drawn equally often"
    shares = known.shares()
    return f"classes drawn as often as in training ({shares})" if shares else "classes drawn equally often"


def frequencies_advice(images: OfModel, reference: Dataset) -> str | None:
    """A line if the samples are of other classes than the reference, or of the same in other numbers; else None."""
    known: KnownLabels = as_denoiser(images.denoiser).known_labels
    if not known.dim or known.kind == "vectors" or reference.classes is None:
        return None
    drawn = _drawn(images, known)
    found = torch.zeros(known.dim + 1, dtype=torch.float64)  # the last for classes that the model does not know
    places = places_of_classes(reference, known)
    for index, count in enumerate(reference.class_counts):
        found[places.get(index, known.dim)] += count / len(reference)
    difference = float((drawn - found).abs().sum()) / 2
    chance = float((found * (1 - found) / len(reference)).sqrt().sum()) / 2
    if difference <= max(_SHARE, _TIMES * chance):
        return None
    worst = int((drawn - found).abs().argmax())
    name = known.name(worst) if worst < known.dim else "those that the model does not know"
    return (
        f"classes are not as frequent in the samples as in {reference.name} (class {name}: {float(drawn[worst]):.1%} "
        f"of the samples, {float(found[worst]):.1%} of the reference), and metrics count that: choose "
        "--labels, or a reference with the frequencies of the training data"
    )


def _drawn(images: OfModel, known: KnownLabels) -> Tensor:
    """The share of each class among the samples, and 0 for classes that are not known."""
    if isinstance(images.labels, Tensor):
        counts = known.rows(images.labels).sum(0).double()
    elif images.labels is None and known.counts:
        counts = torch.tensor(known.counts, dtype=torch.float64)
    else:
        counts = torch.zeros(known.dim, dtype=torch.float64)
        counts[list(known.trained)] = 1
    return torch.cat([counts / counts.sum(), counts.new_zeros(1)])
