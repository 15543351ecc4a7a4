from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elucidiff import data
from tests.data.pictures import archive

RANDOM = np.random.default_rng(0)


def saved(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    ("shape", "expected", "axes"),
    [
        ((7, 3, 4, 5), (3, 4, 5), (0, 1, 2, 3)),  # (N, C, H, W)
        ((7, 1, 4), (1, 4), (0, 1, 2)),  # signals
        ((7, 2, 4, 5, 6), (2, 4, 5, 6), (0, 1, 2, 3, 4)),  # volumes
        ((7, 2), (2,), (0, 1)),  # points
        ((7, 4, 9, 3), (4, 9, 3), (0, 1, 2, 3)),  # few channels first: taken at its word
        ((7, 8, 9, 3), (3, 8, 9), (0, 3, 1, 2)),  # (N, H, W, C)
        ((7, 8, 9, 2), (2, 8, 9), (0, 3, 1, 2)),
    ],
)
def test_axes(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...], axes: tuple[int, ...]) -> None:
    array = RANDOM.integers(0, 256, shape, np.uint8)
    dataset = data.open(saved(tmp_path / "x.npy", array))
    assert (dataset.shape, len(dataset), dataset.name) == (expected, 7, "x")
    assert np.array_equal(dataset.images().numpy(), array.transpose(axes))


def test_grey_pictures_without_a_channel_axis(tmp_path: Path) -> None:
    array = RANDOM.integers(0, 256, (7, 8, 9), np.uint8)
    dataset = data.open(saved(tmp_path / "x.npy", array))
    assert dataset.shape == (1, 8, 9)
    assert np.array_equal(dataset.images([3, 1]).numpy(), array[[3, 1], None])
    assert data.open(saved(tmp_path / "y.npy", array.astype(np.float32))).shape == (1, 8, 9)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
def test_floats_stay_floats(tmp_path: Path, dtype: str) -> None:
    array = RANDOM.normal(size=(5, 2, 3)).astype(dtype)
    dataset = data.open(saved(tmp_path / "x.npy", array))
    assert dataset.dtype == getattr(torch, f"float{8 * array.itemsize}")
    assert dataset[4][0].tolist() == array[4].tolist()


def test_npz_with_labels(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (4, 8, 8, 3), np.uint8)
    for names in (("images", "labels"), ("arr_0", "arr_1")):
        np.savez(tmp_path / "x.npz", **dict(zip(names, (images, np.array([0, 2, 1, 2])), strict=True)))
        dataset = data.open(tmp_path / "x.npz")
        assert np.array_equal(dataset.images().numpy(), images.transpose(0, 3, 1, 2))
        assert dataset.labels().tolist() == np.eye(3)[[0, 2, 1, 2]].tolist()  # type: ignore[union-attr]
    np.savez_compressed(tmp_path / "y.npz", anything=images)
    assert data.open(tmp_path / "y.npz").label_dim == 0
    np.savez(tmp_path / "z.npz", images=images, labels=np.linspace(0, 1, 4))
    assert data.open(tmp_path / "z.npz").labels().tolist() == pytest.approx(np.linspace(0, 1, 4)[:, None], abs=1e-7)  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [-np.inf, np.inf])
