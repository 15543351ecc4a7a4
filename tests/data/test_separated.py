from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elucidiff import data

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 64), np.uint8)
CLASSES = [3, 1, 0, 2, 1, 0, 3]


def rows(path: Path, header: str, values: object, separator: str = ",") -> Path:
    lines = [separator.join(str(value) for value in row) for row in values]  # type: ignore[attr-defined]
    path.write_text("\n".join([header, *lines] if header else lines) + "\n")
    return path


def with_label(place: int = 0) -> list[list[object]]:
    return [[*row[:place], label, *row[place:]] for row, label in zip(PIXELS.tolist(), CLASSES, strict=True)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_picture_a_row(tmp_path: Path, separator: str) -> None:
    header = separator.join(["label", *(f"pixel{place}" for place in range(64))])
    dataset = data.open(rows(tmp_path / "x.csv", header, with_label(), separator))
    assert (dataset.shape, str(dataset.dtype)) == ((1, 8, 8), "torch.uint8")
    assert np.array_equal(dataset.images().numpy().reshape(7, 64), PIXELS)
    assert dataset.classes.tolist() == CLASSES  # type: ignore[union-attr]
    assert data.open(tmp_path / "x.csv", labels=False).shape == (1, 8, 8)


def test_without_a_header_and_with_an_index(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the first column is read as labels"):
        dataset = data.open(rows(tmp_path / "x.csv", "", with_label()))
    assert dataset.classes.tolist() == CLASSES  # type: ignore[union-attr]
    assert np.array_equal(dataset.images().numpy().reshape(7, 64), PIXELS)
    header = ",".join(["id", *(f"p{place}" for place in range(64)), "class"])
    numbered = [[1000 + index, *row] for index, row in enumerate(with_label(64))]
    dataset = data.open(rows(tmp_path / "y.csv", header, numbered))
    assert np.array_equal(dataset.images().numpy().reshape(7, 64), PIXELS)
    assert dataset.classes.tolist() == CLASSES  # type: ignore[union-attr]


@pytest.mark.parametrize("axis", ["first", "last"])
def test_colours_in_the_order_that_is_smooth(tmp_path: Path, axis: str) -> None:
    y, x = np.mgrid[:8, :8]
    pictures = np.stack([np.stack([x * 20 + n, 255 - y * 20, (x + y) * 5 + 40]) for n in range(4)])
    stored = pictures if axis == "first" else pictures.transpose(0, 2, 3, 1)
    with pytest.warns(UserWarning, match=f"192 numbers in a row are read as pictures of 8 x 8 with 3 .* axis {axis}"):
        dataset = data.open(rows(tmp_path / "x.csv", "", stored.reshape(4, -1).tolist()))
    assert np.array_equal(dataset.images().numpy(), pictures)


def test_the_only_column_beside_the_pixels_is_that_of_labels(tmp_path: Path) -> None:
    pixels = ",".join(f"p{place}" for place in range(64))
    with pytest.warns(UserWarning, match="labels are read from the column digit, the only one that can be"):
        dataset = data.open(rows(tmp_path / "x.csv", f"digit,{pixels}", with_label()))
    assert dataset.classes.tolist() == CLASSES  # type: ignore[union-attr]
    assert np.array_equal(dataset.images().numpy().reshape(7, 64), PIXELS)
    numbered = [[place, *row] for place, row in enumerate(PIXELS.tolist())]
    with pytest.warns(UserWarning, match="the column row holds 7 different values and was not taken for labels"):
        assert data.open(rows(tmp_path / "y.csv", f"row,{pixels}", numbered)).label_dim == 0


def test_signals_and_points(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 20))
    signals = data.open(rows(tmp_path / "x.csv", "", values.tolist()))
    assert signals.shape == (1, 20)
    assert np.array_equal(signals.images().numpy()[:, 0], values)
    assert data.open(rows(tmp_path / "y.csv", "x,y", values[:, :2].tolist())).shape == (2,)


def test_what_is_no_table_of_pixels(tmp_path: Path) -> None:
    pictures = rows(tmp_path / "x.csv", "file_name,label", [["a.png", 0], ["b.png", 1]])
    with pytest.raises(ValueError, match=r"x.csv has columns file_name, label, which are no pixels: .* give the fol"):
        data.open(pictures)
    gap = [*PIXELS.tolist(), [""] * 64]
    with pytest.raises(ValueError, match=r"image 7 of .*y.csv has no values"):
        data.open(rows(tmp_path / "y.csv", "", gap))
    with pytest.raises(ValueError, match=r"z.csv is damaged, or no table of numbers"):
        data.open(rows(tmp_path / "z.csv", "", [[1, 2, 3, 4], [1, 2]]))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match=r"empty.csv"):
        data.open(tmp_path / "empty.csv")
