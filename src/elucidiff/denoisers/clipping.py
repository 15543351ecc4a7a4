"""D held within the range of the data, as home samplers do where networks predict noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, Wrapped
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.shapes import noise_levels
from elucidiff.denoisers.usual import Clip, Usual
from elucidiff.design.values import per_sample
from elucidiff.parts import part

__all__ = ["Clamp", "Clipped", "Clipping", "DynamicThreshold", "UsualClip"]


class Clipping(ABC):
    """A way to hold D within a range where there is noise; a frozen dataclass, called with D (B, C, *spatial).

    >>> import elucidiff as ed
    >>> ed.Sampler(clip=ed.adapters.Clamp(2.0)).to_text()
    'clip=clamp:limit=2'
    """

    @abstractmethod
    def __call__(self, denoised: Tensor) -> Tensor:
        """``denoised``, held within a range."""

    def beside(self, usual: Clip | None) -> Clip | None:
        """The clipping of a model whose own is ``usual``: this."""
        return self


@part("clip", "usual")
@dataclass(frozen=True)
class UsualClip(Clipping):
    """As the model itself says, which is not at all for most: see :attr:`.AnyDenoiser.usual`.

    >>> import elucidiff as ed
    >>> ed.Sampler().clip
    UsualClip()
    """

    def __call__(self, denoised: Tensor) -> Tensor:
        """``denoised`` itself: no model is there that says something else."""
        return denoised

    def beside(self, usual: Clip | None) -> Clip | None:
        """``usual``."""
        return usual


@part("clip", "clamp")
@dataclass(frozen=True)
class Clamp(Clipping):
    """D within [-limit, limit], as home samplers of epsilon-networks hold it where images are in [-1, 1].

    Args:
        limit: the largest absolute value.

    Raises:
        ValueError: it is not positive.

    >>> import elucidiff as ed
    >>> ed.adapters.Clamp()(torch.tensor([-3.0, 0.5])).tolist()
    [-1.0, 0.5]
    """

    limit: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.limit < math.inf:
            raise ValueError(f"clip limit is {self.limit:g}, but must be a finite number > 0")

    def __call__(self, denoised: Tensor) -> Tensor:
        """``denoised``, clamped."""
        return denoised.clamp(-self.limit, self.limit)


@part("clip", "threshold")
@dataclass(frozen=True)
class DynamicThreshold(Clipping):
    """D clamped to [-q, q] and divided by q, a quantile of |D| in each image, at least 1 (Saharia et al. 2022).

    Args:
        ratio: the quantile, over all values of an image.
        largest: what q is clamped to from above; values that are larger remain within [-1, 1], but are cut more.

    Raises:
        ValueError: ``ratio`` is not within 0 and 1, or ``largest`` is below 1.

    >>> import elucidiff as ed
    >>> ed.adapters.DynamicThreshold(ratio=1.0)(torch.tensor([[[-4.0, 2.0]]])).tolist()
    [[[-1.0, 0.5]]]
    """

    ratio: float = 0.995
    largest: float = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise ValueError(f"clip ratio is {self.ratio:g}, but must be above 0 and at most 1")
        if not self.largest >= 1:
            raise ValueError(f"clip largest is {self.largest:g}, but must be at least 1")

    def __call__(self, denoised: Tensor) -> Tensor:
        """``denoised`` (B, ...) within [-1, 1]."""
        quantile = denoised.flatten(1).abs().quantile(self.ratio, dim=1).clamp(1.0, self.largest)
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
