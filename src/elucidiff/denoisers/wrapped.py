"""A denoiser made of another one: what that says of itself is passed on."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from elucidiff.denoisers.known_labels import KnownLabels, known_labels
from elucidiff.denoisers.shapes import LabelKind
from elucidiff.design.values import as_tensor


class Wrapped(nn.Module):
    """The base of denoisers that ask another one. What it does not state has the value that is no restriction.

    Attributes:
        denoiser: the other one, D.
    """

    def __init__(self, denoiser: Any) -> None:
        super().__init__()
        self.denoiser = denoiser

    @property
    def sigma_min(self) -> float:
        """Smallest supported noise level."""
        return float(getattr(self.denoiser, "sigma_min", 0.0))

    @property
    def sigma_max(self) -> float:
        """Largest supported noise level."""
        return float(getattr(self.denoiser, "sigma_max", math.inf))

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape (C, *spatial) of a sample; empty if D does not state it."""
        return tuple(getattr(self.denoiser, "sample_shape", ()))

    @property
    def label_dim(self) -> int:
        """Width of the labels of D."""
        return int(getattr(self.denoiser, "label_dim", 0))

    @property
    def label_kind(self) -> LabelKind:
        """What the labels of D are; classes, unless it says otherwise."""
        kind: LabelKind = getattr(self.denoiser, "label_kind", "classes")
        return kind

    @property
    def label_examples(self) -> Tensor | None:
        """Label vectors of the training set, if D keeps some."""
        examples: Tensor | None = getattr(self.denoiser, "label_examples", None)
        return examples

    @property
    def known_labels(self) -> KnownLabels:
        """All that D knows of its labels."""
        return known_labels(self.denoiser)

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """The noise level nearest to ``sigma`` that D supports."""
        rounded: Tensor = getattr(self.denoiser, "round_sigma", as_tensor)(sigma)
        return rounded
