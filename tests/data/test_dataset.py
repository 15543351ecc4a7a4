from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from elucidiff import data
from elucidiff.data.dataset import Dataset
from tests.golden_files import GOLDEN

ZIP = GOLDEN / "k_dataset" / "tiny_rgb.zip"


def test_batches_are_the_items() -> None:
    dataset = data.open(ZIP)
    indices = [3, -1, 0, 3]
    images, labels = dataset.images(torch.tensor(indices)), dataset.labels(np.array(indices))
    assert labels is not None
    for place, index in enumerate(indices):
        image, label = dataset[index]
        assert torch.equal(images[place], image)
        assert label is not None
        assert torch.equal(labels[place], label)
    items = dataset.__getitems__(indices)
    assert torch.equal(torch.stack([image for image, _ in items]), images)
    assert len(list(dataset)) == len(dataset) == 20
    assert len(dataset.images([])) == 0


def test_index_out_of_range() -> None:
    dataset = data.open(ZIP)
    for index in (20, -21):
        with pytest.raises(IndexError, match=rf"index {index} is out of range for tiny_rgb, which has 20 images"):
            dataset[index]


def test_images_are_not_shared_with_the_data_set() -> None:
    dataset = data.open("digits")
    dataset.images([0]).fill_(7)
    dataset.images().fill_(7)
    assert dataset.images([0]).float().std() > 50


def test_selections_of_selections() -> None:
    dataset = data.open(ZIP, xflip=True)
    part = dataset.select([39, 2, 21]).select([2, 0])
    assert part.source_rows.tolist() == [1, 19]
    assert part.mirrored.tolist() == [True, True]
    assert torch.equal(part.images(), dataset.images([1, 19]).flip(-1))
    assert part.labels().tolist() == dataset.labels([1, 19]).tolist()  # type: ignore[union-attr]
    assert part.label_dim == 4
    assert len(part.with_mirror_images()) == 4
    assert torch.equal(part.with_mirror_images().images([2, 3]), dataset.images([1, 19]))


def test_without_labels() -> None:
    dataset = data.open(ZIP, labels=False, xflip=True, max_size=5)
    assert (dataset.label_dim, dataset.labels(), dataset.classes, dataset[7][1]) == (0, None, None, None)


@pytest.mark.parametrize(
    ("options", "name"), [({"max_size": 0}, "max_size is 0"), ({"random_seed": -1}, "random_seed")]
)
def test_options_out_of_range(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        data.open(ZIP, **options)


def test_in_memory_is_the_same_data() -> None:
    dataset = data.open(ZIP, xflip=True).select([30, 1, 7])
    copy = dataset.in_memory()
    assert torch.equal(copy.images(), dataset.images())
    assert copy.labels().tolist() == dataset.labels().tolist()  # type: ignore[union-attr]
    assert copy.verify() == dataset.verify()
    assert copy.nbytes == 3 * 3 * 16 * 16


def test_the_fingerprint_tells_images_labels_and_order(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4), np.uint8)
    labels = np.array([0, 1, 2, 0, 1, 2])

    def sha256(images: Any, labels: Any = None) -> str:
        arrays = {"images": images} if labels is None else {"images": images, "labels": labels}
        np.savez(tmp_path / "x.npz", **arrays)
        return data.open(tmp_path / "x.npz").verify().sha256

    original = sha256(images, labels)
    changed = images.copy()
    changed[5, 0, 3, 3] ^= 1
    others = [sha256(changed, labels), sha256(images[::-1], labels), sha256(images, labels[::-1]), sha256(images)]
    assert len({original, *others}) == 5
    assert sha256(images, np.eye(3)[labels]) == original
    np.save(tmp_path / "y.npy", images)
    assert data.open(tmp_path / "y.npy").verify().sha256 == others[3]
    assert data.open(tmp_path / "y.npy").verify() == data.Fingerprint("y", (1, 4, 4), "uint8", 6, 0, others[3])


def test_the_fingerprint_does_not_depend_on_the_container() -> None:
    folder = data.open(GOLDEN / "k_dataset" / "tiny_rgb_folder")
    assert folder.verify().sha256 == data.open(ZIP).verify().sha256


def first_pixel_sum(dataset: Dataset) -> int:
    return int(dataset.images().sum())


@pytest.mark.parametrize("kind", ["zip", "npy"])
def test_a_pickled_data_set_reads_the_same_and_is_small(tmp_path: Path, kind: str) -> None:
    if kind == "zip":
        dataset = data.open(ZIP)
    else:
        np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (2000, 9, 9), np.uint8))
        dataset = data.open(tmp_path / "x.npy")
    content = pickle.dumps(dataset)
    assert len(content) < 20_000
    assert torch.equal(pickle.loads(content).images(), dataset.images())


def test_processes_forked_from_this_one_read_an_archive_independently() -> None:
    dataset = data.open(ZIP, xflip=True)
    expected = first_pixel_sum(dataset)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(first_pixel_sum, [dataset] * 6) == [expected] * 6
    loader = DataLoader(dataset, batch_size=7, num_workers=2, multiprocessing_context="fork")
    batches = list(loader)
    assert torch.equal(torch.cat([images for images, _ in batches]), dataset.images())
    assert torch.equal(torch.cat([labels for _, labels in batches]), dataset.labels())
