"""Figures of the images of one configuration."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elucidiff.data import Dataset
from elucidiff.denoisers.base import DenoiserLike
from elucidiff.evaluation.ablation.cells import SampleEvaluator, Tick
from elucidiff.evaluation.ablation.sampling import SamplingConfiguration
from elucidiff.evaluation.quality import Evaluator, extractor_by_name, open_reference
from elucidiff.evaluation.quality.metric_sets import check_metrics
from elucidiff.sampling.checks import NotFiniteError
from elucidiff.sampling.fixed_batch import FixedBatch
from elucidiff.sampling.loop import Step
from elucidiff.sampling.optimise.exact import EndError, ExactSolutions, Run, solve_exactly
from elucidiff.sampling.sde import sample_predictor_corrector, sample_sde
from elucidiff.sampling.seeds import begin


@dataclass(frozen=True)
class Drawn:
    """Some images and their cost.

    Attributes:
        x: samples (B, C, *spatial), float64, in units of the data; None if one of them is not finite.
        nfe: network evaluations per sample, counted.
    """

    x: Tensor | None
    nfe: int


def draw_images(
    configuration: SamplingConfiguration, denoiser: DenoiserLike, seeds: Sequence[int], batch_size: int = 16
) -> Iterator[Drawn]:
    """Draw one image a seed, ``batch_size`` at a time.

    An image depends on its seed, ``batch_size`` and the configuration alone. Equal seeds begin with equal latents and
    labels in all configurations.

    Args:
        configuration: with its number of steps; see :meth:`.SamplingConfiguration.within`.
        denoiser: D, which states its ``sample_shape``; used where it is.
        seeds: one integer an image.
        batch_size: images in every call of the denoiser.

    Raises:
        ValueError: the denoiser supports none of the noise levels, or does not state its ``sample_shape``.
    """
    for start in range(0, len(seeds), batch_size):
        yield _draw(configuration, denoiser, seeds[start : start + batch_size], batch_size)


def _draw(
    configuration: SamplingConfiguration, denoiser: DenoiserLike, seeds: Sequence[int], batch_size: int
) -> Drawn:
    sampler, nfe = configuration.sampler, 0

    def count(step: Step) -> None:
        nonlocal nfe
        nfe = int(torch.as_tensor(step.nfe).max())

    try:
        if configuration.method == "sampler":
            result = sampler.run(denoiser, seeds, batch_size=batch_size, callback=count, guide=configuration.guide)
            return Drawn(result.x, nfe)
        return Drawn(_baseline(configuration, denoiser, seeds, batch_size, count), nfe)
    except NotFiniteError:
        return Drawn(None, nfe)


def _baseline(
    configuration: SamplingConfiguration,
    denoiser: DenoiserLike,
    seeds: Sequence[int],
    batch_size: int,
    count: Callable[[Step], None],
) -> Tensor:
    """Samples of a method that is no :class:`.Sampler`."""
    beginning, prepared = begin(denoiser, seeds, None, None, None), configuration.sampler.prepare(denoiser)
    choices: dict[str, Any] = {"labels": beginning.labels, "noise": beginning.noise, "callback": count}
    method: Callable[..., Tensor] = sample_predictor_corrector
    if configuration.method == "sde":
        method, choices["schedule"] = sample_sde, prepared.schedule
    return method(FixedBatch(denoiser, batch_size), beginning.latents, prepared.sigmas, **choices)


def evaluate_images(
    evaluator: SampleEvaluator,
    configuration: SamplingConfiguration,
    denoiser: DenoiserLike,
    seeds: Sequence[int],
    batch_size: int,
    tick: Tick,
) -> tuple[Mapping[str, float], int]:
    """Draw one image a seed, and judge them; images themselves are not kept.

    Args:
        evaluator: the figures.
        configuration: with its number of steps.
        denoiser: D.
        seeds: one integer an image.
        batch_size: images in every call of the denoiser.
        tick: told about progress before each batch.

    Returns:
        the figures, NaN where samples are not finite; and network evaluations per sample.
    """
    features, nfe, done = [], 0, 0
    tick(0.0)
    for drawn in draw_images(configuration, denoiser, seeds, batch_size):
        if drawn.x is None:
            return dict.fromkeys(evaluator.metrics, float("nan")), drawn.nfe
        features.append(np.asarray(evaluator.describe(drawn.x), dtype=np.float64))
        nfe, done = drawn.nfe, done + len(drawn.x)
        tick(done / len(seeds))
    return evaluator.figures(np.concatenate(features)), nfe


NONE = "none"


def open_evaluator(
    extractor: str,
    source: Dataset | Path,
    metrics: Sequence[str],
    shape: Sequence[int],
    count: int,
    device: torch.device,
    batch_size: int,
    *,
    weights: Path | None = None,
    cache: Path | None = None,
    tick: Callable[[int], object] = lambda _: None,
) -> Evaluator | None:
    """An evaluator that compares samples with a data set, or with statistics; None for the extractor ``none``.

    Args:
        extractor: see :func:`.extractor_by_name`.
        source: the reference; see :func:`.open_reference`.
        metrics: by name.
        shape: of a sample, (C, *spatial).
        count: samples that are judged together.
        device: where to compute features.
        batch_size: samples in one call of the extractor.
        weights: of the extractor, where they are not to be fetched.
        cache: folder for features of data sets.
        tick: called with the number of images of the reference described since; may raise to end the work.

    Raises:
        ValueError: there is no such extractor or metric, it cannot describe such data, or there are too few samples.
        OSError: weights are missing, or features cannot be kept.
    """
    if extractor == NONE:
        return None
    # Of statistics nobody knows what they were made of; pictures have 8 bits.
    dtype = source.dtype if isinstance(source, Dataset) else torch.uint8
    made = extractor_by_name(extractor, source, device=device, batch_size=batch_size, weights=weights)
    check_metrics(metrics, made, source.name, isinstance(source, Dataset))
    evaluator = Evaluator(made, open_reference(source, made, cache=cache, tick=tick), metrics)
    evaluator.check(shape, dtype, count)
    return evaluator


class TruncationErrors:
    """Root mean square distances to the exact solution from the same latents, in units of the data.

    A sampler is compared with the solution between its own highest and lowest noise level. So what is measured is how
    well it solves its ODE; what another range does to the samples is up to figures of quality.

    Args:
        denoiser: D.
        batch_size: samples in one call of it.
    """

    def __init__(self, denoiser: DenoiserLike, batch_size: int = 16) -> None:
        self._denoiser, self._batch_size = denoiser, batch_size
        self._seeds: list[int] = []
        self._solved: dict[Hashable, ExactSolutions] = {}

    def __call__(self, configuration: SamplingConfiguration, seeds: Sequence[int]) -> Run:
        """Measure a deterministic configuration; see :meth:`.SamplingConfiguration.within`.

        The exact solutions are kept until they are asked for with other seeds.

        Raises:
            ValueError: the denoiser gave values that are not finite.
        """
        if list(seeds) != self._seeds:
            self._seeds, self._solved = list(seeds), {}
        target, ode = configuration.guided(self._denoiser), self.ode_of(configuration)
        prepared = configuration.sampler.prepare(target)
        if ode not in self._solved:
            low, high = float(prepared.sigmas[-2]), float(prepared.sigmas[0])
            self._solved[ode] = solve_exactly(target, self._seeds, low, high, batch_size=self._batch_size)
        return EndError(self._solved[ode], prepared.solver, prepared.schedule)(prepared.sigmas)

    def ode_of(self, configuration: SamplingConfiguration) -> Hashable:
        """What decides the exact solutions of a configuration: its range of noise levels, and its guidance."""
        sampler = configuration.sampler
        sigmas = sampler.sigmas(configuration.guided(self._denoiser))
        return float(sigmas[-2]), float(sigmas[0]), sampler.guidance
