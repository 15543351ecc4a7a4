"""D held within the range of the data, as home samplers do where networks predict noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, Wrapped
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.shapes import noise_levels
from elucidiff.denoisers.usual import Clip, Usual
from elucidiff.design.values import per_sample


@dataclass(frozen=True)
class Clamp:
    """D within [-limit, limit], as home samplers of epsilon-networks hold it where images are in [-1, 1].

    >>> import elucidiff as ed
    >>> ed.adapters.Clamp()(torch.tensor([-3.0, 0.5])).tolist()
    [-1.0, 0.5]
    """

    limit: float = 1.0

    def __call__(self, denoised: Tensor) -> Tensor:
        """``denoised``, clamped."""
        return denoised.clamp(-self.limit, self.limit)


@dataclass(frozen=True)
class DynamicThreshold:
    """D clamped to [-q, q] and divided by q, a quantile of |D| in each image, at least 1 (Saharia et al. 2022).

    Args:
        ratio: the quantile, over all values of an image.
        largest: what q is clamped to from above; values that are larger remain within [-1, 1], but are cut more.

    >>> import elucidiff as ed
    >>> ed.adapters.DynamicThreshold(ratio=1.0)(torch.tensor([[[-4.0, 2.0]]])).tolist()
    [[[-1.0, 0.5]]]
    """

    ratio: float = 0.995
    largest: float = math.inf

    def __call__(self, denoised: Tensor) -> Tensor:
        """``denoised`` (B, ...) within [-1, 1]."""
        quantile = denoised.flatten(1).abs().quantile(self.ratio, dim=1).clamp(1.0, max(1.0, self.largest))
        bound = per_sample(quantile, denoised)
        return denoised.clamp(-bound, bound) / bound


class Clipped(Wrapped):
    """clip(D(x; sigma)); x itself without noise.

    Args:
        denoiser: D.
        clip: :class:`Clamp`, :class:`DynamicThreshold`, or another function of D.

    >>> import elucidiff as ed
    >>> D = ed.ideal.DataPosterior(torch.tensor([[-3.0], [3.0]]))
    >>> float(Clipped(D, Clamp(1.0))(torch.tensor([[2.0]]), torch.tensor(0.5)))
    1.0
    """

    def __init__(self, denoiser: DenoiserLike, clip: Clip) -> None:
        super().__init__(denoiser)
        self.clip = clip

    @property
    def usual(self) -> Usual:
        """That of D, which is clipped already."""
        return replace(super().usual, clip=None)

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None) -> Tensor:
        """D, clipped."""
        denoised = self.denoiser(x, sigma) if labels is None else self.denoiser(x, sigma, labels)
        levels = noise_levels(sigma, x, may_be_infinite=True)
        return torch.where(per_sample(levels, x) == 0, x, self.clip(denoised))
