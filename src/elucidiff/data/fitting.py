"""Bring an image to a given size and number of channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from elucidiff.data.sources import Source

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


@dataclass(frozen=True)
class Conversion:
    """The change of images: see :func:`elucidiff.data.import_dataset`.

    Attributes:
        size: height and width to bring images to; None to leave them as they are.
        crop: what to do with another aspect ratio.
        channels: 1 to 4; None to leave them as they are.

    Raises:
        ValueError: a value out of its range.
    """

    size: tuple[int, int] | None = None
    crop: Crop = "centre"
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ValueError(f"resize is {self.size}, but must be a height and a width of at least 1")
        if self.crop not in CROPS:
            raise ValueError(f"crop is {self.crop!r}, but must be one of {', '.join(CROPS)}")
        if self.crop == "wide" and (self.size is None or self.size[0] > self.size[1]):
            raise ValueError("crop 'wide' needs resize=(height, width) with a height not above the width")
        if self.channels not in (None, 1, 2, 3, 4):
            raise ValueError(
                f"channels is {self.channels}, but must be 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA)"
            )

    def check(self, name: str, source: Source) -> None:
        """Refuse arrays of a kind that cannot be converted; image files always can.

        Raises:
            ValueError: they cannot.
        """
        pictures = source.dtype == np.uint8 and len(source.shape) == 3 and source.shape[0] <= 4
        if not (pictures or self == Conversion()):
            raise ValueError(
                f"{name} has {source.dtype} data of shape {source.shape}: only 8-bit images (C, H, W) with at most 4"
                " channels can be resized or given other channels"
            )

    def result_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the result for an image of ``shape``."""
        if self == Conversion():
            return shape
        size = shape[1:] if self.size is None else fitted_size(self.size, self.crop)
        return (self.channels or shape[0], *size)

    def enlarges(self, shape: tuple[int, ...]) -> bool:
        """True if an image of ``shape`` has fewer pixels in some direction than it would have afterwards."""
        if self.size is None:
            return False
        ratios = [new / old for new, old in zip(self.size, shape[1:], strict=True)]
        return (min(ratios) if self.crop == "pad" else max(ratios)) > 1

    def __call__(self, image: Pixels) -> Pixels:
        if self.channels is not None:
            image = with_channels(image, self.channels)
        return image if self.size is None else fit(image, self.size, self.crop)
