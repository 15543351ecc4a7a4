"""Denoised images at rising noise levels, by several denoisers (Karras et al. 2022, Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, as_denoiser, ask
from elucidiff.denoisers.conditions import Conditions


@dataclass(frozen=True)
class Strips:
    """Images at several noise levels, and what denoisers make of them.

    Attributes:
        noisy: y + sigma n with the same unit noise n at all levels, ``(K, B, C, *spatial)``.
        denoised: D(y + sigma n; sigma) by the name of the denoiser, likewise.
        rms: root mean square distance of these to y, over all images, ``(K,)``.
    """

    noisy: Tensor
    denoised: Mapping[str, Tensor]
    rms: Mapping[str, Tensor]


@torch.no_grad()
def strips(
    denoisers: Mapping[str, DenoiserLike],
    images: Tensor,
    sigmas: Tensor,
    generator: torch.Generator,
    labels: Conditions | None = None,
) -> Strips:
    """Add noise to images, and take it away again in one evaluation.

    Args:
        denoisers: D(x, sigma) or, with labels, D(x, sigma, labels), by name; on the images' device.
        images: clean images y in units of the noise levels, ``(B, C, *spatial)``.
        sigmas: noise levels, ``(K,)``.
        generator: of the noise, on the CPU.
        labels: rows ``(B, label_dim)`` or other conditions, or None.

    Returns:
        Everything on the CPU, in float64.
    """
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype).to(images.device)
    noisy = [images + float(sigma) * noise for sigma in sigmas]
    denoised = {
        name: torch.stack(
            [ask(as_denoiser(denoiser), x, sigma, labels) for x, sigma in zip(noisy, sigmas, strict=True)]
        ).double()
        for name, denoiser in denoisers.items()
    }
    clean = images.double()
    return Strips(
        torch.stack(noisy).double().cpu(),
        {name: found.cpu() for name, found in denoised.items()},
        {name: (found - clean).square().flatten(1).mean(1).sqrt().cpu() for name, found in denoised.items()},
    )
