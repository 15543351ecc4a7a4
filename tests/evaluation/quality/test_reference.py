"""References are described once, and files of statistics are believed only if they are whole."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from elucidiff import data
from elucidiff.data import Dataset
from elucidiff.evaluation.frechet import moments
from elucidiff.evaluation.quality.reference import is_statistics, open_reference, write_statistics
from tests.evaluation.quality.small import Counting


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """300 images of 8 x 8: three blocks."""
    images = np.random.default_rng(0).integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "some.npz", images=images, labels=np.arange(300) % 3)
    return data.open(tmp_path / "some.npz")


def test_images_are_described_once(dataset: Dataset, tmp_path: Path) -> None:
    extractor = Counting()
    first = open_reference(dataset, extractor, cache=tmp_path / "cache")
    assert sum(extractor.described) == 300
    rows = dataset.images().float().mean(3).flatten(1).numpy()
    np.testing.assert_array_equal(first.features, rows)
    np.testing.assert_array_equal(first.gaussian.covariance, moments(rows)[1])
    again = open_reference(str(tmp_path / "some.npz"), extractor, cache=tmp_path / "cache")
    assert sum(extractor.described) == 300
    np.testing.assert_array_equal(again.gaussian.covariance, first.gaussian.covariance)
    np.testing.assert_array_equal(again.features, rows)
    assert (again.id, again.count, again.shape) == (first.id, 300, (1, 8, 8))


def test_other_images_or_shapes_are_described_anew(dataset: Dataset, tmp_path: Path) -> None:
    extractor, seen = Counting(), []
    open_reference(dataset, extractor, cache=tmp_path / "cache")
    same = dataset.images().numpy()
    for name, images in (
        ("changed", same ^ (np.arange(300) == 7)[:, None, None, None]),
        ("wide", same.reshape(300, 1, 4, 16)),
    ):
        np.save(tmp_path / f"{name}.npy", images.astype(np.uint8))
        before = sum(extractor.described)
        open_reference(tmp_path / f"{name}.npy", extractor, cache=tmp_path / "cache")
        seen.append(sum(extractor.described) - before)
    assert seen == [300, 300]


def test_what_was_stopped_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    whole = open_reference(dataset, Counting(), cache=tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop_at_once(_: int) -> None:
        raise StoppedError

    extractor = Counting()
    with pytest.raises(StoppedError):
        open_reference(dataset, extractor, cache=tmp_path / "cache", tick=stop_at_once)
    assert sum(extractor.described) == 128
    found = open_reference(dataset, extractor, cache=tmp_path / "cache")
    assert sum(extractor.described) == 300
    np.testing.assert_array_equal(found.gaussian.covariance, whole.gaussian.covariance)


@pytest.mark.parametrize("damage", ["short", "changed", "deleted"])
@pytest.mark.parametrize("name", ["128-255.npz", "statistics.npz"])
def test_damaged_features_are_made_again(name: str, damage: str, dataset: Dataset, tmp_path: Path) -> None:
    extractor = Counting()
    whole = open_reference(dataset, extractor, cache=tmp_path / "cache")
    file = next((tmp_path / "cache").rglob(name))
    content = file.read_bytes()
    if damage == "deleted":
        file.unlink()
    else:
        file.write_bytes(content[:300] if damage == "short" else content[:300] + b"\x55" * 8 + content[308:])
    if name == "128-255.npz" and damage != "deleted":
        # Only who needs the features themselves reads them.
        with pytest.raises(ValueError, match="are damaged: delete it, and run this again"):
            _ = open_reference(dataset, extractor, cache=tmp_path / "cache").features
        return
    found = open_reference(dataset, extractor, cache=tmp_path / "cache")
    np.testing.assert_array_equal(found.gaussian.covariance, whole.gaussian.covariance)
    assert sum(extractor.described) == (428 if name == "128-255.npz" else 300)


def test_statistics_as_nvlabs_publishes_them(dataset: Dataset, tmp_path: Path) -> None:
    extractor = Counting()
    whole = open_reference(dataset, extractor, cache=tmp_path / "cache")
    np.savez(tmp_path / "edm.npz", mu=whole.gaussian.mean, sigma=whole.gaussian.covariance)
    found = open_reference(tmp_path / "edm.npz", extractor)
    np.testing.assert_array_equal(found.gaussian.covariance, whole.gaussian.covariance)
    assert (found.count, found.shape, found.features) == (None, None, None)
    write_statistics(tmp_path / "ours.npz", whole)
    assert open_reference(tmp_path / "ours.npz", extractor).count == 300
    with pytest.raises(ValueError, match=r"of 8 features of counting-00000000, but other makes 8"):
        open_reference(tmp_path / "ours.npz", Counting(id="other"))
    with pytest.raises(ValueError, match=r"of 8 features of another extractor, but counting-00000000 makes 5"):
        open_reference(tmp_path / "edm.npz", Counting(dim=5))
    assert is_statistics(tmp_path / "edm.npz")
    assert not is_statistics(tmp_path / "some.npz")


def test_damaged_statistics(tmp_path: Path) -> None:
    eye, lopsided, negative = np.eye(8), np.eye(8), np.eye(8)
    lopsided[0, 1] = 0.5
    negative[3, 3] = -1.0
    bad = {
        "nan": {"mu": np.full(8, np.nan), "sigma": eye},
        "shape": {"mu": np.zeros(8), "sigma": np.eye(7)},
        "lopsided": {"mu": np.zeros(8), "sigma": lopsided},
        "negative": {"mu": np.zeros(8), "sigma": negative},
        "objects": {"mu": np.zeros(8), "sigma": np.array([{}], dtype=object)},
    }
    for name, arrays in bad.items():
        np.savez(tmp_path / f"{name}.npz", **arrays, allow_pickle=True)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=rf"{name}\.npz is damaged"):
            open_reference(tmp_path / f"{name}.npz", Counting())
    np.savez(tmp_path / "whole.npz", mu=np.zeros(8), sigma=eye)
    content = (tmp_path / "whole.npz").read_bytes()
    for name, damaged in (("short", content[:200]), ("pickle", pickle.dumps({"mu": 0}))):
        (tmp_path / f"{name}.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{name}\.npz is damaged"):
            open_reference(tmp_path / f"{name}.npz", Counting())


def test_data_that_the_extractor_cannot_describe(tmp_path: Path) -> None:
    np.save(tmp_path / "floats.npy", np.zeros((30, 1, 8, 8), np.float32))
    with pytest.raises(ValueError, match=r"not torch\.float32"):
        open_reference(tmp_path / "floats.npy", Counting(), cache=tmp_path / "cache")
    assert torch.float32 == data.open(tmp_path / "floats.npy").dtype