def test_infinite_values_are_named_with_their_position(tmp_path: Path, value: float) -> None:
    array = np.zeros((3000, 2, 40, 40), np.float32)
    array[2999, 1, 5, 7] = value
    with pytest.raises(ValueError, match=rf"x.npy holds {value} at \[2999, 1, 5, 7\]: values must be finite"):
        data.open(saved(tmp_path / "x.npy", array))
    np.savez(tmp_path / "x.npz", array[-2:])
    with pytest.raises(ValueError, match=rf"x.npz holds {value} at \[1, 1, 5, 7\]"):
        data.open(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.full((3, 1, 4), -7, np.int64),
            r"x.npy holds int64 values -7 to -7: save them as uint8 \(0..255\), or as f",
        ),
        (np.full((3, 1, 4), 1 << 16), r"x.npy holds int64 values 65536 to 65536: save them"),
        (np.zeros((3, 1, 4), np.complex64), "x.npy holds complex64: save real and imaginary parts as two channels"),
        (np.zeros((3, 1, 4), "M8[s]"), r"x.npy holds datetime64\[s\]: save it as uint8 \(0..255\) or as floating p"),
        (np.full((3, 1, 4), "a"), "x.npy holds <U1: save it as uint8"),
        (np.zeros((3, 1, 4), np.longdouble), r"save it as float64 or float32"),
        (np.zeros(3, np.uint8), r"x.npy has shape \(3,\): expected \(N, C, \*spatial\) with at least one image"),
        (np.zeros((0, 1, 4), np.uint8), r"x.npy has shape \(0, 1, 4\)"),
        (np.zeros((3, 0, 4), np.uint8), r"x.npy has shape \(3, 0, 4\)"),
    ],
)
def test_arrays_that_are_no_images(tmp_path: Path, array: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.open(saved(tmp_path / "x.npy", array))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1]), "there are 2 labels for 3 images"),
        (np.array([[0.5], [np.nan], [1]]), "the label of image 1 is not finite"),
        (np.zeros((3, 0)), r"labels are float64 \(3, 0\)"),
        (np.zeros((3, 2, 2)), r"labels are float64 \(3, 2, 2\)"),
    ],
)
def test_wrong_labels(tmp_path: Path, labels: Any, message: str) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 1, 4), np.uint8), labels=labels)
    with pytest.raises(ValueError, match=rf"x.npz: {message}"):
        data.open(tmp_path / "x.npz")


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    array = np.array([Trap(tmp_path / "sprung")], object)
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    np.savez(tmp_path / "x.npz", images=array)
    array.dump(tmp_path / "bare.npy")
    for name in ("x.npy", "x.npz", "bare.npy"):
        with pytest.raises(ValueError, match=rf"cannot read .*{name}(:images.npy)?: .*never unpickled"):
            data.open(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_truncated_files(tmp_path: Path, name: str) -> None:
    array = RANDOM.integers(0, 256, (9, 3, 8, 8), np.uint8)
    (np.save if name == "x.npy" else np.savez)(tmp_path / name, array)
    content = (tmp_path / name).read_bytes()
    for length in (0, 5, 60, 200, len(content) - 1):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"^cannot read {tmp_path}/{name}: [^\n]+$"):
            data.open(tmp_path / name)


def test_npz_with_unknown_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(ValueError, match=r"x.npz holds a, b; name the arrays images and labels, or import"):
        data.open(tmp_path / "x.npz")


GREY = RANDOM.integers(0, 256, (6, 1, 8, 8), np.uint8)
CLASSES = np.array([0, 1, 2, 2, 1, 0])


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images", "labels"), ("x", "y"), ("X", "y"), ("data", "target"), ("image", "label"), ("arr_1", "arr_0")],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_usual_names(tmp_path: Path, images: str, labels: str, save: Any) -> None:
    save(tmp_path / "x.npz", **{labels: CLASSES, images: GREY})
    dataset = data.open(tmp_path / "x.npz")
    assert np.array_equal(dataset.images().numpy(), GREY)
    assert dataset.classes is not None
    assert dataset.classes.tolist() == CLASSES.tolist()


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X-train", "Y-train", "X-test", "Y-test"),
        ("xtrain", "ytrain", "xtest", "ytest"),
    ],
)
@pytest.mark.parametrize("kind", ["x.npz", "folder"])
def test_parts(tmp_path: Path, names: tuple[str, ...], kind: str) -> None:
    # Keras keeps classes in a column.
    arrays = dict(zip(names, (GREY[:4], CLASSES[:4, None], GREY[4:], CLASSES[4:, None]), strict=True))
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)
    else:
        np.savez(path, **arrays)
    with pytest.warns(UserWarning, match=rf"the part train \({names[0]}\) is read; :test, :all after the name"):
        whole = data.open(path)
    assert np.array_equal(whole.images().numpy(), GREY[:4])
    for part, rows in (("train", slice(0, 4)), ("test", slice(4, 6)), ("all", slice(0, 6))):
        dataset = data.open(f"{path}:{part}")
        assert np.array_equal(dataset.images().numpy(), GREY[rows])
        assert len(dataset) == len(GREY[rows])
    assert data.open(f"{path}:all").classes.tolist() == CLASSES.tolist()  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="has no part 'val': its parts are train, test"):
        data.open(f"{path}:val")


def test_arrays_that_were_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", before=GREY, after=255 - GREY, kind=CLASSES)
    with pytest.raises(ValueError, match="holds before, after, kind; name the arrays images and labels, or import"):
        data.open(tmp_path / "x.npz")
    dataset = data.open(tmp_path / "x.npz", reading=data.Reading(image_column="after", label_column="kind"))
    assert np.array_equal(dataset.images().numpy(), 255 - GREY)
    assert dataset.label_dim == 3
    with pytest.raises(ValueError, match=r"x.npz has no array 'x': it holds before, after, kind"):
        data.open(tmp_path / "x.npz", reading=data.Reading(image_column="x"))


