"""The data as a run sees them: the same from memory and from worker processes, from any position."""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from elucidiff.data import InfiniteOrder
from elucidiff.training.batches import TrainingData
from elucidiff.training.config import TrainingConfig

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """30 grey pictures in two class folders; the pixels of picture i are i."""
    for index in range(30):
        path = tmp_path / "pictures" / "ab"[index % 2] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), index, np.uint8)).save(path)
    return tmp_path / "pictures"


def config(data: Path, **settings: object) -> TrainingConfig:
    return TrainingConfig(data=str(data), conditional=True, batch_size=7, **settings)  # type: ignore[arg-type]


def numbers(images: torch.Tensor) -> list[int]:
    return ((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def test_batches_follow_the_order_with_their_labels(folder: Path) -> None:
    settings = config(folder)
    data = TrainingData.open(settings)
    order = InfiniteOrder(30, seed=0)
    files = [*range(0, 30, 2), *range(1, 30, 2)]  # folder a, then b
    for images, labels in islice(data.batches(settings, 0, CPU), 10):
        assert images.dtype == torch.float32
        found = numbers(images)
        assert found == [files[index] for index in order.take(7)]
        assert labels is not None
        assert labels.argmax(1).tolist() == [number % 2 for number in found]


@pytest.mark.parametrize("position", [0, 7, 70])
def test_any_position_continues_the_stream(folder: Path, position: int) -> None:
    settings = config(folder, seed=5)
    data = TrainingData.open(settings)
    stream = [numbers(images) for images, _ in islice(data.batches(settings, 0, CPU), 14)]
    from_there = [numbers(images) for images, _ in islice(data.batches(settings, position, CPU), 4)]
    assert from_there == stream[position // 7 : position // 7 + 4]


def test_worker_processes_serve_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(folder, data_workers=2)
    expected = list(islice(TrainingData.open(settings).batches(settings, 14, CPU), 6))
    monkeypatch.setattr("elucidiff.training.batches._MEMORY_BYTES", 0)
    data = TrainingData.open(settings)
    for (images, labels), (same, same_labels) in zip(data.batches(settings, 14, CPU), expected, strict=False):
        assert torch.equal(images, same)
        assert labels is not None
        assert same_labels is not None
        assert torch.equal(labels, same_labels)


def test_a_picture_that_breaks_later_is_named_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elucidiff.training.batches._MEMORY_BYTES", 0)
    settings = config(folder, data_workers=1)
    data = TrainingData.open(settings)
    broken = folder / "b" / "13.png"
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(ValueError, match="13") as error:
        list(islice(data.batches(settings, 0, CPU), 10))
    assert str(broken) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_picture_is_found_before_work_starts(folder: Path) -> None:
    broken = folder / "b" / "13.png"
    broken.write_bytes(broken.read_bytes()[:-30])
    with pytest.raises(ValueError, match="13"):
        TrainingData.open(config(folder))


def test_held_out_images_are_never_trained_on(folder: Path) -> None:
    settings = config(folder, validation_images=6)
    data = TrainingData.open(settings)
    assert data.held_out is not None
    held_out = set(data.held_out.images()[:, 0, 0, 0].tolist())
    served = {n for images, _ in islice(data.batches(settings, 0, CPU), 40) for n in numbers(images)}
    assert len(held_out) == 6
    assert len(served) == 24
    assert not held_out & served
    other_seed = TrainingData.open(dataclasses.replace(settings, seed=9))
    assert other_seed.held_out is not None
    assert set(other_seed.held_out.images()[:, 0, 0, 0].tolist()) == held_out


def test_without_labels_if_not_asked_for(folder: Path) -> None:
    settings = dataclasses.replace(config(folder), conditional=False)
    data = TrainingData.open(settings)
    assert data.label_dim == 0
    assert next(data.batches(settings, 0, CPU))[1] is None


def test_facts(folder: Path) -> None:
    facts = TrainingData.open(config(folder)).facts
    values = np.arange(30) / 127.5 - 1
    assert facts["mean"] == pytest.approx(values.mean(), abs=1e-6)
    assert facts["sigma_data"] == pytest.approx(values.std(), rel=1e-4)
    assert facts["class_names"] == ["a", "b"]
    assert (facts["shape"], facts["count"], facts["label_dim"]) == ([1, 4, 4], 30, 2)
