"""Previews come early and at growing intervals, and the training does not notice that it is looked at."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from elucidiff.data import Dataset
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.training import Callbacks, TrainingConfig, train
from elucidiff.training.previews import preview_due, preview_samples
from tests.training.test_loop import tiny


def test_intervals_grow_by_half() -> None:
    due = [seen for seen in range(32, 100_000, 32) if preview_due(1_000, seen - 32, seen)]
    exact = [1_000 * 1.5**k for k in range(len(due))]
    assert len(due) == 12  # ln(100) / ln(1.5) = 11.4
    assert all(0 <= seen - moment < 32 for seen, moment in zip(due, exact, strict=True))


def test_a_step_that_passes_several_moments_previews_once() -> None:
    assert preview_due(10, 0, 500)
    assert not preview_due(10, 500, 505)
    assert not preview_due(1_000, 0, 999)
    assert preview_due(1_000, 999, 1_000)
    assert not preview_due(1_000, 1_000, 1_001)


class Looking(Callbacks):
    """Draws every preview, and keeps it."""

    def __init__(self) -> None:
        self.seen: dict[int, torch.Tensor] = {}

    def on_preview(self, model: Denoiser, images_seen: int, run_dir: Path, pairs: Dataset | None = None) -> None:
        assert not model.training
        self.seen[images_seen] = preview_samples(model, 4)[0]


def with_previews(pictures: str, first: int | None) -> TrainingConfig:
    return dataclasses.replace(tiny(pictures, duration_images=100, lr_decay="constant"), preview_images=first)


def test_training_ends_with_the_same_bits_whoever_looks_and_when_it_is_resumed(pictures: str, tmp_path: Path) -> None:
    looking = Looking()
    train(with_previews(pictures, 8), tmp_path / "looked-at", callbacks=looking)
    train(with_previews(pictures, None), tmp_path / "alone", callbacks=Callbacks())
    short = dataclasses.replace(with_previews(pictures, 8), duration_images=48)
    again = Looking()
    train(short, tmp_path / "resumed", callbacks=again)
    train(with_previews(pictures, 8), tmp_path / "resumed", resume=True, callbacks=again)
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("looked-at", "alone")]
    assert weights[0] == weights[1]
    assert (tmp_path / "resumed" / "model" / "model.safetensors").read_bytes() == weights[0]
    # 8, 12, 18, 27 ... images, at the ends of steps of 4, and at the end.
    assert list(looking.seen) == [8, 12, 20, 28, 44, 64, 92, 100]
    assert looking.seen.keys() <= again.seen.keys()
    assert all(torch.equal(looking.seen[images], again.seen[images]) for images in looking.seen)
    assert not torch.equal(looking.seen[8], looking.seen[100])


def test_without_the_setting_every_checkpoint_is_previewed(pictures: str, tmp_path: Path) -> None:
    looking = Looking()
    train(tiny(pictures, duration_images=30), tmp_path, callbacks=looking)
    assert list(looking.seen) == [20, 32]


@pytest.mark.parametrize("first", [0, -5])
def test_a_first_preview_after_nothing(first: int) -> None:
    with pytest.raises(ValueError, match="preview_images is"):
        TrainingConfig(preview_images=first)