def test_an_array_an_image(tmp_path: Path) -> None:
    """In a folder or archive, and as numpy.savez(path, *images) writes them."""
    np.savez(tmp_path / "x.npz", *GREY[:, 0])
    for index, image in enumerate(GREY[:, 0]):
        (tmp_path / "folder" / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "folder" / "ab"[index % 2] / f"{index}.npy", image)
    with pytest.warns(UserWarning, match="6 arrays are read as an image each"):
        assert np.array_equal(data.open(tmp_path / "x.npz").images().numpy(), GREY)
    dataset = data.open(tmp_path / "folder")
    assert np.array_equal(dataset.images().numpy(), GREY[[0, 2, 4, 1, 3, 5]])
    assert dataset.class_names == ("a", "b")
    np.save(tmp_path / "folder" / "b" / "5.npy", GREY[0])
    with pytest.raises(ValueError, match=r"a/0.npy is uint8 \(8, 8\), but .*b/5.npy is uint8 \(1, 8, 8\)"):
        data.open(tmp_path / "folder")


def put(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def packed(folder: Path) -> Path:
    """A zip archive of a folder."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return archive(folder.with_suffix(".zip"), files)


@pytest.mark.parametrize(
    "names",
    [
        ("train/images", "train/labels", "test/images", "test/labels"),
        ("train/x", "train/y", "test/x", "test/y"),
        ("images/train", "labels/train", "images/test", "labels/test"),
        ("x_train", "y_train", "x_test", "y_test"),
        ("set/train/x_train", "set/train/y_train", "set/test/x_test", "set/test/y_test"),
        ("top/Train/data", "top/Train/targets", "top/Test/data", "top/Test/targets"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_folders_of_named_arrays_with_parts(tmp_path: Path, names: tuple[str, ...], zipped: bool) -> None:
    for name, array in zip(names, (GREY[:4], CLASSES[:4], GREY[4:], CLASSES[4:]), strict=True):
        put(tmp_path / "x" / f"{name}.npy", array)
    where = packed(tmp_path / "x") if zipped else tmp_path / "x"
    with pytest.warns(UserWarning, match="the part train .* is read; :test, :all after the name reads others"):
        train = data.open(where)
    assert np.array_equal(train.images().numpy(), GREY[:4])
    assert train.classes.tolist() == CLASSES[:4].tolist()  # type: ignore[union-attr]
    assert np.array_equal(data.open(f"{where}:test").images().numpy(), GREY[4:])
    assert data.open(f"{where}:all").classes.tolist() == CLASSES.tolist()  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="has no part 'val': its parts are train, test"):
        data.open(f"{where}:val")


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_files_called_after_parts(tmp_path: Path, kind: str) -> None:
    for part, rows in (("train", slice(0, 4)), ("test", slice(4, 6))):
        if kind == "npz":
            np.savez(tmp_path / f"{part}.npz", images=GREY[rows], labels=CLASSES[rows])
        else:
            flat = np.concatenate([CLASSES[rows, None], GREY[rows].reshape(-1, 64)], 1)
            header = ",".join(["label", *(f"pixel{place}" for place in range(64))])
            np.savetxt(tmp_path / f"mnist_{part}.csv", flat, "%d", ",", header=header, comments="")
    with pytest.warns(UserWarning, match=r"the part train \(\w+\.\w+\) is read; :test after the name reads others"):
        assert np.array_equal(data.open(tmp_path).images().numpy(), GREY[:4])
    assert np.array_equal(data.open(f"{tmp_path}:test").images().numpy(), GREY[4:])
    with pytest.raises(ValueError, match="has no part 'val': its parts are"):
        data.open(f"{tmp_path}:val")


def test_arrays_beside_folders_of_arrays_are_as_pictures_beside_folders(tmp_path: Path) -> None:
    for index in range(4):
        put(tmp_path / "cd"[index % 2] / f"{index}.npy", GREY[index])
    put(tmp_path / "loose.npy", GREY[4])
    with pytest.warns(
        UserWarning, match=r"left out: 1 array beside the 2 folders c, d, .*loose.npy\); --labels-from none"
    ):
        dataset = data.open(tmp_path)
    assert np.array_equal(dataset.images().numpy(), GREY[[0, 2, 1, 3]])
    assert dataset.class_names == ("c", "d")
    assert len(data.open(tmp_path, reading=data.Reading(labels_from="none"))) == 5
    for index in range(5):
        put(tmp_path / f"loose{index}.npy", GREY[4])
    with pytest.warns(UserWarning, match="no labels: 6 arrays of 10 lie beside the 2 folders c, d"):
        assert data.open(tmp_path).label_dim == 0


def test_arrays_have_labels_as_pictures_have_them(tmp_path: Path) -> None:
    for index in range(3):
        put(tmp_path / "listed" / f"{index}.npy", GREY[index])
        put(tmp_path / "parts" / ("train", "test")[index % 2] / "cd"[index // 2] / f"{index}.npy", GREY[index])
    (tmp_path / "listed" / "labels.csv").write_text("0.npy,cat\n1.npy,dog\n2.npy,cat\n")
    listed = data.open(tmp_path / "listed")
    assert listed.class_names == ("cat", "dog")
    assert listed.classes.tolist() == [0, 1, 0]  # type: ignore[union-attr]
    train, test = (data.open(f"{tmp_path / 'parts'}:{part}") for part in ("train", "test"))
    assert train.class_names == test.class_names == ("c", "d")
    assert test.classes.tolist() == [0]  # type: ignore[union-attr]


def test_the_only_array_that_can_be_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=GREY, digit=CLASSES, mu=np.zeros(9), weight=np.ones(6))
    with pytest.warns(
        UserWarning, match="labels are read from digit, the only array that can be; --labels-from none"
    ):
        assert data.open(tmp_path / "x.npz").classes.tolist() == CLASSES.tolist()  # type: ignore[union-attr]
    assert data.open(tmp_path / "x.npz", labels=False).label_dim == 0
    np.savez(tmp_path / "x.npz", images=GREY, step=np.arange(6))
    with pytest.warns(UserWarning, match="no labels are read, as step holds 6 different values; --label-column step"):
        assert data.open(tmp_path / "x.npz").label_dim == 0
    np.savez(tmp_path / "x.npz", images=GREY, digit=CLASSES, other=CLASSES)
    with pytest.warns(UserWarning, match="images, no labels; for one of digit, other"):
        assert data.open(tmp_path / "x.npz").label_dim == 0


def test_labels_are_text(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=GREY, labels=np.array(["cat", "dog", "eel"])[CLASSES])
    dataset = data.open(tmp_path / "x.npz")
    assert dataset.class_names == ("cat", "dog", "eel")
    assert dataset.classes.tolist() == CLASSES.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["npy", "npz", "packed"])
def test_any_order_of_rows_and_of_memory(tmp_path: Path, order: Any, kind: str) -> None:
    array = np.asarray(RANDOM.normal(size=(40, 2, 5, 6)), ">f8", order=order)
    path = tmp_path / ("x.npy" if kind == "npy" else "x.npz")
    {"npy": np.save, "npz": np.savez, "packed": np.savez_compressed}[kind](path, array)
    dataset = data.open(path)
    for rows in ([0, 1, 2], [7, 9, 30], [39, 3, 3], list(range(40)), []):
        assert np.array_equal(dataset.images(rows).numpy(), array[rows])


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", images=RANDOM.normal(size=(20, 1, 8, 8)))
        content = bytearray((tmp_path / "x.npz").read_bytes())
        content[len(content) // 2] ^= 255
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"^cannot read .*x.npz:images.npy: [^\n]+$"):
            data.open(tmp_path / "x.npz").images()


def test_arrays_in_memory() -> None:
    images = RANDOM.random((5, 8, 8, 3)).astype(np.float32)
    dataset = data.Dataset.from_arrays(images, ["b", "a", "a", "b", "b"])
    assert (dataset.shape, dataset.label_dim, dataset.class_names, len(dataset)) == ((3, 8, 8), 2, ("a", "b"), 5)
    assert np.array_equal(dataset.images().numpy(), images.transpose(0, 3, 1, 2))
    tensors = data.Dataset.from_arrays(torch.ones(4, 1, 4, 4, dtype=torch.bfloat16), torch.tensor([2, 0, 1, 0]))
    assert (tensors.dtype, tensors.classes.tolist()) == (torch.float32, [2, 0, 1, 0])  # type: ignore[union-attr]
    asked = data.Dataset.from_arrays(images, reading=data.Reading(channel_axis="first", white=1))
    assert (asked.shape, asked.dtype) == ((8, 8, 3), torch.uint8)
    images[4, 7, 7, 2] = np.inf
    with pytest.raises(ValueError, match=r"arrays holds inf at \[4, 7, 7, 2\]"):
        data.Dataset.from_arrays(images)
    with pytest.raises(ValueError, match="there are 2 labels for 5 images"):
        data.Dataset.from_arrays(np.zeros((5, 1, 4, 4), np.uint8), [0, 1])


def test_parts_that_are_read_together_have_one_scale(tmp_path: Path) -> None:
    train, test = np.full((3, 1, 4, 4), 4000, np.uint16), np.full((2, 1, 4, 4), 500, np.uint16)
    np.savez(tmp_path / "x.npz", x_train=train, x_test=test)
    dataset = data.open(f"{tmp_path / 'x.npz'}:all")
    assert dataset.images()[:, 0, 0, 0].tolist() == [249, 249, 249, 31, 31]  # 255 v / 4095
