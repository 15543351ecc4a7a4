"""Labels: what is a class and what is a vector, and that nothing is ever taken for the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from elucidiff import data
from elucidiff.data.finding import find
from elucidiff.data.labels import Labels, in_order

ROWS = np.array([[0.5, -1.0], [2.0, 3.0], [0.0, 0.0]])


def labels(values: Any) -> Labels:
    return Labels.from_array(values, len(values), "x.npz")


@pytest.mark.parametrize(
    ("values", "kind", "dim", "rows"),
    [
        (np.array([1, 0], np.uint8), "classes", 2, [[0, 1], [1, 0]]),
        (np.array([[0, 1], [1, 0]]), "classes", 2, [[0, 1], [1, 0]]),
        (np.array([[0.0, 1.0], [1.0, 0.0]]), "classes", 2, [[0, 1], [1, 0]]),
        (ROWS, "vectors", 2, ROWS),
        (ROWS.astype(np.float16), "vectors", 2, ROWS),
        (ROWS[1:].round(), "vectors", 2, [[2, 3], [0, 0]]),
        (np.array([0.5, 3.0]), "vectors", 1, [[0.5], [3]]),
        (np.array([[1.0], [2.0]]), "vectors", 1, [[1], [2]]),
        (np.array([[1.0, 1.0], [1.0, 0.0]]), "vectors", 2, [[1, 1], [1, 0]]),
    ],
)
def test_the_type_and_shape_tell_the_kind(values: Any, kind: str, dim: int, rows: Any) -> None:
    found = labels(values)
    assert (found.kind, found.dim) == (kind, dim)
    np.testing.assert_array_equal(found.rows(np.arange(len(values))), rows)
    assert found.rows(np.array([1, 1, 0])).dtype == np.float32


@pytest.mark.parametrize(
    ("values", "places", "names"),
    [
        ([3, 5, 3], [0, 1, 0], ("3", "5")),
        ([1000, 0, 1000], [1, 0, 1], ("0", "1000")),
        ([0, 2, 1, 4], [0, 2, 1, 3], ("0", "1", "2", "4")),
        ([2, 3, 1], [1, 2, 0], ("1", "2", "3")),
        ([-1, 7, 10**12], [0, 1, 2], ("-1", "7", "1000000000000")),
        ([0, 2, 1], [0, 2, 1], ()),
    ],
)
def test_integers_with_gaps_become_names_of_classes(values: list[int], places: list[int], names: Any) -> None:
    found = labels(np.array(values))
    assert (found.values.tolist(), found.dim, found.names) == (places, len(set(values)), names)


def test_a_dataset_json_and_an_import_have_the_same_classes_as_an_array(tmp_path: Path) -> None:
    pictures = np.arange(48, dtype=np.uint8).reshape(3, 1, 4, 4)
    (tmp_path / "folder").mkdir()
    for picture, name in zip(pictures, "abc", strict=True):
        Image.fromarray(picture[0]).save(tmp_path / "folder" / f"{name}.png")
    (tmp_path / "folder/dataset.json").write_text('{"labels": [["a.png", 1000], ["b.png", 3], ["c.png", 1000]]}')
    np.savez(tmp_path / "x.npz", images=pictures, labels=[1000, 3, 1000])
    data.import_dataset(tmp_path / "folder", tmp_path / "set")
    for source in ("folder", "x.npz", "set"):
        dataset = data.open(tmp_path / source)
        assert dataset.classes is not None
        assert (dataset.classes.tolist(), dataset.class_names) == ([1, 0, 1], ("3", "1000"))


def test_classes_that_an_import_lost_keep_their_places(tmp_path: Path) -> None:
    for name in "abc":
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "dataset.json").write_text('{"labels": [["a.png", 0], ["b.png", 1], ["c.png", 2]]}')
    (tmp_path / "b.png").write_bytes(b"broken")
    data.import_dataset(tmp_path, tmp_path.parent / "kept", skip_broken=True)
    dataset = data.open(tmp_path.parent / "kept")
    assert dataset.classes is not None
    assert (dataset.classes.tolist(), dataset.label_dim, dataset.class_names) == ([0, 2], 3, ())


def test_numbered_folders_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for shade, name in enumerate(["2", "10", "1"]):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((4, 4), shade, np.uint8)).save(tmp_path / name / "x.png")
    dataset = data.open(tmp_path)
    assert dataset.class_names == ("1", "2", "10")
    assert dataset.classes is not None
    shades = dataset.images().flatten(1)[:, 0].tolist()
    assert dict(zip(shades, dataset.classes.tolist(), strict=True)) == {0: 1, 1: 2, 2: 0}


@pytest.mark.parametrize(
    "ordered",
    [
        ("9", "10", "100"),
        ("cat", "cat2", "cat10", "dog"),
        ("01", "1", "02", "2"),
        ("8" * 5000, "9" * 5000),
        ("", "0", "a", "n01440764", "n02102040"),
        ("v1.9", "v1.10", "v2.1"),
    ],
)
def test_names_are_in_natural_order(ordered: tuple[str, ...]) -> None:
    assert in_order(reversed(ordered)) == ordered


def test_more_classes_than_a_network_can_tell_apart_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x.npz: the labels are 65,537 different classes"):
        labels(np.arange(65_537))


@pytest.mark.parametrize(
    "values",
    [
        np.array([0.0, 1.0, 5.0]),  # classes that were read as text, or vectors of one number
        np.array([[0], [1], [5]]),  # classes with an axis too many
        np.array([[3, 4], [5, 6]], np.int8),
    ],
)
def test_what_may_be_either_is_refused(values: Any) -> None:
    with pytest.raises(
        ValueError, match=r"x.npz: labels are .* of whole numbers, which may be classes or vectors: sa"
    ):
        labels(values)


def test_numbers_beyond_float32_are_refused() -> None:
    with pytest.raises(ValueError, match="the label of image 1 is not finite"):
        labels(np.array([[0.5], [1e39]]))


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3), min_size=2, max_size=9))
def test_the_length_is_the_root_mean_square_of_the_rows(rows: list[list[float]]) -> None:
    vectors = np.array(rows) + np.array([0.5, 0, 0])
    assert labels(vectors).length == pytest.approx(np.sqrt((np.float32(vectors).astype(float) ** 2).sum(1).mean()))


def test_one_hot_rows_have_length_one() -> None:
    assert labels(np.array([0, 5, 2])).length == 1


def test_vectors_pass_unchanged_through_selections_and_an_import(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    np.savez(tmp_path / "x.npz", images=rows[:, None], labels=rows)
    dataset = data.open(tmp_path / "x.npz")
    assert (dataset.label_kind, dataset.label_dim, dataset.classes) == ("vectors", 3, None)
    part = dataset.select([4, 1])
    assert torch.equal(part.labels(), torch.from_numpy(rows[[4, 1]]))
    assert part.label_length == pytest.approx(float(np.sqrt((rows[[4, 1]] ** 2).sum(1).mean())))
    assert (dataset.without_labels().label_kind, dataset.without_labels().label_length) == (None, 0)
    data.import_dataset(tmp_path / "x.npz", tmp_path / "set")
    imported = data.open(tmp_path / "set")
    assert imported.label_kind == "vectors"
    assert torch.equal(imported.labels(), torch.from_numpy(rows))
    assert data.inspect(tmp_path / "set").label_length == pytest.approx(dataset.label_length)


def test_lists_in_dataset_json_are_vectors_even_of_whole_numbers(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "dataset.json").write_text('{"labels": [["a.png", [3, 4]], ["b.png", [1, 0]]]}')
    dataset = data.open(tmp_path)
    assert dataset.label_kind == "vectors"
    assert dataset.labels().tolist() == [[3, 4], [1, 0]]


@pytest.mark.parametrize("classes", [65_537, 10**8, 10**40])
def test_more_classes_than_a_network_could_have_are_refused(classes: int) -> None:
    """Also where a file says that there are so many, whatever its labels are: counting them would fill the memory."""
    with pytest.raises(ValueError, match=rf"x.npy: the labels are {classes:,} different classes, but must be 1 to"):
        Labels.from_array(np.array([0, 1]), 2, "x.npy", classes=classes)
    assert Labels.from_array(np.array([0, 1]), 2, "x.npy", classes=65_536).dim == 65_536


def test_longer_labels_than_a_network_could_take_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x.npz: a label is 65,537 numbers, but may be 65,536 at most"):
        labels(np.zeros((2, 65_537), np.uint8))


def test_commands_to_a_terminal_reach_neither_notes_nor_names_of_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"a\x1b[2J": np.zeros((2, 4, 4), np.uint8), "b\n": np.array([0, 1])})
    notes = find(tmp_path / "x.npz").notes
    assert notes
    assert all(note.isprintable() for note in notes)
    np.savez(tmp_path / "y.npz", images=np.zeros((2, 1, 4, 4), np.uint8), labels=np.array([b"a\x1b", b"b"]))
    assert data.open(tmp_path / "y.npz").class_names == ("a\\x1b", "b")
