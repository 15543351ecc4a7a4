"""Bring an image to a given size and number of channels."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Crop = Literal["centre", "pad", "stretch", "wide"]
CROPS: tuple[str, ...] = get_args(Crop)

_PIXELS_AT_ONCE = 1 << 18


def with_channels(image: Pixels, channels: int) -> Pixels:
    """An image with another number of channels.

    Alpha is removed by laying the image on white, and added as opaque. Colours become grey by the luma of ITU-R
    BT.601, 0.299 R + 0.587 G + 0.114 B; grey becomes three equal channels.

    Args:
        image: uint8 ``(C, H, W)`` with C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
        channels: the C that is wanted.
    """
    if len(image) == channels:
        return image
    out = np.empty((channels, *image.shape[1:]), np.uint8)
    # Some rows at a time: what is computed in between is several times as large as the image.
    rows = max(1, _PIXELS_AT_ONCE // image.shape[2])
    for top in range(0, image.shape[1], rows):
        out[:, top : top + rows] = _rows_with_channels(image[:, top : top + rows], channels)
    return out


def _rows_with_channels(image: Pixels, channels: int) -> Pixels:
    have = len(image)
    colours, alpha = (image[:-1], image[-1:]) if have in (2, 4) else (image, None)
    if alpha is not None and channels in (1, 3):
        opacity = alpha.astype(np.uint32)
        colours = ((colours * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
    if len(colours) == 3 and channels in (1, 2):
        colours = np.asarray(Image.fromarray(colours.transpose(1, 2, 0)).convert("L"))[None]
    elif len(colours) == 1 and channels in (3, 4):
        colours = colours.repeat(3, 0)
    if channels in (1, 3):
        return colours
    return np.concatenate([colours, np.full_like(image[:1], 255) if alpha is None else alpha])


def fit(image: Pixels, size: tuple[int, int], crop: Crop) -> Pixels:
    """An image resized with a Lanczos filter.

    Args:
        image: uint8 ``(C, H, W)``, C from 1 to 4.
        size: height and width of the result.
        crop: what to do with another aspect ratio: keep the largest ``centre`` of the right one; ``pad`` all of it
            with black; ``stretch`` it; or ``wide``, the "centre crop wide" of NVlabs' dataset_tool: a strip of the
            given size in the middle of a black square as wide.

    Returns:
        uint8 ``(C, *size)``; for ``wide`` ``(C, width, width)``.
    """
    height, width = size
    _, have_height, have_width = image.shape
    if crop == "centre":
        keep_height = min(have_height, max(1, round(have_width * height / width)))
        keep_width = min(have_width, max(1, round(have_height * width / height)))
        return _resized(_centre(image, keep_height, keep_width), size)
    if crop == "pad":
        scale = min(height / have_height, width / have_width)
        inner = max(1, round(have_height * scale)), max(1, round(have_width * scale))
        return _on_black(_resized(image, inner), size)
    if crop == "wide":
        # The strip has as many rows as the image would have at the new width, but is cut from the image as it is.
        # That is what the tool does, though it squeezes images much wider than the result.
        rows = min(have_height, max(1, round(width * have_height / have_width)))
        return _on_black(_resized(_centre(image, rows, have_width), size), (width, width))
    return _resized(image, size)


def fitted_size(size: tuple[int, int], crop: Crop) -> tuple[int, int]:
    """Height and width of what :func:`fit` gives."""
    return (size[1], size[1]) if crop == "wide" else size


def _centre(image: Pixels, height: int, width: int) -> Pixels:
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[:, top : top + height, left : left + width]


def _resized(image: Pixels, size: tuple[int, int]) -> Pixels:
    if image.shape[1:] == size:
        return image
    if len(image) == 3:  # a colour at a time, which gives the same and takes less memory
        return np.concatenate([_resized(colour[None], size) for colour in image])
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(resized).reshape(*size, -1).transpose(2, 0, 1)


def _on_black(image: Pixels, size: tuple[int, int]) -> Pixels:
    canvas = np.zeros((len(image), *size), np.uint8)
    top, left = (size[0] - image.shape[1]) // 2, (size[1] - image.shape[2]) // 2
    canvas[:, top : top + image.shape[1], left : left + image.shape[2]] = image
    return canvas
