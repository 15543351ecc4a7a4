"""What an import does to each image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elucidiff.data.fitting import CROPS, Crop, Pixels, fit, fitted_size, with_channels
from elucidiff.data.sources import Source


@dataclass(frozen=True)
class Conversion:
    """How images are changed: see :func:`elucidiff.data.import_dataset`.

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
        """Whether arrays of this kind can be converted; image files always can.

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
        """Whether an image of ``shape`` has fewer pixels in some direction than it would have afterwards."""
        if self.size is None:
            return False
        ratios = [new / old for new, old in zip(self.size, shape[1:], strict=True)]
        return (min(ratios) if self.crop == "pad" else max(ratios)) > 1

    def __call__(self, image: Pixels) -> Pixels:
        if self.channels is not None:
            image = with_channels(image, self.channels)
        return image if self.size is None else fit(image, self.size, self.crop)
