"""Does the model copy its training images? A check on a few samples at every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from elucidiff.data import Dataset
from elucidiff.data.inspection import digest
from elucidiff.data.nearest import compared_with, in_pieces, nearest_in
from elucidiff.data.scaling import AsStored, Scaling
from elucidiff.data.subsets import Places, evenly_spread
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design.steps import Karras
from elucidiff.sampling.grid import range_for
from elucidiff.sampling.sampler import Sampler

# Yoon et al. 2023 ("Diffusion probabilistic models generalize when they fail to memorize"): a sample is memorised if
# its nearest training image is less than a third as far as the second nearest.
_MEMORISED = 1 / 3
_WARN_ABOVE = 0.1
_FEWEST = 2  # images that a sample is compared with
_STEPS = 8


@dataclass(frozen=True)
class Memorisation:
    """Distances of samples to training images, beside those of training images to each other.

    A ratio is that of an image's distance to its nearest training image over that to the second nearest.

    Attributes:
        samples: how many were drawn.
        fraction: share of the samples with a ratio below 1/3.
        ratio: median ratio of the samples.
        real_fraction: share of as many training images, each compared with all others, with a ratio below 1/3; None
            if there are no two others, in a set of two different images.
        real_ratio: median ratio of these, likewise.
    """

    samples: int
    fraction: float
    ratio: float
    real_fraction: float | None
    real_ratio: float | None

    @property
    def warning(self) -> str | None:
        """One line if clearly more samples than real images are copies; else None."""
        if self.fraction <= (self.real_fraction or 0.0) + _WARN_ABOVE:
            return None
        real = (
            "of two different ones, there is nothing else to learn"
            if self.real_fraction is None
            else f"of real images {round(self.real_fraction * self.samples)} would be"
        )
        return (
            f"{round(self.fraction * self.samples)} of {self.samples} samples are copies of training images "
            f"({real}): stop earlier, or train with more images, augmentation or dropout"
        )


class MemorisationCheck:
    """Samples with fixed seeds, compared with the training set.

    Equal images of the set count once: a sample that copies one would else be equally far from both.

    Args:
        train: the training images.
        count: samples to draw, and real images to compare them with.
        sigma_data: standard deviation of the data, to which the range of noise levels is scaled.
        scaling: of the training images, measured.
    """

    def __init__(
        self,
        train: Dataset,
        count: int,
        sigma_data: float,
        scaling: Scaling = AsStored(),  # noqa: B008 (frozen)
    ) -> None:
        self._train, self._count, self._scaling = train, count, scaling
        self._sampler = Sampler(Karras(_STEPS, *range_for(sigma_data)))
        self._candidates = compared_with(train, _FEWEST + 1)

    def __call__(self, model: Denoiser) -> Memorisation:
        """Draw the samples and compare them. Nothing random but the seeds' own generators is used.

        Raises:
            ValueError: the training images are all equal, so that there is nothing to compare with; or the samples
                are not finite.
        """
        if len(self._distinct) < _FEWEST:
            raise ValueError("the training images are all equal, so every good sample is a copy")
        labels = None
        if model.label_dim:
            labels = self._train.labels(evenly_spread(np.arange(len(self._train)), self._count))
            # A set with fewer images than samples: its labels are used again.
            labels = None if labels is None else labels[torch.arange(self._count) % len(labels)]
        samples = self._sampler.run(model, range(self._count), labels, batch_size=min(self._count, 16)).x.cpu()
        if self._train.dtype == torch.uint8:
            samples = samples.clamp(-1, 1)
        ratios = self._ratios(samples)
        real = self._real_ratios
        return Memorisation(
            samples=self._count,
            fraction=_share_of_copies(ratios),
            ratio=float(ratios.median()),
            real_fraction=None if real is None else _share_of_copies(real),
            real_ratio=None if real is None else float(real.median()),
        )

    def _ratios(self, images: Tensor, *, themselves: bool = False) -> Tensor:
        """Nearest over second nearest distance; of images of the set themselves, to others."""
        distances, _ = nearest_in(images, self._train, self._distinct, _FEWEST + themselves, self._scaling)
        nearest, second = distances[:, -2], distances[:, -1]
        # Images that differ in their bits but not in their values (0 and -0) are both at a distance of 0 from a copy.
        return torch.where(second > 0, nearest / second, 0.0)

    @cached_property
    def _real_ratios(self) -> Tensor | None:
        if len(self._distinct) <= _FEWEST:
            return None
        places = evenly_spread(self._distinct, self._count)
        return self._ratios(self._scaling.to_model(self._train.images(places)), themselves=True)

    @cached_property
    def _distinct(self) -> Places:
        """Positions of the images that are compared with: of equal ones the first."""
        seen: dict[bytes, int] = {}
        for places in in_pieces(self._train, self._candidates):
            for place, image in zip(places.tolist(), self._train.images(places), strict=True):
                seen.setdefault(digest(image), place)
        return np.array(list(seen.values()))


def _share_of_copies(ratios: Tensor) -> float:
    return float((ratios < _MEMORISED).double().mean())
