"""One image file as an array, by Pillow."""

from __future__ import annotations

from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".pnm", ".tif", ".tiff"})
"""Files that are taken for images."""

# What an image becomes: grey, grey with alpha, RGB or RGBA. Palettes and other colour spaces are turned into RGB.
_TARGETS = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGBA": "RGBA", "RGBa": "RGBA", "RGB": "RGB", "RGBX": "RGB"}
_TARGETS |= {"P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
_CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
_ORIENTATION = 0x0112
# Pillow reads the orientation of the other formats only with the pixels.
_ORIENTED = frozenset({"JPEG", "MPO", "WEBP"})


def header(file: IO[bytes], where: str) -> tuple[int, int, int]:
    """Shape ``(C, H, W)`` that :func:`decode` will give, without decoding the pixels.

    Raises:
        ValueError: not an image that can be read; the message names ``where``.
    """
    with _opened(file, where) as image:
        channels = 1 if _is_16_bit(image) else _CHANNELS[_target(image, where)]
        width, height = image.size
        turned = _orientation(image) >= 5
        return (channels, width, height) if turned else (channels, height, width)


def decode(file: IO[bytes], where: str) -> npt.NDArray[np.uint8]:
    """The pixels, uint8 ``(C, H, W)``; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).

    Palettes become RGB, or RGBA if a colour is transparent; CMYK and the like RGB; 16-bit grey values v become
    round(v / 257); photographs are turned upright by their orientation tag.

    Raises:
        ValueError: the file is damaged or not an image; the message names ``where``.
    """
    with _opened(file, where) as image:
        target = None if _is_16_bit(image) else _target(image, where)
        try:
            if _orientation(image) > 1:
                ImageOps.exif_transpose(image, in_place=True)
            pixels = np.asarray(image if target in (None, image.mode) else image.convert(target))
        except Exception as error:  # Pillow's decoders raise many types for damaged files
            raise _unreadable(where, error) from None
    if target is None:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1))


def _opened(file: IO[bytes], where: str) -> Image.Image:
    try:
        return Image.open(file)
    except Exception as error:
        raise _unreadable(where, error) from None


def _unreadable(where: str, error: Exception) -> ValueError:
    # Pillow describes a file object by its address, which helps nobody.
    reason = "not an image" if "cannot identify" in str(error) else " ".join(str(error).split())
    return ValueError(f"cannot read image {where}: {reason or type(error).__name__}")


def _is_16_bit(image: Image.Image) -> bool:
    return image.mode.startswith("I;16")


def _target(image: Image.Image, where: str) -> str:
    mode = image.mode
    if mode == "P" and "transparency" in image.info:
        return "RGBA"
    if mode not in _TARGETS:
        raise ValueError(f"cannot read image {where}: pixels of type {mode} have no 8-bit form; save them as .npy")
    return _TARGETS[mode]


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 for upright to 8; 5 and more swap width and height."""
    if image.format not in _ORIENTED:
        return 1
    try:
        value: Any = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data in an image that is otherwise sound
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
