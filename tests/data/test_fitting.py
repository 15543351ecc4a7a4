from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.data.fitting import CROPS, Conversion, fit, with_channels
from tests.data.pictures import noise

SIDES = st.integers(1, 40)


def chw(pixels: Any) -> Any:
    return pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)


def test_alpha_is_laid_on_white() -> None:
    image = np.array([200, 100, 0, 51], np.uint8).reshape(4, 1, 1)  # one fifth opaque
    assert with_channels(image, 3).ravel().tolist() == [244, 224, 204]
    assert with_channels(np.array([0, 0], np.uint8).reshape(2, 1, 1), 1).ravel().tolist() == [255]
    assert with_channels(np.array([90, 255], np.uint8).reshape(2, 1, 1), 3).ravel().tolist() == [90, 90, 90]


def test_grey_is_the_luma() -> None:
    colours = np.array([[255, 0, 0, 40], [0, 255, 0, 40], [0, 0, 255, 40]], np.uint8).reshape(3, 1, 4)
    assert with_channels(colours, 1).ravel().tolist() == [76, 150, 29, 40]
    assert with_channels(colours, 2)[1].ravel().tolist() == [255] * 4


@pytest.mark.parametrize("have", [1, 2, 3, 4])
@pytest.mark.parametrize("want", [1, 2, 3, 4])
def test_opaque_grey_survives_any_change_of_channels(have: int, want: int) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(1, 3, 4) * 20
    image = with_channels(with_channels(grey, have), want)
    assert len(image) == want
    assert np.array_equal(image[0], grey[0])


@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, crop=st.sampled_from(["centre", "stretch"]))
def test_a_flat_image_stays_flat(height: int, width: int, new_height: int, new_width: int, crop: Any) -> None:
    image = np.full((3, height, width), 77, np.uint8)
    fitted = fit(image, (new_height, new_width), crop)
    assert fitted.shape == (3, new_height, new_width)
    assert (fitted == 77).all()


@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES)
def test_padding_keeps_everything_in_the_middle(height: int, width: int, new_height: int, new_width: int) -> None:
    fitted = fit(np.full((1, height, width), 9, np.uint8), (new_height, new_width), "pad")[0]
    rows, columns = np.flatnonzero(fitted.any(1)), np.flatnonzero(fitted.any(0))
    assert (fitted[np.ix_(rows, columns)] == 9).all()
    scale = min(new_height / height, new_width / width)
    assert len(rows) == max(1, round(height * scale))
    assert len(columns) == max(1, round(width * scale))
    for found, side in ((rows, new_height), (columns, new_width)):
        assert found[-1] - found[0] == len(found) - 1
        assert abs(found[0] - (side - 1 - found[-1])) <= 1


def test_the_centre_is_cut_without_resampling() -> None:
    image = chw(noise(0, 8, 12))
    assert np.array_equal(fit(image, (8, 8), "centre"), image[:, :, 2:10])
    assert np.array_equal(fit(image, (4, 12), "centre"), image[:, 2:6])


def test_lanczos_keeps_the_mean_of_a_smooth_image() -> None:
    y, x = np.mgrid[:64, :64] / 64
    image = np.round(127 + 100 * np.sin(2 * np.pi * x) * np.cos(2 * np.pi * y)).astype(np.uint8)[None]
    small = fit(image, (16, 16), "stretch")[0].astype(float)
    expected = image[0].reshape(16, 4, 16, 4).mean((1, 3))
    assert np.abs(small - expected).max() < 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (0, 3)}, r"resize is \(0, 3\)"),
        ({"size": (3, 3, 3)}, r"resize is \(3, 3, 3\)"),
        ({"crop": "left"}, rf"crop is 'left', but must be one of {', '.join(CROPS)}"),
        ({"crop": "wide"}, r"crop 'wide' needs resize=\(height, width\)"),
        ({"crop": "wide", "size": (9, 8)}, "a height not above the width"),
        ({"channels": 5}, "channels is 5"),
    ],
)
def test_settings_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Conversion(**arguments)


def test_what_enlarges() -> None:
    assert Conversion((8, 8)).enlarges((3, 7, 100))
    assert not Conversion((8, 8), "pad").enlarges((3, 7, 100))
    assert Conversion((8, 8), "pad").enlarges((3, 7, 7))
    assert not Conversion((8, 8)).enlarges((3, 8, 8))
    assert not Conversion().enlarges((3, 1, 1))


def test_large_images_take_little_memory_beside_themselves() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 1030, 1025), np.uint8)
    whole = with_channels(image, 3)
    opacity = image[3].astype(np.uint32)
    expected = (image[:3] * opacity + 255 * (255 - opacity) + 127) // 255
    assert np.array_equal(whole, expected)
    tracemalloc.start()
    try:
        with_channels(image, 3)
        assert tracemalloc.get_traced_memory()[1] < 3 * image[0].size + (16 << 20)
    finally:
        tracemalloc.stop()
