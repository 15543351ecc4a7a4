"""What each kind of image file becomes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from elucidiff.data.decoding import PictureFile, decode, header
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


@pytest.mark.parametrize("values", [np.float32([[0.25, -3e5]]), np.int32([[70_000, -2]])])
def test_values_of_32_bits_are_kept_and_have_no_8_bit_form(values: Any) -> None:
    content = encoded(values, "tiff")
    with PictureFile(io.BytesIO(content), "a/b.tiff") as picture:
        assert picture.stores_numbers(0) == values.dtype
        assert picture.shape(0) == (1, 1, 2)
        assert np.array_equal(picture.numbers(0), values[None])
    with pytest.raises(ValueError, match=r"cannot read image a/b.tiff: its values have 32 bits and no 8-bit form"):
        decode(io.BytesIO(content), "a/b.tiff")
    with PictureFile(io.BytesIO(encoded(noise(0))), "x.png") as picture:
        assert picture.stores_numbers(0) is None
        with pytest.raises(ValueError, match=r"cannot read image x.png: its pixels are none of 32 bits"):
            picture.numbers(0)


def test_bitmaps_without_a_file_header_are_read() -> None:
    pixels = noise(5)
    assert np.array_equal(decode(io.BytesIO(encoded(pixels, "dib")), "x.dib"), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC or HEIF"),
        (b"\xff\x0a", "JPEG XL"),
        (b"%!PS-Adobe-3.0", "PostScript"),
        (b'<?xml version="1.0"?>', "SVG"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"\0\0\0\x18ftypisom", "a video"),
    ],
)
def test_files_of_other_kinds_are_called_by_their_name(head: bytes, kind: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^cannot read image x.jpg: it is {kind}, which is not read: save it as PNG"
    ):
        header(io.BytesIO(head + bytes(600)), "x.jpg")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "ppm"])
def test_every_truncation_is_noticed(kind: str, tmp_path: Path) -> None:
    content = encoded(noise(3, 40, 40), kind)
    for length in (0, 1, len(content) // 4, len(content) // 2, len(content) * 3 // 4):
        with pytest.raises(ValueError, match=r"^cannot read image dir/x: [^\n]+$"):
            decode(io.BytesIO(content[:length]), "dir/x")


def test_a_text_file_is_not_an_image() -> None:
    with pytest.raises(ValueError, match=r"^cannot read image x.png: not an image$"):
        header(io.BytesIO(b"hello"), "x.png")


def upright(stored: Pixels, orientation: int) -> Pixels:
    """What the EXIF standard says of an image (H, W, C): where its first row and column belong."""
    return {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored.transpose(1, 0, 2), 2),
        8: np.rot90(stored, 1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tiff", "webp", "jpeg", "avif"])
def test_every_format_is_turned_by_its_tag(kind: str, orientation: int) -> None:
    stored = np.zeros((8, 16, 3), np.uint8)
    stored[:4, :8], stored[4:, :8, 0], stored[:4, 8:, 1] = 250, 250, 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {
        "webp": {"lossless": True},
        "jpeg": {"quality": 100, "subsampling": 0},
        "avif": {"quality": 100, "subsampling": "4:4:4"},
    }
    pixels = both(encoded(stored, kind, exif=exif, **options.get(kind, {})))
    expected = upright(stored, orientation).transpose(2, 0, 1)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= {"jpeg": 30, "avif": 60}.get(kind, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_png_tag_that_follows_the_pixels(orientation: int) -> None:
    stored = noise(5, 6, 5)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(stored, "png", exif=exif)
    start = content.index(b"eXIf") - 4
    length = int.from_bytes(content[start : start + 4], "big") + 12
    chunk, end = content[start : start + length], content[-12:]
    moved = content[:start] + content[start + length : -12] + chunk + end
    assert np.array_equal(both(moved), upright(stored, orientation).transpose(2, 0, 1))


def test_one_transparent_colour_becomes_alpha() -> None:
    grey = np.array([[0, 7], [255, 7]], np.uint8)
    pixels = both(encoded(grey, transparency=7))
    assert pixels.tolist() == [grey.tolist(), [[255, 0], [255, 0]]]
    colours = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8)
    pixels = both(encoded(colours, transparency=(1, 2, 3)))
    assert pixels.transpose(1, 2, 0).tolist() == [[[1, 2, 3, 0], [1, 2, 4, 255]]]
    deep = np.array([[0, 300, 65535]], np.uint16)
    pixels = both(encoded(deep, transparency=300))  # type: ignore[arg-type]
    assert pixels.tolist() == [[[0, 1, 255]], [[255, 0, 255]]]


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG file of any depth and colour type, written by hand."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    transparency = chunk(b"tRNS", extra) if extra else b""
    return b"\x89PNG\r\n\x1a\n" + start + transparency + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("depth", "packed", "top"), [(1, 0b01000000, 1), (2, 0b00011011, 3), (4, 0x0F, 15)])
def test_transparency_in_the_depth_of_the_file(depth: int, packed: int, top: int) -> None:
    width = {1: 2, 2: 4, 4: 2}[depth]
    pixels = both(png(width, 1, depth, 0, bytes([0, packed]), struct.pack(">H", top)))
    assert pixels[0, 0].tolist() == {1: [0, 255], 2: [0, 85, 170, 255], 4: [0, 255]}[depth]
    assert pixels[1, 0].tolist() == [255] * (width - 1) + [0]


def test_16_bit_grey_with_alpha_has_two_channels() -> None:
    pixels = both(png(2, 1, 16, 4, b"\0" + struct.pack(">HHHH", 0x1234, 0xFFFF, 0xFF00, 0x8000)))
    assert pixels.tolist() == [[[0x12, 0xFF]], [[0xFF, 0x80]]]


def test_transparency_in_16_bit_colours() -> None:
    row = b"\0" + struct.pack(">6H", 0x0102, 0x0304, 0x0506, 0x0902, 0x0304, 0x0506)
    pixels = both(png(2, 1, 16, 2, row, struct.pack(">3H", 0x0102, 0x0304, 0x0506)))
    assert pixels[:, 0].tolist() == [[1, 9], [3, 3], [5, 5], [0, 255]]


def test_16_bit_grey_map_of_any_range() -> None:
    assert both(b"P5 3 1 4095\n" + struct.pack(">HHH", 0, 2048, 4095)).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff", "avif"])
def test_every_page_in_any_order(kind: str) -> None:
    shades = (10, 100, 200, 40)
    pages = [Image.fromarray(np.full((16, 16, 3), shade, np.uint8)) for shade in shades]
    buffer = io.BytesIO()
    options = {"webp": {"lossless": True}}.get(kind, {})
    pages[0].save(buffer, kind, save_all=True, append_images=pages[1:], **options)
    with PictureFile(buffer, "x") as picture:
        assert picture.pages == (0, 1, 2, 3)
        for page in (0, 1, 3, 2, 0, 3):
            assert picture.shape(page) == (3, 16, 16)
            assert np.abs(picture.pixels(page).astype(int) - shades[page]).max() <= (2 if kind == "avif" else 0)


def test_a_frame_of_an_animation_is_what_is_seen() -> None:
    """A frame of a GIF holds only what changes."""
    first = Image.fromarray(noise(6, 16, 16), "RGB").quantize(64).convert("RGB")
    second = first.copy()
    second.putpixel((3, 2), (255, 0, 0))
    buffer = io.BytesIO()
    first.save(buffer, "gif", save_all=True, append_images=[second], optimize=False)
    with PictureFile(buffer, "x") as picture:
        frames = [picture.pixels(page).astype(int) for page in picture.pages]
    assert [frame.shape for frame in frames] == [(3, 16, 16)] * 2
    changed = np.argwhere((frames[0] != frames[1]).any(0))
    assert changed.tolist() == [[2, 3]]


def test_reduced_copies_in_a_tiff_file_are_no_pictures_of_their_own() -> None:
    large, small = Image.new("L", (16, 16), 9), Image.new("L", (4, 4), 9)
    small.encoderinfo = {"tiffinfo": {254: 1}}  # NewSubfileType: reduced
    buffer = io.BytesIO()
    large.save(buffer, "tiff", save_all=True, append_images=[small])
    with PictureFile(buffer, "x") as picture:
        assert (picture.pages, picture.left_out) == ((0,), 1)


def test_a_few_bytes_cannot_take_gigabytes() -> None:
    def refused(content: bytes, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            header(io.BytesIO(content), "x.png")
        with pytest.raises(ValueError, match=said):
            decode(io.BytesIO(content), "x.png")

    refused(png(9000, 9000, 8, 6, b"\0"), "declares 9000 x 9000 pixels, but has 66 bytes")
    refused(png(60000, 60000, 1, 0, b"\0"), "cannot read image x.png: ")
    frames = b"P5 20000 20000 255\n"
    refused(frames, "cannot read image x.png: ")
    gif = bytearray(encoded(noise(0), "gif"))
    gif[6:10] = struct.pack("<HH", 9000, 9000)
    refused(bytes(gif), "declares 9000 x 9000")


def test_frames_that_are_only_declared() -> None:
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "png", save_all=True, append_images=[Image.new("L", (8, 8), 9)])
    content = bytearray(buffer.getvalue())
    place = content.index(b"acTL")
    content[place + 4 : place + 8] = struct.pack(">I", 2**30)
    content[place + 12 : place + 16] = struct.pack(">I", zlib.crc32(bytes(content[place : place + 12])))
    with pytest.raises(ValueError, match="declares 1,073,741,824 frames, but is too small"):
        header(io.BytesIO(content), "x")


def test_a_tiff_file_whose_pages_lead_back_to_the_first() -> None:
    content = bytearray(encoded(noise(0, channels=1), "tiff"))
    start = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[start : start + 2], "little")
    link = start + 2 + 12 * entries
    content[link : link + 4] = content[4:8]
    with PictureFile(io.BytesIO(content), "x") as picture:
        assert picture.pages == (0,)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp", "ppm", "tiff", "avif", "jpeg2000"])
def test_any_damage_is_one_line(kind: str) -> None:
    content = encoded(noise(7, 24, 20), kind)
    generator = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(content[: generator.integers(1, len(content) + 1)])
        for place in generator.integers(0, len(damaged), generator.integers(1, 6)):
            damaged[place] = generator.integers(256)
        message = refusal(bytes(damaged))
        assert message.isprintable()
        assert not message or message.startswith("cannot read image dir/x: ")


def refusal(content: bytes) -> str:
    """The message with which a file is refused, or ""."""
    try:
        with PictureFile(io.BytesIO(content), "dir/x") as picture:
            for page in picture.pages:
                assert picture.pixels(page).shape == picture.shape(page)
    except ValueError as error:
        return str(error)
    return ""
