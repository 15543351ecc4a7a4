from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from elucidiff import data


def deep(folder: Path, values: Any, kind: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, value in enumerate(values):
        Image.fromarray(np.asarray(value, np.uint16)).save(folder / f"{index}.{kind}")
    return folder


def ramp(highest: int) -> Any:
    """Two pictures, the first with the lower half of the values."""
    values = np.linspace(0, highest, 512).round().astype(np.uint16)
    return values.reshape(2, 16, 16)


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize(
    ("highest", "white"),
    [(1, 1), (255, 255), (700, 1023), (4080, 4095), (4095, 4095), (16383, 16383), (65535, 65535)],
)
def test_the_range_in_use_is_kept(tmp_path: Path, highest: int, white: int, kind: str) -> None:
    values = ramp(highest)
    expected = (values.astype(np.int64) * 510 + white) // (2 * white)
    data.import_dataset(deep(tmp_path / "x", values, kind), tmp_path / "out")
    images = np.load(tmp_path / "out" / "images.npy")[:, 0]
    assert np.array_equal(images, expected)
    assert len(np.unique(images)) >= min(highest + 1, 128)
    notes = data.import_dataset(tmp_path / "x", tmp_path / "out").notes
    assert bool(notes) == (white < 65535)
    assert all(f"{white.bit_length()} bits are in use (up to {highest} in" in note for note in notes)


def test_one_scale_for_all_pictures(tmp_path: Path) -> None:
    """A dark picture is not made brighter than it is beside others."""
    folder = deep(tmp_path / "x", [np.full((4, 4), 40), np.full((4, 4), 4000)])
    assert data.open(folder).images()[:, 0, 0, 0].tolist() == [2, 249]  # 255 v / 4095


def test_a_white_that_was_asked_for(tmp_path: Path) -> None:
    folder = deep(tmp_path / "x", ramp(4080))
    whole = data.open(folder, reading=data.Reading(white=65535))
    assert int(whole.images().max()) == 16
    with pytest.raises(ValueError, match=r"1.png has values up to 4080, above 1023 \(white\)"):
        data.open(folder, reading=data.Reading(white=1023))
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "8-bit.png")
    (tmp_path / "y").mkdir()
    (tmp_path / "8-bit.png").rename(tmp_path / "y" / "0.png")
    with pytest.raises(ValueError, match="y has no 16-bit grey pictures, of which white could be set"):
        data.open(tmp_path / "y", reading=data.Reading(white=255))


def png_of_16_bit_colours(values: Any) -> bytes:
    """Pillow writes none: 8 bytes of signature, then the header, the pixels and the end as chunks."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return len(content).to_bytes(4, "big") + name + content + checksum.to_bytes(4, "big")

    height, width, _ = values.shape
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_colours_that_lose_their_levels_are_said(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (8, 8, 3))
    (tmp_path / "dark").mkdir()
    (tmp_path / "dark" / "0.png").write_bytes(png_of_16_bit_colours(values))
    with pytest.warns(UserWarning, match=r"dark: 1 picture has 16-bit colours, .* at most 16 levels of each are"):
        dataset = data.open(tmp_path / "dark")
    assert np.array_equal(dataset.images()[0].permute(1, 2, 0).numpy(), values >> 8)
    (tmp_path / "bright").mkdir()
    (tmp_path / "bright" / "0.png").write_bytes(png_of_16_bit_colours(values * 16))
    assert data.open(tmp_path / "bright").notes == ()
