"""What a run begins with: the latents and the labels of its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, as_denoiser
from elucidiff.denoisers.conditions import Conditions, check_count, each
from elucidiff.denoisers.labels import UNIFORM
from elucidiff.denoisers.shapes import Labels
from elucidiff.sampling.seeds import SeededNoise


def labels_for(
    denoiser: DenoiserLike,
    noise: SeededNoise,
    labels: Labels | Conditions | int | str | None,
    *,
    any_class: bool = False,
) -> Conditions | None:
    """Label rows, and the seeds' generators advanced by one draw each, whether it is used or not.

    Args:
        denoiser: is asked for what it knows of its labels.
        noise: the seeds, whose latents are drawn already.
        labels: see :meth:`.Sampler.run`. None: each seed draws a class, as often as the training data had it, or one
            of the denoiser's examples.
        any_class: take classes that the training data did not have.

    Returns:
        rows ``(B, label_dim)``, or ``(1, label_dim)`` for all; conditions as they were given; None for a denoiser
        without labels, or if there are no conditions.

    Raises:
        ValueError: the labels do not fit the denoiser, it takes vectors and knows none to draw from, or a class was
            never trained.
    """
    known = as_denoiser(denoiser).known_labels
    if not known.dim:
        if labels is None:
            return None
        if isinstance(labels, int | str):
            raise ValueError("class labels were given to a denoiser without classes: leave labels out")
        conditions = known.resolved(labels)  # which refuses them where there are no labels
        check_count(conditions, len(noise.seeds))
        return conditions
    if labels is None or (isinstance(labels, str) and labels == UNIFORM):
        return known.draw(noise.labels, uniform=labels is not None)
    # Drawn all the same, so that given labels leave the noise of the steps as it is: all draws take as many bits.
    noise.labels(known.dim)
    if known.kind == "classes" and not isinstance(labels, str | Mapping) and np.ndim(labels) == 0:
        labels = torch.as_tensor(labels).expand(len(noise.seeds))
    rows = known.rows(labels)  # type: ignore[arg-type]  # a number is a tensor by now, or refused
    if not any_class:
        known.refuse_untrained(rows)
    return rows


@dataclass(frozen=True)
class Beginning:
    """What :func:`begin` returns.

    Attributes:
        noise: the seeds, whose latents and labels are drawn already.
        latents: unit Gaussian noise (B, C, *spatial), on the device.
        labels: rows (B, label_dim), or (1, label_dim) for all, or other conditions, on the device; or None.
    """

    noise: SeededNoise
    latents: Tensor
    labels: Conditions | None


def begin(
    denoiser: DenoiserLike,
    seeds: Sequence[int],
    labels: Labels | Conditions | int | str | None,
    shape: Sequence[int] | None,
    device: torch.device | str | None,
    *,
    any_class: bool = False,
) -> Beginning:
    """Draw what the seeds begin with, in the order in which all runs draw it.

    Args:
        denoiser: D; is asked for its ``sample_shape`` and labels.
        seeds: one integer a sample.
        labels: see :meth:`.Sampler.run`.
        shape: shape (C, *spatial) of a sample; by default the denoiser's.
        device: where to compute; by default where the denoiser's weights are.
        any_class: take classes that the training data did not have.

    Raises:
        ValueError: nobody states the shape, there are no seeds, or the labels do not fit.
    """
    described = as_denoiser(denoiser)
    shape = described.sample_shape if shape is None else shape
    if not shape:
        raise ValueError("the denoiser does not state the shape of its samples: give shape=(C, *spatial)")
    place = described.device if device is None else torch.device(device)
    noise = SeededNoise(seeds)
    latents = noise.latents(shape).to(place)
    rows = labels_for(described, noise, labels, any_class=any_class)
    return Beginning(noise, latents, None if rows is None else each(rows, lambda value: value.to(place)))
