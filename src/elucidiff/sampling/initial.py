"""What a run begins with: the latents and the labels of its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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


@dataclass(frozen=True)
class Beginning:
    """What :func:`begin` returns.

    Attributes:
        noise: the seeds, whose latents and labels are drawn already.
        latents: unit Gaussian noise (B, C, *spatial), on the device.
        labels: rows (B, label_dim), or (1, label_dim) for all, on the device; or None.
    """

    noise: SeededNoise
    latents: Tensor
    labels: Tensor | None


def begin(
    denoiser: Any,
    seeds: Sequence[int],
    labels: Labels | int | str | None,
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
    shape = getattr(denoiser, "sample_shape", ()) if shape is None else shape
    if not shape:
        raise ValueError("the denoiser does not state the shape of its samples: give shape=(C, *spatial)")
    place = _device_of(denoiser) if device is None else torch.device(device)
    noise = SeededNoise(seeds)
    latents = noise.latents(shape).to(place)
    rows = labels_for(denoiser, noise, labels, any_class=any_class)
    return Beginning(noise, latents, None if rows is None else rows.to(place))


def _device_of(denoiser: object) -> torch.device:
    """Where a module's first parameter or buffer is; the CPU for anything else."""
    if isinstance(denoiser, nn.Module):
        for tensor in (*denoiser.parameters(), *denoiser.buffers()):
            return tensor.device
    return torch.device("cpu")
