"""The labels and conditions of a data set, as a denoiser is given them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.data.dataset import Dataset, Indices
from elucidiff.data.normalisation import Standard
from elucidiff.data.scaling import Pixels, Scaling, moments_of
from elucidiff.denoisers.base import AnyDenoiser
from elucidiff.denoisers.conditions import Conditions
from elucidiff.networks.fields import FIELD, LABELS


@dataclass(frozen=True)
class ConditionScaling:
    """From stored conditions to what a network sees: 8-bit levels in [-1, 1], numbers with mean 0 and std 1.

    The latter are measured in each channel of the training data. Constant channels become 0, and so do missing values
    (NaN): the mean.

    Args:
        scaling: of the values, measured.

    >>> import elucidiff as ed
    >>> kelvin = 280 + 10 * torch.randn(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> pairs = ed.data.Dataset.from_arrays(torch.zeros(200, 1, 8, 8, dtype=torch.uint8), conditions=kelvin)
    >>> x = ed.data.ConditionScaling.measured(pairs).to_model(pairs.conditions())
    >>> abs(round(float(x.mean()), 3)), round(float(x.std()), 2)
    (0.0, 1.0)
    """

    scaling: Scaling

    @classmethod
    def measured(cls, dataset: Dataset) -> ConditionScaling:
        """That of the conditions of a training set."""
        fields = dataset.of_conditions()
        if fields.dtype == torch.uint8:
            return cls(Pixels())
        moments = moments_of(fields)
        stds = torch.where(moments.highs > moments.lows, moments.channel_stds, 1.0)
        return cls(Standard(tuple(moments.means.tolist()), tuple(stds.tolist())))

    @classmethod
    def of(cls, denoiser: AnyDenoiser) -> ConditionScaling:
        """That of the conditions that a model was trained with, by its facts; 8-bit levels where they do not tell.

        Raises:
            ValueError: the facts hold something else.
        """
        facts = denoiser.facts.get("data")
        known: dict[str, Any] = facts if isinstance(facts, dict) else {}
        if "condition_scaling" not in known:
            return cls(Pixels())
        return cls(parts.from_plain("scaling", known["condition_scaling"]))

    def to_model(self, stored: Tensor) -> Tensor:
        """Conditions as a network sees them, for those ``(B, C, *spatial)`` as the data set holds them; float32.

        Raises:
            ValueError: they have another type or number of channels than those that were measured.
        """
        return self.scaling.to_model(stored).nan_to_num(0.0)


def given_with(
    dataset: Dataset, scaling: ConditionScaling | None, indices: Indices | None = None
) -> Conditions | None:
    """The labels and conditions of images, as a denoiser is given them.

    Args:
        dataset: the images.
        scaling: of the conditions; None where there are none, or where they are not wanted.
        indices: which, ``(B,)``; None: all.

    Returns:
        Rows ``(B, label_dim)``; with conditions ``{"field": (B, *condition_shape)}``, and the rows under ``"labels"``
        where there are some; None without either.

    >>> import elucidiff as ed
    >>> images, fields = torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.full((3, 1, 4, 4), 255, dtype=torch.uint8)
    >>> pairs = ed.data.Dataset.from_arrays(images, torch.tensor([0, 1, 1]), conditions=fields)
    >>> given = ed.data.given_with(pairs, ed.data.ConditionScaling.measured(pairs), [0, 2])
    >>> {name: tuple(value.shape) for name, value in given.items()}, float(given["field"].max())
    ({'field': (2, 1, 4, 4), 'labels': (2, 2)}, 1.0)
    """
    labels, fields = dataset.labels(indices), None if scaling is None else dataset.conditions(indices)
    return told(labels, fields, scaling)


def told(labels: Tensor | None, fields: Tensor | None, scaling: ConditionScaling | None) -> Conditions | None:
    """Label rows and stored conditions as :func:`given_with` has them."""
    if fields is None or scaling is None:
        return labels
    given = {FIELD: scaling.to_model(fields)}
    return given if labels is None else given | {LABELS: labels}
