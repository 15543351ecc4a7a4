"""Objectives of a search: a value for a sampler, measured on the samples of given seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.denoisers.conditions import selected
from elucidiff.evaluation.quality import OfModel
from elucidiff.evaluation.quality.reference import IMAGES_IN_A_BLOCK
from elucidiff.sampling.optimise.candidate import check_deterministic
from elucidiff.sampling.optimise.exact import EndError, ExactSolutions
from elucidiff.sampling.sampler import Sampler

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """A measurement.

    Attributes:
        value: to be made small or large.
        nfe: network evaluations per sample, counted; their mean, if samples differ.
    """

    value: float
    nfe: float


class Objective(Protocol):
    """A value for the samples that a sampler draws from some seeds, and of nothing else.

    Every sampler is measured on the same seeds, so with the same latents, labels and noise: what differs between two
    of them is less by chance than between independent samples (common random numbers).
    """

    def __call__(self, sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        """Measure ``sampler`` on ``seeds``.

        Raises:
            ValueError: it cannot be measured, for its samples are not finite, say.
        """
        ...


class OfSamples:
    """An objective that extracts features of samples one by one, and computes the metric of all features.

    The descriptions of the last sampler's samples are kept. So measuring it on more seeds, the first of which are the
    same, costs those that are new.

    Args:
        images: how samples are drawn; its own sampler and seeds do not matter.
        extractor: features (B, D) of images (B, C, *spatial), as an extractor makes them.
        metric: of features (n, D).
    """

    def __init__(
        self, images: OfModel, extractor: Callable[[Tensor], npt.ArrayLike], metric: Callable[[Array], float]
    ) -> None:
        self._images, self._extractor, self._metric = images, extractor, metric
        self._sampler: Sampler | None = None
        self._done: list[int] = []
        self._features: list[Array] = []
        self._nfe: list[Array] = []

    def __call__(self, sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        """See :class:`Objective`."""
        wanted = list(seeds)
        if self._sampler != sampler or self._done != wanted[: len(self._done)]:
            self._sampler, self._done, self._features, self._nfe = sampler, [], [], []
        images = replace(self._images, sampler=sampler, seeds=wanted)
        # Where a block begins makes no difference to the bits; see FixedBatch.
        for start in range(len(self._done), len(wanted), IMAGES_IN_A_BLOCK):
            places = range(start, min(start + IMAGES_IN_A_BLOCK, len(wanted)))
            samples, nfe = images.block(places)
            self._features.append(np.asarray(self._extractor(samples), dtype=np.float64))
            self._nfe.append(nfe)
            self._done += wanted[places.start : places.stop]
        return Outcome(self._metric(np.concatenate(self._features)), float(np.concatenate(self._nfe).mean()))


@dataclass(frozen=True)
class TruncationError:
    """Root mean square distance of samples to the exact solutions of the ODE from the same latents.

    Args:
        exact: the solutions for all seeds that will be asked for. Samplers may begin at a lower noise level, with the
            same latents, but have the guidance that the solutions were found with.
    """

    exact: ExactSolutions

    def __call__(self, sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        """See :class:`Objective`.

        Raises:
            ValueError: the sampler draws noise or is adaptive, there is no exact solution for a seed, or the denoiser
                gave values that are not finite.
        """
        check_deterministic(sampler)
        place = {seed: k for k, seed in enumerate(self.exact.seeds)}
        if missing := [seed for seed in seeds if seed not in place]:
            raise ValueError(f"there is no exact solution for seed {missing[0]}: solve the ODE for it first")
        rows = torch.tensor([place[seed] for seed in seeds], device=self.exact.x.device)
        labels = self.exact.labels
        some = replace(
            self.exact,
            seeds=list(seeds),
            latents=self.exact.latents[rows],
            labels=None if labels is None else selected(labels, rows, len(self.exact.latents)),
            x=self.exact.x[rows],
        )
        prepared = sampler.prepare(self.exact.denoiser)
        run = EndError(some, prepared.solver, prepared.schedule)(prepared.sigmas)
        return Outcome(run.error, float(run.nfe))
