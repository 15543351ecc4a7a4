"""A training step never waits for the device: nothing in it asks a tensor on the device for a number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elucidiff.augment import Augment
from elucidiff.denoisers import preconditioned
from elucidiff.networks import DDPMPPSettings
from elucidiff.training import state as state_module
from elucidiff.training.batches import TrainingData, draw
from elucidiff.training.config import TrainingConfig
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.state import TrainingState
from tests.waiting import OnDevice, Waits

CPU = torch.device("cpu")


def _config(data: str = "-", **settings: Any) -> TrainingConfig:
    network = DDPMPPSettings(
        base_channels=8, channel_multipliers=(1, 1), blocks_per_level=1, attention_resolutions=(4,), dropout=0.1,
        label_dropout=0.1,
    )  # fmt: skip
    # More than pixels can be moved by: every transform of the pipeline.
    augment = Augment(
        p=0.5, xflip=1e8, yflip=1, rotate_int=1, translate_int=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1,
        brightness=1, contrast=1, lumaflip=1,
    )  # fmt: skip
    return TrainingConfig(
        **{
            "data": data, "network": network, "augment": augment, "conditional": True, "batch_size": 4,
            "device_batch_size": 2, "lr_ramp_images": 0.0, "gradient_clip": 1.0, "ema_widths": (0.1,),
            **settings,
        }
    )  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), np.uint8)
    np.savez(tmp_path / "pictures.npz", images=images, labels=np.arange(20) % 2)
    return str(tmp_path / "pictures.npz")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_update_and_batches(precision: str, pictures: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "check_precision", lambda *_: None)
    config = _config(pictures, precision=precision)
    data = TrainingData.open(config)
    state = TrainingState(config, data.shape, data.label_dim, CPU)
    batches = data.batches(config, 0, CPU)
    ready = [list(_prepared(state, *next(batches)))]
    waits, looking = Waits(), preconditioned.noise_levels

    def noise_levels(sigma: Tensor, x: Tensor) -> Tensor:
        """On the CPU, noise levels are looked at once; on a device, they are not (tested below)."""
        before = len(waits.found)
        levels = looking(sigma, x)
        assert waits.found[before:] == ["_local_scalar_dense.default"]
        del waits.found[before:]
        return levels

    monkeypatch.setattr(preconditioned, "noise_levels", noise_levels)
    with waits:
        for _ in range(3):
            images, labels = next(batches)
            update(state, ready[0])
            draw(config.seed, state.step, images.shape, state.objective.noise, state.augment)
            assert labels is not None
    assert waits.found == []
    assert state.step == 3


def test_augmentation_reads_no_pixels() -> None:
    """Its parameters are on the CPU, where it may look at them; the images are not."""
    config = _config()
    state = TrainingState(config, (1, 8, 8), 2, CPU)
    OnDevice.fetched.clear()
    images = torch.rand(4, 1, 8, 8).as_subclass(OnDevice)
    made = list(_prepared(state, images, torch.eye(2).repeat(2, 1).as_subclass(OnDevice)))
    assert OnDevice.fetched == []
    assert all(isinstance(batch.images, OnDevice) for batch in made)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_on_cuda_nothing_synchronises(precision: str, pictures: str) -> None:
    config = _config(pictures, precision=precision)
    device = torch.device("cuda")
    data = TrainingData.open(config)
    state = TrainingState(config, data.shape, data.label_dim, device)
    batches = data.batches(config, 0, device)
    update(state, _prepared(state, *next(batches)))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            update(state, _prepared(state, *next(batches)))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert state.step == 4, "what waits is an error before that"


def _prepared(state: TrainingState, images: Tensor, labels: Tensor | None) -> Iterator[Any]:
    draws = draw(0, state.step, images.shape, state.objective.noise, state.augment, state.device)
    return noisy_batches(state, images, labels, draws)
