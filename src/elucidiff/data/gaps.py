"""Missing values of floating-point data, which are NaN: told from the others, filled, and put back in samples.

Missing values are left out of everything that is measured and of the loss. What a network sees in their place is 0
plus noise, 0 being the mean of a scaled channel. Where a value is missing in *every* image, as over land in a field
of the sea, nothing can be learned: there the denoiser answers 0, so that sampling sees what training saw, and samples
have NaN. A value that is missing in some images is learned from the others, and samples have it. The network is not
told which values are missing, since where a sample is drawn none are.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elucidiff.data.dataset import Dataset
from elucidiff.data.latents import scaling_for
from elucidiff.data.scaling import AsStored, Scaling, read_in_pieces
from elucidiff.denoisers.gaps import unpacked
from elucidiff.parts import part


@part("scaling", "gaps")
@dataclass(frozen=True)
class Gaps(Scaling):
    """Another scaling for data that lack the same values in every image, which are NaN in samples, too.

    Args:
        scaling: of the values that are there, measured.
        absent: which values (C, *spatial) are never there: their bits, packed, in base64.

    >>> import elucidiff as ed, torch
    >>> sea = torch.tensor([[[1.0, float("nan")], [3.0, float("nan")]]]).movedim(1, 0)  # two fields of two points
    >>> scaling = ed.data.Gaps.around(ed.data.AsStored(), ed.data.Dataset.from_arrays(sea))
    >>> scaling.to_data(torch.zeros(1, 1, 2)).tolist()
    [[[0.0, nan]]]
    """

    scaling: Scaling = AsStored()  # noqa: RUF009 (frozen)
    absent: str = ""

    @classmethod
    def around(cls, scaling: Scaling, dataset: Dataset) -> Scaling:
        """``scaling``, with the gaps of a data set, if it has any that are the same in every image."""
        there = torch.zeros(dataset.shape, dtype=torch.bool)
        for piece in read_in_pieces(dataset):
            there |= ~piece.isnan().all(0)
        if bool(there.all()):
            return scaling
        return cls(scaling, base64.b64encode(np.packbits(~there.numpy()).tobytes()).decode())

    def to_model(self, stored: Tensor) -> Tensor:
        """As without gaps."""
        return self.scaling.to_model(stored)

    def to_data(self, x: Tensor) -> Tensor:
        """As without gaps, with NaN in them."""
        values = self.scaling.to_data(x)
        return values.masked_fill(unpacked(self.absent, tuple(x.shape[1:])).to(values.device), math.nan)

    def log_slope(self, stored: Tensor) -> Tensor:
        """As without gaps."""
        return self.scaling.log_slope(stored)

    @property
    def linear(self) -> bool:
        """See :class:`.Scaling`."""
        return self.scaling.linear

    @property
    def units(self) -> str:
        """See :class:`.Scaling`."""
        return f"{self.scaling.units}, NaN where the training data had none"

    @property
    def inverse(self) -> str:
        """See :class:`.Scaling`."""
        return self.scaling.inverse


def filled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Images ``(B, C, *spatial)`` as a network sees them, 0 where a value is missing, and where values are present.

    >>> images, present = filled(torch.tensor([[[2.0, float("nan")]]]))
    >>> images.tolist(), present.tolist()
    ([[[2.0, 0.0]]], [[[True, False]]])
    """
    missing = x.isnan()
    return x.masked_fill(missing, 0.0), ~missing


def measured_scaling(dataset: Dataset, chosen: Scaling) -> Scaling:
    """The scaling of a training set: ``chosen``, or that of its autoencoder for latents, measured, with its gaps.

    Raises:
        ValueError: the data have no such scale.
    """
    scaling = scaling_for(dataset, chosen).measured(dataset)
    return scaling if dataset.dtype == torch.uint8 else Gaps.around(scaling, dataset)
