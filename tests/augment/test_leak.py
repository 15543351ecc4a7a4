"""Augmentation does not leak: trained on images that are mirrored half of the time, a model samples upright ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.augment import Augment
from elucidiff.networks import DDPMPPSettings
from elucidiff.training import TrainingConfig, train

SAMPLES = 64


def brighter_left(images: Tensor) -> float:
    """Share of the images whose left half is the brighter one."""
    left, right = images[..., :4].mean((1, 2, 3)), images[..., 4:].mean((1, 2, 3))
    return float((left > right).double().mean())


def trained_and_sampled(folder: Path) -> Tensor:
    """Samples, without augmentation labels, of a model of images with a bright left half, trained with mirroring."""
    random = np.random.default_rng(0)
    images = random.integers(0, 90, (256, 1, 8, 8))
    images[..., :4] += random.integers(80, 160, (256, 1, 1, 1))
    np.save(folder / "images.npy", images.astype(np.uint8))
    network = DDPMPPSettings(
        base_channels=16, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=(), dropout=0.0
    )
    config = TrainingConfig(
        data=str(folder / "images.npy"), network=network, augment=Augment(p=0.5, xflip=1e8), duration_images=12_800,
        batch_size=32, lr=5e-3, lr_ramp_images=640, ema_half_life_images=1_000, checkpoint_images=12_800,
        log_images=6_400, memorisation_samples=0, device="cpu", compile="off",
    )  # fmt: skip
    train(config, folder / "run")
    model = ed.load(folder / "run" / "model")
    return ed.Sampler(steps="karras:n=8").run(model, range(SAMPLES)).x


@pytest.mark.slow
def test_with_its_labels_augmentation_does_not_leak(tmp_path: Path) -> None:
    assert brighter_left(trained_and_sampled(tmp_path)) >= 0.95


@pytest.mark.slow
def test_without_its_labels_it_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the same training, but the network is always told that nothing was done to the image."""
    honest = Augment.apply

    def silent(self: Augment, images: Tensor, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        augmented, labels = honest(self, images, params)
        return augmented, torch.zeros_like(labels)

    monkeypatch.setattr(Augment, "apply", silent)
    assert 0.3 <= brighter_left(trained_and_sampled(tmp_path)) <= 0.7
