"""Figures of the images of one configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from elucidiff.evaluation.ablation.cells import Judge, Tick
from elucidiff.evaluation.ablation.drawing import draw_images
from elucidiff.evaluation.ablation.sampling import SamplingConfiguration


def judge_images(
    judge: Judge,
    configuration: SamplingConfiguration,
    denoiser: Any,
    seeds: Sequence[int],
    batch_size: int,
    tick: Tick,
) -> tuple[Mapping[str, float], int]:
    """Draw one image a seed, and judge them; images themselves are not kept.

    Args:
        judge: the figures.
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
            return dict.fromkeys(judge.metrics, float("nan")), drawn.nfe
        features.append(np.asarray(judge.describe(drawn.x), dtype=np.float64))
        nfe, done = drawn.nfe, done + len(drawn.x)
        tick(done / len(seeds))
    return judge.figures(np.concatenate(features)), nfe
