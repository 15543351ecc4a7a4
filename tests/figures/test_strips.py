"""The same noise at all levels, and errors that are those of the denoisers."""

from __future__ import annotations

import torch
from torch import Tensor

from elucidiff.figures.strips import strips

IMAGES = torch.linspace(-1, 1, 2 * 3 * 4).reshape(2, 1, 3, 4)
SIGMAS = torch.tensor([0.1, 2.0])


def test_noise_and_errors() -> None:
    def shrink(x: Tensor, sigma: float) -> Tensor:
        return x / (1 + sigma)

    found = strips(
        {"shrunk": shrink, "known": lambda x, sigma: IMAGES}, IMAGES, SIGMAS, torch.Generator().manual_seed(3)
    )
    unit = torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(3)).double()
    expected = IMAGES.double() + SIGMAS.double().reshape(2, 1, 1, 1, 1) * unit
    torch.testing.assert_close(found.noisy, expected, atol=1e-6, rtol=0)
    shrunk = expected / (1 + SIGMAS.double().reshape(2, 1, 1, 1, 1))
    torch.testing.assert_close(found.denoised["shrunk"], shrunk, atol=1e-6, rtol=0)
    rms = (shrunk - IMAGES.double()).square().mean((1, 2, 3, 4)).sqrt()
    torch.testing.assert_close(found.rms["shrunk"], rms, atol=1e-6, rtol=0)
    assert found.rms["known"].tolist() == [0, 0]


def test_labels_reach_the_denoiser() -> None:
    labels = torch.eye(2)
    found = strips(
        {"label": lambda x, sigma, rows: rows.argmax(1).reshape(2, 1, 1, 1) + 0 * x},
        IMAGES, SIGMAS, torch.Generator(), labels,
    )  # fmt: skip
    assert found.denoised["label"].mean((0, 2, 3, 4)).tolist() == [0, 1]
