"""Small denoisers of every kind, for tests of what computes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import elucidiff as ed
from tests.networks.small import small_network

KINDS = [
    ("ddpmpp", (1, 8, 8), 3), ("ncsnpp", (3, 8, 8), 0), ("skip", (2, 8, 8), 0), ("adm", (3, 8, 8), 4),
    ("mp-unet", (1, 8, 8), 5), ("mp-unet", (1, 12, 8), 0), ("ddpmpp", (2, 16), 0), ("ncsnpp", (2, 16), 0),
    ("adm", (2, 16), 3), ("mp-unet", (2, 16), 3), ("ddpmpp", (1, 4, 4, 4), 2), ("ncsnpp", (1, 4, 4, 4), 0),
    ("adm", (1, 4, 4, 4), 0), ("mp-unet", (1, 4, 4, 4), 0),
]  # fmt: skip
"""Type of network, shape of a sample, and width of labels."""


def denoiser(
    kind: str = "mp-unet", shape: tuple[int, ...] = (1, 8, 8), label_dim: int = 5, **settings: Any
) -> ed.Denoiser:
    """A float32 denoiser with random weights that all matter."""
    network = small_network(kind, shape, label_dim=label_dim, **settings).float()
    return ed.Denoiser(network, ed.preconditioning.EDM()).eval()


def batch(of: ed.Denoiser, size: int = 4, seed: int = 1) -> tuple[Tensor, Tensor, Tensor | None]:
    """Noisy samples, their noise levels, and rows of labels."""
    generator = torch.Generator().manual_seed(seed)
    sigma = torch.logspace(-2, 1, size)
    x = torch.randn((size, *of.sample_shape), generator=generator)
    x = x * (1 + sigma.square()).sqrt().reshape(-1, *[1] * (x.ndim - 1))
    rows = torch.randn((size, of.label_dim), generator=generator) if of.label_dim else None
    return x, sigma, rows


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())
