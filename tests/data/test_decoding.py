"""What each kind of image file becomes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elucidiff.data.decoding import decode, header
from tests.data.pictures import Pixels, encoded, noise


def both(content: bytes) -> Pixels:
    pixels = decode(io.BytesIO(content), "x")
    assert header(io.BytesIO(content), "x") == pixels.shape
    return pixels


@pytest.mark.parametrize("kind", ["png", "bmp", "ppm", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_exact_formats(kind: str, channels: int) -> None:
    pixels = noise(0, channels=channels)
    assert np.array_equal(both(encoded(pixels, kind)), pixels.reshape(6, 5, channels).transpose(2, 0, 1))


def test_webp_without_loss() -> None:
    assert np.array_equal(both(encoded(noise(1), "webp", lossless=True)), noise(1).transpose(2, 0, 1))


def test_jpeg_of_a_flat_image() -> None:
    pixels = np.full((8, 16, 3), 130, np.uint8)
    assert np.abs(both(encoded(pixels, "jpeg")).astype(int) - 130).max() <= 1


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_a_channel(channels: int) -> None:
    pixels = noise(2, channels=channels)
    assert np.array_equal(both(encoded(pixels)), pixels.transpose(2, 0, 1))


def test_palette_becomes_rgb_and_a_transparent_one_rgba() -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8), "L")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    for options, channels in (({}, 3), ({"transparency": 1}, 4)):
        buffer = io.BytesIO()
        image.save(buffer, "png", **options)
        pixels = both(buffer.getvalue())
        assert pixels[:3, 0].tolist() == [[10, 40], [20, 50], [30, 60]]
        assert len(pixels) == channels
    assert pixels[3].tolist() == [[255, 0], [0, 255]]


def test_bilevel_is_black_and_white() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1").save(buffer, "png")
    assert both(buffer.getvalue()).tolist() == [[[0, 255], [255, 0]]]


def test_16_bit_grey_is_rounded() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0, 128, 129, 65535]], np.uint16)).save(buffer, "png")
    assert both(buffer.getvalue()).tolist() == [[[0, 0, 1, 255]]]


def test_photographs_are_turned_upright() -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 250
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn clockwise to see it upright
    turned = both(encoded(pixels, "jpeg", exif=exif))
    assert turned.shape == (3, 16, 8)
    assert turned[:, :7].min() > 200
    assert turned[:, 9:].max() < 50


def test_values_without_an_8_bit_form_are_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.ones((2, 2), np.float32)).save(buffer, "tiff")
    with pytest.raises(ValueError, match=r"cannot read image a/b.tiff: pixels of type F have no 8-bit form"):
        header(io.BytesIO(buffer.getvalue()), "a/b.tiff")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "ppm"])
def test_every_truncation_is_noticed(kind: str, tmp_path: Path) -> None:
    content = encoded(noise(3, 40, 40), kind)
    for length in (0, 1, len(content) // 4, len(content) // 2, len(content) * 3 // 4):
        with pytest.raises(ValueError, match=r"^cannot read image dir/x: [^\n]+$"):
            decode(io.BytesIO(content[:length]), "dir/x")


def test_a_text_file_is_not_an_image() -> None:
    with pytest.raises(ValueError, match=r"^cannot read image x.png: not an image$"):
        header(io.BytesIO(b"hello"), "x.png")
