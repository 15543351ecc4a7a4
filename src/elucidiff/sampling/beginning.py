"""What a run begins with: the latents and the labels of its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers.shapes import Labels
from elucidiff.sampling.labels import labels_for
from elucidiff.sampling.seeds import SeededNoise


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
