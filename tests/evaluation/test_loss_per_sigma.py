"""Losses against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from elucidiff.evaluation import loss_per_sigma


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("batch_size", [7, 64, 500])
def test_ideal_denoiser_of_a_gaussian(batch_size: int) -> None:
    """For data N(0, s^2 I) the best denoiser x s^2/(s^2+sigma^2) leaves the variance s^2 sigma^2/(s^2+sigma^2)."""
    s = 0.5
    images = s * torch.randn(400, 1, 8, 8, generator=seeded(1), dtype=torch.float64)
    sigmas = torch.tensor([0.01, 0.3, 1.0, 20.0], dtype=torch.float64)

    def ideal(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return x * s**2 / (s**2 + sigma**2)

    loss = loss_per_sigma(
        ideal, images, sigmas, weight=lambda sigma: 1 / sigma**2, generator=seeded(), batch_size=batch_size
    )
    expected = s**2 / (s**2 + sigmas**2)
    # 25,600 squares of Gaussians: the mean is within 4 standard errors, sqrt(2/25600) each.
    torch.testing.assert_close(loss, expected, rtol=4 * (2 / 25600) ** 0.5, atol=0.0)


def test_labels_go_with_their_images() -> None:
    labels = torch.eye(4).repeat(5, 1)
    images = labels.argmax(1).reshape(-1, 1, 1, 1).float().expand(-1, 1, 2, 2)

    def reads_labels(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        return labels.argmax(1).reshape(-1, 1, 1, 1).float().expand_as(x)

    loss = loss_per_sigma(
        reads_labels,
        images,
        torch.tensor([1.0, 5.0]),
        weight=torch.ones_like,
        generator=seeded(),
        labels=labels,
        batch_size=3,
    )
    assert loss.tolist() == [0.0, 0.0]
