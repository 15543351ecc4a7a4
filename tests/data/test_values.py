from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from elucidiff.data.sources import ArraySource
from elucidiff.data.values import Found, Levels, find_levels, survey, to_8_bit, white_of


def read(values: Any, white: float | None = None) -> tuple[Any, str]:
    """Values as they are read if they are pictures, and what is said."""
    stored = np.asarray(values).reshape(1, 1, 1, -1)
    levels = find_levels(stored.dtype, survey(ArraySource(stored), "x"), white, True, "x")
    return levels(stored).reshape(-1), levels.note


def test_16_bit_levels_as_a_division_by_257() -> None:
    values = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(to_8_bit(values, 65535), ((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


@pytest.mark.parametrize(
    ("highest", "white"), [(1, 255), (255, 255), (256, 1023), (1024, 4095), (4096, 16383), (16384, 65535)]
)
def test_the_bits_in_use(highest: int, white: int) -> None:
    assert white_of(highest) == white


@pytest.mark.parametrize("depth", [10, 12, 14, 16])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", "<i8"])
def test_all_256_levels_of_deep_pictures_come_out(depth: int, dtype: str) -> None:
    found, note = read(np.arange(1 << depth).astype(dtype))
    assert found.dtype == np.uint8
    assert np.array_equal(np.unique(found), np.arange(256))
    assert (np.diff(found.astype(int)) >= 0).all()
    assert f"read as {depth}-bit levels, {(1 << depth) - 1} as white" in note
    assert "--white" in note


def test_wide_types_of_8_bit_levels() -> None:
    for dtype in (np.uint16, np.int16, np.int32, np.int64):
        found, note = read(np.arange(256, dtype=dtype))
        assert np.array_equal(found, np.arange(256))
        assert "read as 8-bit levels" in note


def test_black_and_white() -> None:
    for values in (np.array([False, True]), np.array([0, 1], np.int32)):
        found, note = read(values)
        assert found.tolist() == [0, 255]
        assert "white (255)" in note
    found, note = read(np.array([0, 1], np.uint8))
    assert found.tolist() == [0, 1]
    assert "--white 1" in note
    assert read(np.array([0, 1], np.uint8), white=1)[0].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("values", "said"),
    [([-1.0, 1.0], ""), ([0.0, 1.0], "--white 1,"), ([0.0, 254.5], "--white 255"), ([0.0, 4000.0], "--white 4095")],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_kept_and_their_scale_is_said(values: list[float], said: str, dtype: Any) -> None:
    found, note = read(np.array(values, dtype))
    assert found.tolist() == values
    assert found.dtype == dtype
    assert said in note
    assert bool(note) == bool(said)


def test_a_white_that_was_asked_for() -> None:
    assert read([0.0, 0.25, 0.5, 1.0], white=1)[0].tolist() == [0, 64, 128, 255]
    assert read(np.array([0, 2048, 4095], np.uint16), white=65535)[0].tolist() == [0, 8, 16]
    assert read(np.array([0, 100, 200], np.uint8), white=200)[0].tolist() == [0, 128, 255]
    with pytest.raises(ValueError, match=r"x has values 0 to 300, which are not within 0 to 255 \(white\)"):
        read(np.array([0, 300], np.uint16), white=255)
    with pytest.raises(ValueError, match=r"x has values -0.5 to 1, which are not within 0 to 1 \(white\)"):
        read([-0.5, 1.0], white=1)


def test_nothing_is_said_of_floats_that_are_no_pictures() -> None:
    assert find_levels(np.dtype(float), Found(0.0, 300.0), None, False, "x") == Levels(np.dtype(float))
