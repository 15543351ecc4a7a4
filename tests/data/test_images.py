"""Folders and archives of images: order, labels and what can be wrong with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elucidiff import data
from tests.data.pictures import archive, encoded, noise, write


def folder(root: Path, names: list[str], labels: Any = ...) -> Path:
    for index, name in enumerate(names):
        write(root / name, noise(index))
    if labels is not ...:
        (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    return root


def test_images_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = ["b/2.png", "a.png", "b/10.png", "c.png"]
    folder(tmp_path, names)
    (tmp_path / "notes.txt").write_text("not an image")
    write(tmp_path / ".thumbnails" / "x.png", noise(9))
    images = data.open(tmp_path).images()
    expected = [noise(names.index(name)).transpose(2, 0, 1) for name in sorted(names)]
    assert np.array_equal(images.numpy(), np.stack(expected))


def test_classes_are_the_sub_folders(tmp_path: Path) -> None:
    dataset = data.open(folder(tmp_path, ["train/dog/x.png", "train/cat/deep/y.png", "train/cat/z.png"]))
    assert dataset.class_names == ("cat", "dog")
    assert dataset.classes is not None
    assert dataset.classes.tolist() == [0, 0, 1]
    image, label = dataset[2]
    assert label is not None
    assert (label.tolist(), image.dtype) == ([0.0, 1.0], torch.uint8)


@pytest.mark.parametrize("names", [["x.png"], ["only/x.png", "only/y.png"], ["x.png", "only/y.png"]])
def test_no_classes(tmp_path: Path, names: list[str]) -> None:
    dataset = data.open(folder(tmp_path, names))
    assert (dataset.label_dim, dataset.labels(), dataset[0][1]) == (0, None, None)


def test_dataset_json_decides_over_sub_folders(tmp_path: Path) -> None:
    names = ["a/x.png", "b/y.png"]
    dataset = data.open(folder(tmp_path / "numbers", names, [["b/y.png", 0], ["a\\x.png", 4]]))
    assert dataset.class_names == ("0", "4")
    assert dataset.classes is not None
    assert dataset.classes.tolist() == [1, 0]
    assert data.open(folder(tmp_path / "null", names, None)).label_dim == 0
    vectors = data.open(folder(tmp_path / "vectors", names, [["a/x.png", [0.5, 2]], ["b/y.png", [1, -1]]]))
    assert vectors.classes is None
    assert vectors.labels() is not None
    assert vectors.labels([1, 0]).tolist() == [[1.0, -1.0], [0.5, 2.0]]  # type: ignore[union-attr]


def test_one_hot_vectors_are_classes(tmp_path: Path) -> None:
    labels = [["x.png", [0, 0, 1]], ["y.png", [1, 0, 0]]]
    dataset = data.open(folder(tmp_path, ["x.png", "y.png"], labels))
    assert dataset.classes is not None
    assert dataset.classes.tolist() == [2, 0]
    assert dataset.labels().tolist() == [[0, 0, 1], [1, 0, 0]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["x.png", 0]], "dataset.json has no label for y.png"),
        ([["x.png", 0], ["y.png", 1], ["z.png", 1]], "dataset.json has a label for z.png, which is not there"),
        ([["x.png", 0], ["y.png", [1, 0]]], "labels must be all integers, all text, or all lists"),
        ([["x.png", [1, 0]], ["y.png", [1]]], "labels must be all integers, all text, or all lists"),
        ([["x.png", "cat"], ["y.png", 1]], "labels must be all integers, all text, or all lists"),
        ([["x.png", [float("nan")]], ["y.png", [1]]], "the label of image 0 is not finite"),
        (["x.png", "y.png"], r"dataset.json is damaged .*expected \{"),
        (7, r"dataset.json is damaged"),
    ],
)
def test_wrong_labels(tmp_path: Path, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        data.open(folder(tmp_path, ["x.png", "y.png"], labels))
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_labels_as_a_mapping(tmp_path: Path) -> None:
    dataset = data.open(folder(tmp_path, ["x.png", "y.png"], {"y.png": "dog", "x.png": "eel"}))
    assert dataset.class_names == ("dog", "eel")
    assert dataset.classes.tolist() == [1, 0]  # type: ignore[union-attr]


def test_pictures_of_32_bits_are_read_like_arrays(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    for place, each in enumerate(values):
        write(tmp_path / "set" / "cd"[place % 2] / f"{place}.tif", each)
    dataset = data.open(tmp_path / "set")
    assert np.array_equal(dataset.images().numpy(), values[[0, 2, 1, 3], None])
    assert dataset.class_names == ("c", "d")
    data.import_dataset(tmp_path / "set", tmp_path / "out")
    assert np.array_equal(data.open(tmp_path / "out").images().numpy(), values[[0, 2, 1, 3], None])
    write(tmp_path / "levels" / "0.tif", np.int32([[0, 4095, 273]]))
    with pytest.warns(UserWarning, match="holds int32 values 0 to 4095: they are read as 12-bit levels"):
        assert data.open(tmp_path / "levels").images().flatten().tolist() == [0, 255, 17]
    write(tmp_path / "levels" / "1.tif", np.uint8([[0, 1, 2]]))
    with pytest.raises(ValueError, match=r"1.tif: it is 8 or 16 bits a value, but .*0.tif int32"):
        data.open(tmp_path / "levels")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{", b"[]", b"{}", b"3"])
def test_damaged_dataset_json(tmp_path: Path, content: bytes) -> None:
    folder(tmp_path, ["x.png"])
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"dataset.json is damaged"):
        data.open(tmp_path)


def test_empty_folder_and_archive(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "readme.txt").write_text("")
    with pytest.raises(ValueError, match=rf"{tmp_path}/none holds no images \(PNG, JPEG.*\); there are 1 \.txt"):
        data.open(tmp_path / "none")
    with pytest.raises(ValueError, match=r"none.zip holds no images"):
        data.open(archive(tmp_path / "none.zip", {}))


def test_mixed_sizes_and_channels_name_two_files(tmp_path: Path) -> None:
    write(tmp_path / "sizes" / "a.png", noise(0, 6, 5))
    write(tmp_path / "sizes" / "b.png", noise(0, 6, 7))
    with pytest.raises(ValueError, match=r"a.png is 3 channels of 5 x 6, but .*b.png is 3 channels of 7 x 6; import"):
        data.open(tmp_path / "sizes")
    write(tmp_path / "channels" / "a.png", noise(0, channels=1))
    write(tmp_path / "channels" / "b.png", noise(0))
    with pytest.raises(ValueError, match=r"a.png is 1 channel of 5 x 6, but .*b.png is 3 channels of 5 x 6"):
        data.open(tmp_path / "channels")


def test_a_file_that_is_no_image_is_found_at_once(tmp_path: Path) -> None:
    folder(tmp_path, ["x.png"])
    (tmp_path / "y.png").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"cannot read image {tmp_path}/y.png: not an image"):
        data.open(tmp_path)


def test_a_truncated_image_is_found_by_verify(tmp_path: Path) -> None:
    folder(tmp_path, ["x.png"])
    (tmp_path / "y.png").write_bytes(encoded(noise(1, 40, 40))[:2000])
    write(tmp_path / "x.png", noise(0, 40, 40))
    dataset = data.open(tmp_path)
    assert dataset[0][0].shape == (3, 40, 40)
    with pytest.raises(ValueError, match=rf"cannot read image {tmp_path}/y.png: "):
        dataset.verify()


def test_an_image_that_changed_since_it_was_opened(tmp_path: Path) -> None:
    dataset = data.open(folder(tmp_path, ["x.png", "y.png"]))
    write(tmp_path / "y.png", noise(1, 3, 3))
    with pytest.raises(ValueError, match=r"y.png has changed since the data set was opened"):
        dataset.images()


def test_a_missing_image_is_an_os_error(tmp_path: Path) -> None:
    dataset = data.open(folder(tmp_path, ["x.png", "y.png"]))
    (tmp_path / "y.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"y\.png"):
        dataset.verify()


def test_archives_read_like_folders(tmp_path: Path) -> None:
    folder(tmp_path / "f", ["cat/1.png", "dog/2.png", "dog/3.png"])
    shutil.make_archive(str(tmp_path / "f"), "zip", tmp_path / "f")
    left, right = data.open(tmp_path / "f"), data.open(tmp_path / "f.zip")
    assert left.verify() == right.verify()
    assert left.class_names == right.class_names == ("cat", "dog")


def test_what_macos_adds_to_an_archive_is_left_out(tmp_path: Path) -> None:
    files = {"f/x.png": encoded(noise(0)), "__MACOSX/f/._x.png": b"junk", "f/.DS_Store": b"junk"}
    assert len(data.open(archive(tmp_path / "f.zip", files))) == 1


def test_damaged_archives(tmp_path: Path) -> None:
    whole = archive(tmp_path / "x.zip", {f"{n}.png": encoded(noise(n, 40, 40)) for n in range(3)})
    content = whole.read_bytes()
    for length in (0, 100, len(content) // 2, len(content) - 10):
        whole.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"^{whole} is truncated or not a zip archive"):
            data.open(whole)
    # One byte of the pixels of 1.png flipped: the checksum of the archive tells.
    place = content.index(b"1.png") + 4000
    whole.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(ValueError, match=rf"^cannot read image {whole}:1.png: "):
        data.open(whole).verify()
