from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elucidiff import data
from elucidiff.data.dataset import Dataset
from elucidiff.data.labels import Labels
from elucidiff.data.sources import ArraySource
from tests.golden_files import GOLDEN


def with_classes(classes: Any) -> Dataset:
    images = np.arange(len(classes), dtype=np.uint8)[:, None, None]
    labels = Labels.from_array(classes, len(classes), "made", classes=int(max(classes)) + 1)
    return Dataset("made", ArraySource(images), labels)


@given(classes=st.lists(st.integers(0, 4), min_size=3, max_size=80), data_=st.data(), seed=st.integers(0, 99))
def test_every_class_gives_its_share(classes: list[int], data_: st.DataObject, seed: int) -> None:
    count = data_.draw(st.integers(1, len(classes) - 1))
    train, held = data.split(with_classes(classes), count, seed=seed)
    assert len(held) == count
    rows = [*train.source_rows.tolist(), *held.source_rows.tolist()]
    assert sorted(rows) == list(range(len(classes)))
    assert train.source_rows.tolist() == sorted(train.source_rows.tolist())
    assert held.classes is not None
    exact = np.bincount(classes) * count / len(classes)
    assert np.abs(np.bincount(held.classes, minlength=len(exact)) - exact).max() < 1


def test_digits() -> None:
    dataset = data.open("digits")
    train, held = data.split(dataset, 256)
    assert (len(train), len(held)) == (1541, 256)
    assert held.source_rows[:6].tolist() == data.split(dataset, 256)[1].source_rows[:6].tolist()
    assert not torch.equal(held.source_rows, data.split(dataset, 256, seed=1)[1].source_rows)
    assert len(data.split(dataset, 0.25)[1]) == 449


def test_the_draw_stays_the_same_for_ever() -> None:
    dataset = with_classes([0, 0, 0, 1] * 5)
    assert data.split(dataset, 10, seed=4)[1].source_rows.tolist() == [0, 3, 4, 6, 10, 12, 13, 17, 18, 19]
    assert data.split(dataset, 10, seed=4, stratified=False)[1].source_rows.tolist() == [
        0,
        3,
        4,
        6,
        11,
        12,
        13,
        17,
        18,
        19,
    ]


def test_an_image_and_its_mirror_image_stay_together() -> None:
    dataset = data.open(GOLDEN / "k_dataset" / "tiny_rgb.zip", xflip=True)
    train, held = data.split(dataset, 5)
    assert (len(train), len(held)) == (30, 10)
    assert not set(train.source_rows.tolist()) & set(held.source_rows.tolist())
    assert held.mirrored.tolist() == [False] * 5 + [True] * 5


@pytest.mark.parametrize("held_out", [0, 20, 25, -1, 0.0, 1.0, 0.01])
def test_empty_parts(held_out: float) -> None:
    with pytest.raises(ValueError, match=rf"holding {held_out} out of 20 images leaves one part empty"):
        data.split(data.open(GOLDEN / "k_dataset" / "tiny_rgb.zip"), held_out)


def test_nothing_to_stratify_by(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((9, 1, 2), np.uint8))
    dataset = data.open(tmp_path / "x.npy")
    assert len(data.split(dataset, 3)[1]) == 3
    with pytest.raises(ValueError, match="x has no classes to stratify by"):
        data.split(dataset, 3, stratified=True)
