"""Mosaics pixel by pixel, and files that are whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.figures.style import mosaic, new_figure, picture, save


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.sampled_from([1, 3]))
def test_every_image_stands_where_it_should(count: int, columns: int, zoom: int, channels: int) -> None:
    generator = np.random.default_rng(count)
    images = generator.integers(0, 255, (count, channels, 3, 5), dtype=np.uint8)
    sheet = mosaic(images, columns, gap=2, zoom=zoom)
    for k in range(count):
        y, x = (k // columns) * 5 * zoom, (k % columns) * 7 * zoom
        np.testing.assert_array_equal(sheet[:, y : y + 3 * zoom : zoom, x : x + 5 * zoom : zoom], images[k])
    shown = count * channels * 15 * zoom**2
    assert (sheet == 255).sum() >= sheet.size - shown  # all that is not an image is white


def test_bad_images_are_named() -> None:
    with pytest.raises(ValueError, match=r"not \(0, 1, 2, 2\)"):
        mosaic(np.zeros((0, 1, 2, 2), np.uint8), 2)
    with pytest.raises(ValueError, match="at least one column, not 0"):
        mosaic(np.zeros((1, 1, 2, 2), np.uint8), 0)
    with pytest.raises(ValueError, match=r"not \(2, 4, 4\)"):
        picture(new_figure(1, 1).subplots(), np.zeros((2, 4, 4), np.uint8))


def test_equal_numbers_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        figure = new_figure(2, 2)
        figure.subplots().plot([1, 2], [3, 4])
        save(figure, tmp_path / name)
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
