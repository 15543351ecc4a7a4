from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elucidiff import data

RANDOM = np.random.default_rng(0)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(autouse=True)
def _own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELUCIDIFF_DATA", str(tmp_path / "root"))


def idx(array: Any) -> bytes:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, count: int, stem: str = "train", zipped: bool = True) -> tuple[Any, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = RANDOM.integers(0, 256, (count, 28, 28)), RANDOM.integers(0, 10, count)
    for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return images, labels


def test_digits() -> None:
    from sklearn.datasets import load_digits

    dataset, raw = data.open("digits"), load_digits()
    images = dataset.images()
    assert (len(dataset), dataset.shape, images.dtype) == (1797, (1, 8, 8), torch.uint8)
    # 255 v / 16, rounded; a tie, v = 8, goes up.
    levels = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    assert images[:, 0].tolist() == [[[levels[int(v)] for v in row] for row in image] for image in raw.images]
    assert dataset.classes is not None
    assert dataset.classes.tolist() == raw.target.tolist()
    assert dataset.class_names == tuple("0123456789")
    assert dataset.verify().sha256 == "0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382"


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist_as_published() -> None:
    train, test = data.open("fashion-mnist"), data.open("fashion-mnist:test")
    assert (len(train), len(test), train.shape) == (60_000, 10_000, (1, 28, 28))
    assert train.classes is not None
    assert train.classes.bincount().tolist() == [6000] * 10
    assert train.classes[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert train.class_names[9] == "ankle boot"
    # The mean and standard deviation that the field normalises it by.
    values = train.images().double() / 255
    assert (values.mean().item(), values.std().item()) == pytest.approx((0.2860, 0.3530), abs=5e-5)
    whole = data.open(f"{DEBIAN}:all")
    assert len(whole) == 70_000
    assert torch.equal(whole.images([59_999, 60_000]), torch.cat([train.images([-1]), test.images([0])]))


@pytest.mark.parametrize(
    ("name", "folder", "zipped"),
    [
        ("mnist", "MNIST/raw", False),
        ("mnist", "mnist", True),
        ("fashion-mnist", "FashionMNIST/raw", False),
        ("fashion-mnist", "fashion-mnist", True),
    ],
)
def test_idx_files_in_the_data_root(tmp_path: Path, name: str, folder: str, zipped: bool) -> None:
    images, labels = write_idx(tmp_path / "root" / folder, 12, zipped=zipped)
    write_idx(tmp_path / "root" / folder, 5, "t10k", zipped)
    dataset = data.open(name)
    assert np.array_equal(dataset.images()[:, 0].numpy(), images)
    assert dataset.classes is not None
    assert dataset.classes.tolist() == labels.tolist()
    assert dataset.label_dim == 10
    assert [len(data.open(f"{name}:{part}")) for part in ("train", "test", "all")] == [12, 5, 17]


def test_a_folder_of_idx_files(tmp_path: Path) -> None:
    images, _ = write_idx(tmp_path / "mine", 3)
    assert np.array_equal(data.open(tmp_path / "mine").images()[:, 0].numpy(), images)
    with pytest.raises(ValueError, match="mine has no idx files of the part test: it has train"):
        data.open(f"{tmp_path / 'mine'}:test")


def test_damaged_idx_files(tmp_path: Path) -> None:
    write_idx(tmp_path, 4)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for content, message in (
        (path.read_bytes()[:100], "cannot read .*Compressed file ended"),
        (idx(np.zeros((4, 28, 28)))[:-1], r"has 3135 values, but its header says \(4, 28, 28\)"),
        (b"", "is not an idx file of numbers"),
        (b"\0\0\x0a\1\0\0\0\0", "is not an idx file of numbers"),
        (b"\0\0\x08\3\0\0", "is not an idx file of numbers"),
        (b"\0\0\x0d\3" + b"\xff" * 12, "has another number of values, but its header says"),
        (idx(np.zeros(4)), "has 1 axes, but pictures have at least 3"),
        (idx(np.zeros((3, 28, 28))), "there are 4 labels for 3 images"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            data.open(tmp_path)


def test_idx_files_of_other_names_and_types(tmp_path: Path) -> None:
    images, classes = RANDOM.normal(size=(5, 6, 7)).astype(">f4"), np.array([3, 1, 0, 2, 1])
    header = b"\0\0\x0d\3" + np.array(images.shape, ">u4").tobytes()
    (tmp_path / "letters-test-images.idx3-ubyte").write_bytes(header + images.tobytes())
    (tmp_path / "letters-test-labels.idx1-ubyte").write_bytes(idx(classes))
    for source in (tmp_path, tmp_path / "letters-test-images.idx3-ubyte"):
        dataset = data.open(source)
        assert np.array_equal(dataset.images()[:, 0].numpy(), images)
        assert dataset.classes is not None
        assert dataset.classes.tolist() == classes.tolist()
    (tmp_path / "letters-test-labels.idx1-ubyte").unlink()
    assert data.open(tmp_path).label_dim == 0
    (tmp_path / "digits-test-images-idx3-ubyte").write_bytes(header + images.tobytes())
    with pytest.raises(ValueError, match="holds several sets: give one of the files digits-test-images-idx3-ubyte, "):
        data.open(tmp_path)


def cifar_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[int]]:
    """A small set in CIFAR-10's layout, with torchvision made to believe that it is the published one."""
    from torchvision.datasets import CIFAR10

    folder.mkdir(parents=True)
    pixels, labels = RANDOM.integers(0, 256, (6, 3072), np.uint8), RANDOM.integers(0, 10, 6).tolist()
    sums = {}
    for name, rows in (("data_batch_1", slice(0, 2)), ("data_batch_2", slice(2, 4)), ("test_batch", slice(4, 6))):
        content = pickle.dumps({"data": pixels[rows], "labels": labels[rows]})
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    content = pickle.dumps({"label_names": ["airplane"]})
    (folder / "batches.meta").write_bytes(content)
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in ("data_batch_1", "data_batch_2")])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": hashlib.md5(content).hexdigest()})
    return pixels.reshape(6, 3, 32, 32), labels


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = cifar_files(tmp_path / "root" / "cifar-10-batches-py", monkeypatch)
    dataset = data.open("cifar10:all")
    assert np.array_equal(dataset.images().numpy(), pixels)
    assert dataset.classes is not None
    assert dataset.classes.tolist() == labels
    assert (len(data.open("cifar10")), dataset.class_names[3]) == (4, "cat")


def test_pickles_that_are_not_the_published_ones_are_not_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    folder = tmp_path / "root" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in ("data_batch_1", "batches.meta", "test_batch"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(
        ValueError, match=rf"{folder} does not hold the published files .*: remove it, and unpack https"
    ):
        data.open("cifar10")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["mnist", "cifar100"])
def test_what_cannot_be_fetched_is_explained(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(datasets, {"mnist": "MNIST", "cifar100": "CIFAR100"}[name], offline)
    with pytest.raises(FileNotFoundError) as error:
        data.open(name)
    text = str(error.value)
    assert text.startswith(f"{name} is not on this machine and could not be fetched (Name or service not known): ")
    assert str(tmp_path / "root") in text
    assert "https://" in text
    assert "\n" not in text


def test_a_fetched_set_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def fetch(root: Path, download: bool) -> None:
        assert download
        write_idx(root / "MNIST" / "raw", 3)

    monkeypatch.setattr(datasets, "MNIST", fetch)
    assert len(data.open("mnist")) == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "mnits",
            "no data set 'mnits': there is no such file or folder, nor a set of that name; did you mean 'mnist'",
        ),
        ("Digits", "did you mean 'digits'"),
        ("cifar-10", "did you mean 'cifar10'"),
        ("qqq", "known: digits, mnist, fashion-mnist, cifar10, cifar100"),
        ("/nowhere/x.zip", "no data set '/nowhere/x.zip': there is no such file or folder"),
        ("/nowhere:test", "no data set '/nowhere:test'"),
    ],
)
def test_unknown_names_and_missing_paths(source: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=message):
        data.open(source)


def test_parts_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the data set digits has no part 'test'"):
        data.open("digits:test")
    np.save(tmp_path / "x.npy", np.zeros((2, 1, 3), np.uint8))
    with pytest.raises(ValueError, match=r"x.npy has no part 'all': give its name alone"):
        data.open(f"{tmp_path / 'x.npy'}:all")


def test_a_path_object_is_never_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("digits.npz", np.zeros((2, 1, 3), np.uint8))
    with pytest.raises(FileNotFoundError):
        data.open(Path("digits"))
    assert len(data.open("digits")) == 1797


def test_files_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x.tar is not a data set: expected a folder, .zip"):
        data.open(tmp_path / "x.tar")
    with pytest.raises(ValueError, match="the name of the data set is empty"):
        data.open("")
