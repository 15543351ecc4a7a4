"""Images of one sampling configuration, a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elucidiff.evaluation.ablation.sampling import SamplingConfiguration
from elucidiff.sampling.beginning import begin
from elucidiff.sampling.chunks import FixedBatch
from elucidiff.sampling.finite import NotFiniteError
from elucidiff.sampling.loop import Step
from elucidiff.sampling.predictor_corrector import sample_predictor_corrector
from elucidiff.sampling.sde import sample_sde


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
    configuration: SamplingConfiguration, denoiser: Any, seeds: Sequence[int], batch_size: int = 16
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


def _draw(configuration: SamplingConfiguration, denoiser: Any, seeds: Sequence[int], batch_size: int) -> Drawn:
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
    denoiser: Any,
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
