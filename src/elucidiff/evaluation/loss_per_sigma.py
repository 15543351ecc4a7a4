"""The loss of a denoiser at each noise level, on images it may or may not have seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, as_denoiser, ask
from elucidiff.denoisers.conditions import Conditions, selected


@torch.no_grad()
def loss_per_sigma(
    denoiser: DenoiserLike,
    images: Tensor,
    sigmas: Tensor,
    *,
    weight: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    labels: Conditions | None = None,
    batch_size: int = 256,
) -> Tensor:
    """Mean over images and pixels of ``lambda(sigma) |D(y + n; sigma) - y|^2`` with ``n ~ N(0, sigma^2 I)``.

    This is lambda times the denoising error of Karras et al. 2022, Eq. 2.

    Every noise level sees the same images under the same unit noise, so curves of two denoisers, drawn with equal
    generators, differ by the denoisers alone.

    Args:
        denoiser: ``D(x, sigma, labels)``.
        images: clean images in [-1, 1], ``(B, C, *spatial)``, on the denoiser's device.
        sigmas: noise levels, ``(K,)``.
        weight: lambda(sigma), for example ``ed.objectives.EDM().weight``.
        generator: source of the unit noise, on the CPU.
        labels: one an image, as the denoiser takes them, or None.
        batch_size: images in one call.

    Returns:
        The mean weighted loss at each level, float64 ``(K,)``, on the CPU.

    >>> import elucidiff as ed
    >>> loss = ed.evaluation.loss_per_sigma(
    ...     lambda x, sigma, labels=None: torch.zeros_like(x),
    ...     torch.full((8, 1, 2, 2), 0.5),
    ...     torch.tensor([0.1, 1.0]),
    ...     weight=lambda sigma: 1 / sigma**2,
    ...     generator=torch.Generator(),
    ... )
    >>> [round(float(value), 4) for value in loss]  # 0.5^2 / sigma^2
    [25.0, 0.25]
    """
    described = as_denoiser(denoiser)
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype).to(images.device)
    total = torch.zeros(len(sigmas), dtype=torch.float64, device=images.device)
    for k, sigma in enumerate(sigmas.to(device=images.device, dtype=images.dtype)):
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            conditions = None if labels is None else selected(labels, part, len(images))
            denoised = ask(described, images[part] + sigma * noise[part], sigma, conditions)
            total[k] += (denoised.double() - images[part].double()).square().sum()
    mean = total.cpu() / images.numel()
    return weight(sigmas.detach().cpu().double()) * mean


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of ``values``: s / sqrt(n), with s of n - 1 degrees of freedom; not a number for one."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
