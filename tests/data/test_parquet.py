from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elucidiff import data
from tests.data.pictures import encoded, noise
from tests.mutations import outcomes

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def written(path: Path, seeds: range, labels: list[int] | None = None, **columns: Any) -> Path:
    """A file as Hugging Face's ``datasets`` writes it, three rows to a group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encoded(noise(seed)), "path": f"{seed}.png"} for seed in seeds]
    table: dict[str, Any] = {"image": images} | columns
    if labels is not None:
        table["label"] = labels
    features = {"info": {"features": {"label": {"names": ["cat", "dog", "fox"], "_type": "ClassLabel"}}}}
    made = pyarrow.table(table).replace_schema_metadata({"huggingface": json.dumps(features)})
    parquet.write_table(made, path, row_group_size=3)
    return path


def test_shards_in_order_with_class_names(tmp_path: Path) -> None:
    written(tmp_path / "data" / "train-00001-of-00002.parquet", range(7, 12), [1, 1, 0, 0, 1])
    written(tmp_path / "data" / "train-00000-of-00002.parquet", range(7), [0, 1, 0, 1, 0, 1, 0])
    written(tmp_path / "data" / "test-00000-of-00001.parquet", range(50, 52), [0, 0])
    dataset = data.open(tmp_path)
    expected = np.stack([noise(seed).transpose(2, 0, 1) for seed in range(12)])
    assert np.array_equal(dataset.images().numpy(), expected)
    assert np.array_equal(dataset.images([11, 0, 8]).numpy(), expected[[11, 0, 8]])
    assert (dataset.class_names, dataset.label_dim) == (("cat", "dog", "fox"), 3)
    assert dataset.classes is not None
    assert dataset.classes.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1]
    assert [len(data.open(f"{tmp_path}:{part}")) for part in ("train", "test", "all")] == [12, 2, 14]


def test_import(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", range(9), [2] * 9)
    imported = data.import_dataset(path, tmp_path / "out", resize=4)
    dataset = data.open(tmp_path / "out")
    assert (imported.count, dataset.shape, dataset.label_dim) == (9, (3, 4, 4), 3)
    assert torch.equal(dataset.labels(), torch.tensor([[0.0, 0, 1]]).expand(9, 3))


def test_errors(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": ["a"]}), tmp_path / "text.parquet")
    with pytest.raises(ValueError, match=r"text.parquet has columns text; expected one named image"):
        data.open(tmp_path / "text.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"cannot read .*bad.parquet: Parquet file size is 4 bytes"):
        data.open(tmp_path / "bad.parquet")
    parquet.write_table(pyarrow.table({"image": [b"junk"]}), tmp_path / "junk.parquet")
    with pytest.raises(ValueError, match=r"cannot read image .*junk.parquet, row 0 of row group 0: not an image"):
        data.open(tmp_path / "junk.parquet")
    parquet.write_table(pyarrow.table({"image": [{"bytes": None, "path": "x.png"}]}), tmp_path / "path.parquet")
    with pytest.raises(ValueError, match=r"path.parquet, row 0 of row group 0: the file does not hold its bytes"):
        data.open(tmp_path / "path.parquet")


def test_metadata_nested_too_deep_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", range(4), [0, 1, 0, 1])
    table = parquet.read_table(path).replace_schema_metadata({"huggingface": "[" * 200_000})
    parquet.write_table(table, path)
    assert data.open(path).label_dim == 2


def test_a_column_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path: Path) -> None:
    bomb = pyarrow.table({"image": [bytes(1 << 26)]})
    parquet.write_table(bomb, tmp_path / "x.parquet", compression="zstd")
    with pytest.raises(ValueError, match=r"row group 0 unpacks to 6\d+ bytes, more than 64 times its size"):
        data.open(tmp_path / "x.parquet")


def test_rows_at_random_are_those_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "x.parquet", range(9), [0] * 9)
    parquet.write_table(parquet.read_table(path), path, row_group_size=7)
    expected = [data.open(path)[row][0] for row in range(9)]
    monkeypatch.setattr("elucidiff.data.parquet._MOST_HELD", 1)  # nothing but the last rows is kept
    dataset = data.open(path)
    for row in (6, 0, 8, 3, 3, 5, 1, 7, 2):
        assert torch.equal(dataset[row][0], expected[row])


def test_damaged_files_give_one_line_or_images(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", range(4), [0, 1, 0, 1])
    sound = path.read_bytes()
    footer = range(len(sound) - 1500, len(sound))
    found = outcomes(lambda file: data.open(file)[3], path, sound, 150, places=footer)
    assert len(found.messages) > 50


def test_shards_must_have_the_same_columns(tmp_path: Path) -> None:
    written(tmp_path / "train-0.parquet", range(3), [0, 1, 2])
    written(tmp_path / "train-1.parquet", range(3))
    with pytest.raises(ValueError, match=r"train-1.parquet has no column 'label', which .*train-0.parquet has: sh"):
        data.open(tmp_path)
    written(tmp_path / "train-1.parquet", range(3), [0, 1, 2], more=[1, 2, 3])
    with pytest.raises(ValueError, match=r"train-0.parquet has no column 'more', which .*train-1.parquet has: sh"):
        data.open(tmp_path)
    written(tmp_path / "train-1.parquet", range(3), ["0", "1", "2"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"train-1.parquet has string in its column 'label', but .* int64: shards"):
        data.open(tmp_path)


def table(path: Path, **columns: Any) -> Path:
    parquet.write_table(pyarrow.table(columns), path, row_group_size=4)
    return path


@pytest.mark.parametrize(
    ("cells", "names", "classes"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], (), [1, 0, 2]),
        ([7, 3, 7], ("3", "7"), [1, 0, 1]),
        ([True, False, True], (), [1, 0, 1]),
    ],
)
def test_labels_of_any_kind(tmp_path: Path, cells: Any, names: tuple[str, ...], classes: list[int]) -> None:
    images = [encoded(noise(seed)) for seed in range(3)]
    dataset = data.open(table(tmp_path / "x.parquet", picture=images, y=cells))
    assert dataset.class_names == names
    assert dataset.classes.tolist() == classes  # type: ignore[union-attr]


def test_labels_that_are_missing(tmp_path: Path) -> None:
    images = [encoded(noise(seed)) for seed in range(3)]
    path = table(tmp_path / "x.parquet", image=images, label=["a", None, "b"])
    with pytest.raises(ValueError, match=r"x.parquet: 1 of 3 labels are empty, the first in row 1: fill them in, or"):
        data.open(path)
    assert data.open(path, labels=False).label_dim == 0
    with pytest.warns(UserWarning, match="the column of labels is empty, so there are no labels"):
        assert data.open(table(tmp_path / "y.parquet", image=images, label=pyarrow.nulls(3))).label_dim == 0


def test_another_column_of_labels(tmp_path: Path) -> None:
    images = [encoded(noise(seed)) for seed in range(3)]
    path = table(tmp_path / "x.parquet", img=images, fine_label=[0, 1, 2], coarse_label=[0, 1, 1])
    with pytest.warns(UserWarning, match="from the column fine_label; for one of coarse_label, import it with"):
        assert data.open(path).label_dim == 3
    assert data.open(path, reading=data.Reading(label_column="coarse_label")).label_dim == 2
    with pytest.raises(ValueError, match=r"x.parquet has no column 'kind': it has "):
        data.open(path, reading=data.Reading(label_column="kind"))


def test_lists_of_pixels(tmp_path: Path) -> None:
    pixels = np.stack([noise(seed, 8, 8) for seed in range(6)])
    labels = [0, 1, 0, 1, 0, 1]
    nested = table(tmp_path / "nested.parquet", image=pixels.astype(int).tolist(), label=labels)
    flat = table(tmp_path / "flat.parquet", image=pixels[..., 0].reshape(6, 64).astype(int).tolist(), label=labels)
    expected = pixels.transpose(0, 3, 1, 2)
    assert np.array_equal(data.open(nested).images().numpy(), expected)
    assert np.array_equal(data.open(nested).images([5, 0, 3]).numpy(), expected[[5, 0, 3]])
    assert np.array_equal(data.open(flat).images().numpy(), expected[:, :1])
    uneven = table(tmp_path / "uneven.parquet", image=[[1, 2], [3]])
    with pytest.raises(ValueError, match=r"images differ: .*uneven.parquet, row 0 .* has shape \(2,\), but .*row 1"):
        data.open(uneven)


def test_names_of_files_are_no_pictures(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", image=["a.png", "b.png"])
    with pytest.raises(ValueError, match=r"x.parquet: its column image holds text, but must hold encoded pictures"):
        data.open(path)


def test_rows_in_any_order_and_by_threads(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", range(200))
    expected = np.stack([noise(seed).transpose(2, 0, 1) for seed in range(200)])
    dataset = data.open(path)
    for rows in ([199, 0, 100], [5, 4, 3], list(range(0, 200, 7))):
        assert np.array_equal(dataset.images(rows).numpy(), expected[rows])
    for workers in (1, 3):
        out = tmp_path / f"out{workers}"
        data.import_dataset(path, out, workers=workers)
        assert np.array_equal(np.load(out / "images.npy"), expected)


@pytest.mark.parametrize(
    ("name", "cells", "names"),
    [
        ("digit", [3, 4, 3, 4], ("3", "4")),
        ("animal", ["cat", "dog", "cat", "dog"], ("cat", "dog")),
        ("wild", [True, False, True, False], ()),
    ],
)
def test_the_only_column_that_can_be_labels(
    tmp_path: Path, name: str, cells: list[Any], names: tuple[str, ...]
) -> None:
    path = written(tmp_path / "x.parquet", range(4), score=[0.1, 0.2, 0.3, 0.4], **{name: cells})
    with pytest.warns(
        UserWarning, match=f"labels are read from the column {name}, the only one .*--labels-from none"
    ):
        dataset = data.open(path)
    assert dataset.label_dim == 2
    assert dataset.class_names == names
    assert data.open(path, reading=data.Reading(labels_from="none")).label_dim == 0


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"caption": ["a cat on a mat", "a dog in fog", "an eel", "a fox in a box"]},
            "caption holds 4 different values",
        ),
        ({"__index_level_0__": [4, 5, 6, 7]}, "__index_level_0__ holds 4 different values"),
        (
            {"a": [0, 1, 0, 1], "b": [1, 1, 0, 0]},
            "no labels are read; for one of a, b, import it with --label-column",
        ),
    ],
)
def test_columns_that_cannot_be_labels_without_being_asked_for(tmp_path: Path, columns: Any, said: str) -> None:
    path = written(tmp_path / "x.parquet", range(4), **columns)
    with pytest.warns(UserWarning, match=said):
        assert data.open(path).label_dim == 0
    assert data.open(path, reading=data.Reading(label_column=next(iter(columns)))).label_dim >= 2
