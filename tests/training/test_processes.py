"""Two real processes, with Gloo: the same results as one, one writer, one message, one moment to stop."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from elucidiff.augment import Augment
from elucidiff.networks import DDPMPPSettings, MPUNetSettings
from elucidiff.training import TrainingConfig
from tests.training.launching import run
from tests.training.test_loop import assert_same_run, last_checkpoint, metrics

LR = 2e-3


def tiny(data: str, **settings: Any) -> TrainingConfig:
    """Ten steps of everything there is, in parts of two images."""
    network = DDPMPPSettings(
        base_channels=8, channel_multipliers=(1,), blocks_per_level=1, attention_resolutions=(8,), dropout=0.1,
        label_dropout=0.1,
    )  # fmt: skip
    defaults = {
        "data": data, "conditional": True, "validation_images": 10, "network": network,
        "augment": Augment(p=0.3, xflip=1e8, scale=1.0, translate_frac=1.0), "duration_images": 80,
        "batch_size": 8, "device_batch_size": 2, "lr": LR, "lr_ramp_images": 16.0, "lr_decay": "cosine",
        "ema_half_life_images": 20.0, "ema_widths": (0.1,), "log_images": 24, "checkpoint_images": 40,
        "gradient_clip": 0.5, "learned_loss_weighting": True, "memorisation_samples": 0, "compile": "off",
        "device": "cpu",
    }  # fmt: skip
    return TrainingConfig(**(defaults | settings))


def words(config: TrainingConfig, run_dir: Path, *more: str) -> list[str]:
    """The command that trains with these settings."""
    file = run_dir.parent / f"{abs(hash(config))}.yaml"
    config.save(file)
    return ["train", str(file), "--run-dir", str(run_dir), *more]


def trained(config: TrainingConfig, run_dir: Path, count: int, *more: str) -> Path:
    """The run folder after training in so many processes."""
    run(words(config, run_dir, *more), count, run_dir.parent / "said")
    return run_dir


@pytest.fixture(scope="module")
def alone(pictures: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tiny(pictures), tmp_path_factory.mktemp("alone") / "run", 1)


@pytest.fixture(scope="module")
def together(pictures: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tiny(pictures), tmp_path_factory.mktemp("together") / "run", 2)


def assert_same_but_for_rounding(one: Path, other: Path) -> None:
    """Weights, averages, moments and losses agree within float32.

    Adam magnifies rounding where gradients are small, so weights agree within a fiftieth of a learning rate, and the
    biases of attention keys, whose true gradient is 0, are left out.
    """
    first, second = last_checkpoint(one), last_checkpoint(other)
    assert first.keys() == second.keys()
    for name in first:
        if name.startswith("meter.") or ".qkv.bias" in name:
            continue
        scale = first[name].double().norm()
        if name.startswith("adam."):
            assert (first[name] - second[name]).norm() <= 1e-3 * scale + 1e-7, name
        else:
            assert (first[name] - second[name]).abs().max() <= 0.02 * LR, name
    for mine, theirs in zip(metrics(one), metrics(other), strict=True):
        assert mine.keys() == theirs.keys()
        for key in {"images", "step", "loss", "validation_loss", "lr", "ema_beta"} & mine.keys():
            assert mine[key] == pytest.approx(theirs[key], rel=1e-5), key


def test_two_processes_compute_what_one_does(alone: Path, together: Path) -> None:
    """Dropout, label dropout and augmentation included: they go by the place in the whole batch."""
    assert_same_but_for_rounding(alone, together)
    assert len(metrics(together)) == 5


def test_gradients_are_averaged(pictures: str, tmp_path: Path) -> None:
    """Without clipping, which would hide a factor."""
    config = tiny(pictures, duration_images=16, gradient_clip=None)
    alone, together = (trained(config, tmp_path / str(count) / "run", count) for count in (1, 2))
    assert_same_but_for_rounding(alone, together)


def test_one_process_writes(together: Path) -> None:
    assert len(list(together.glob("events.out.tfevents.*"))) == 1
    assert sorted(path.name for path in (together / "checkpoints").iterdir()) == [
        "000000000040.safetensors", "000000000040.sha256", "000000000080.safetensors", "000000000080.sha256",
    ]  # fmt: skip
    images = [line["images"] for line in metrics(together) if "loss" in line]
    assert images == [24, 48, 72]


def test_split_weights_compute_what_copies_do(together: Path, pictures: str, tmp_path: Path) -> None:
    split = trained(tiny(pictures, sharding="fsdp"), tmp_path / "run", 2)
    assert_same_but_for_rounding(together, split)
    assert len(list((split / "averages").iterdir())) == 2


@pytest.mark.slow
def test_the_magnitude_preserving_network_is_split_too(pictures: str, tmp_path: Path) -> None:
    """Its gains are single numbers, of which one process has all and the other nothing."""
    network = MPUNetSettings(
        base_channels=8, channel_multipliers=(1,), blocks_per_level=1,
        attention_resolutions=(8,), dropout=0.0,
    )  # fmt: skip
    config = tiny(pictures, network=network, duration_images=24)
    alone = trained(config, tmp_path / "alone", 1)
    split = trained(dataclasses.replace(config, sharding="fsdp"), tmp_path / "split", 2)
    assert_same_but_for_rounding(alone, split)


@pytest.mark.parametrize(("before", "after"), [((1, "none"), (2, "none")), ((2, "fsdp"), (1, "none"))])
def test_a_run_goes_on_in_another_number_of_processes(
    alone: Path, pictures: str, tmp_path: Path, before: tuple[int, str], after: tuple[int, str]
) -> None:
    half = tiny(pictures, duration_images=40, lr_decay="constant")
    whole = dataclasses.replace(half, duration_images=80)
    path = trained(dataclasses.replace(half, sharding=before[1]), tmp_path / "run", before[0])
    trained(dataclasses.replace(whole, sharding=after[1]), path, after[0], "--resume")
    unbroken = trained(whole, tmp_path / "unbroken", 1)
    assert_same_but_for_rounding(unbroken, path)


@pytest.mark.slow
def test_three_processes_resume_to_the_bit(pictures: str, tmp_path: Path) -> None:
    """Three numbers can be added in orders that round differently, unlike two."""
    network = DDPMPPSettings(
        base_channels=32, channel_multipliers=(1, 2), blocks_per_level=1, attention_resolutions=(8,), dropout=0.1
    )
    config = tiny(pictures, batch_size=12, network=network, duration_images=60, lr_decay="constant")
    unbroken = trained(config, tmp_path / "unbroken", 3)
    broken = trained(dataclasses.replace(config, duration_images=48), tmp_path / "broken", 3)
    assert_same_run(trained(config, broken, 3, "--resume"), unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["consistency", "scm"])
def test_consistency_objectives_compute_the_same_in_two_processes(
    objective: str, pictures: str, tmp_path: Path
) -> None:
    """Their second pass takes no part in averaging gradients, and draws the same dropout."""
    config = dataclasses.replace(tiny(pictures, duration_images=40), objective=objective)
    alone, together = (trained(config, tmp_path / str(count) / "run", count) for count in (1, 2))
    assert_same_but_for_rounding(alone, together)
    split = trained(dataclasses.replace(config, sharding="fsdp"), tmp_path / "split" / "run", 2)
    assert_same_but_for_rounding(together, split)
