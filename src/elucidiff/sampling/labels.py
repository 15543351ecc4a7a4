"""The labels of a sampling run: those that are asked for, or one drawn for each seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from elucidiff.denoisers.known_labels import UNIFORM, known_labels
from elucidiff.denoisers.shapes import Labels
from elucidiff.sampling.seeds import SeededNoise


def labels_for(
    denoiser: Any, noise: SeededNoise, labels: Labels | int | str | None, *, any_class: bool = False
) -> Tensor | None:
    """Label rows, and the seeds' generators advanced by one draw each, whether it is used or not.

    Args:
        denoiser: is asked for what it knows of its labels.
        noise: the seeds, whose latents are drawn already.
        labels: see :meth:`.Sampler.run`. None: each seed draws a class, as often as the training data had it, or one
            of the denoiser's examples.
        any_class: take classes that the training data did not have.

    Returns:
        rows ``(B, label_dim)``, or ``(1, label_dim)`` for all; None for a denoiser without labels.

    Raises:
        ValueError: the labels do not fit the denoiser, it takes vectors and knows none to draw from, or a class was
            never trained.
    """
    known = known_labels(denoiser)
    if not known.dim:
        return None if labels is None else known.rows(labels)  # type: ignore[arg-type]  # which refuses them
    if labels is None or (isinstance(labels, str) and labels == UNIFORM):
        return known.draw(noise.labels, uniform=labels is not None)
    # Drawn all the same, so that given labels leave the noise of the steps as it is: all draws take as many bits.
    noise.labels(known.dim)
    if known.kind == "classes" and not isinstance(labels, str) and np.ndim(labels) == 0:
        labels = torch.as_tensor(labels).expand(len(noise.seeds))
    rows = known.rows(labels)  # type: ignore[arg-type]  # a number is a tensor by now, or refused
    if not any_class:
        known.refuse_untrained(rows)
    return rows
