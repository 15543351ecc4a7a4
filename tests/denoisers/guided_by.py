"""Gaussians and counting denoisers, for tests of guidance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers.ideal import GaussianMixture


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(mean: list[float], std: float) -> GaussianMixture:
    """One round Gaussian of as many channels as ``mean`` has numbers."""
    centre = torch.tensor(mean, dtype=torch.float64)[None, :, None]
    return GaussianMixture(centre, std**2 * torch.eye(len(mean))[None], torch.ones(1))


def classes() -> GaussianMixture:
    """Four components in three classes, of which the first has two; samples are (2, 1)."""
    means = torch.tensor([[-2.0, 0.0], [2.0, 1.0], [0.0, 3.0], [1.0, -2.0]], dtype=torch.float64)[:, :, None]
    roots = numbers(4, 2, 2, seed=3)
    covariances = 0.1 * torch.eye(2) + 0.2 * roots @ roots.mT
    return GaussianMixture(means, covariances, torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0, 0, 1, 2]))


class Watched(nn.Module):
    """A denoiser that notes the size, the noise levels and the labels of every call."""

    def __init__(self, denoiser: Any) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.sample_shape, self.label_dim = denoiser.sample_shape, denoiser.label_dim
        self.calls: list[tuple[int, list[float], Tensor | None]] = []

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        self.calls.append((len(x), torch.as_tensor(sigma).reshape(-1).tolist(), labels))
        result: Tensor = self.denoiser(x, sigma, labels)
        return result
