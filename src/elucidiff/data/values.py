"""The meaning of an array's values: 8-bit levels, levels of more bits, or numbers in their owner's units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from elucidiff.data.sources import Images, Source, in_pieces

DEPTHS = (8, 10, 12, 14, 16)
"""Numbers of bits in which cameras and scanners measure."""

_SAMPLE = 64


@dataclass(frozen=True)
class Found:
    """The values of an array.

    Attributes:
        lowest, highest: value.
        missing: number of the values that are NaN.
        count: number of all values.
    """

    lowest: float
    highest: float
    missing: int = 0
    count: int = 0


@dataclass(frozen=True)
class Levels:
    """The reading of an array's values.

    Attributes:
        dtype: of the images: uint8 or floating point.
        white: the value that becomes 255, with 0 as 0; None: values are kept.
        note: what was taken for what and how to ask for the other reading, where there is another; else "".
    """

    dtype: np.dtype[Any]
    white: float | None = None
    note: str = ""

    def __call__(self, images: Images) -> Images:
        """The images of stored values, in their type."""
        if self.white is None:
            return images.astype(self.dtype, copy=False)
        if images.dtype.kind != "f" and self.white == int(self.white):
            return to_8_bit(images, int(self.white))
        scaled = np.rint(images.astype(np.float64) * (255 / self.white))
        return np.clip(scaled, 0, 255).astype(np.uint8)


def to_8_bit(values: Images, white: int) -> Images:
    """Whole values 0..white as 8-bit levels: round(255 v / white), halves up; what is above ``white`` becomes 255."""
    table = (np.arange(white + 1, dtype=np.uint64) * 510 + white) // (2 * white)
    indices = values if values.dtype.kind == "b" else np.clip(values, 0, white)
    return table.astype(np.uint8)[indices.astype(np.int64)]


def white_of(highest: float) -> int:
    """The largest value of the fewest bits out of :data:`DEPTHS` that hold ``highest``.

    Raises:
        ValueError: more than 16 bits.
    """
    for depth in DEPTHS:
        if highest < 1 << depth:
            return (1 << depth) - 1
    raise ValueError(f"{highest:g} takes more than 16 bits")


def survey(source: Source, where: str) -> Found:
    """Read all values once, except of 8-bit data, which are sampled.

    Raises:
        ValueError: an infinite value, with its position in the array; or an image without any value.
    """
    if source.dtype == np.uint8:
        sample = source.read(np.unique(np.linspace(0, len(source) - 1, _SAMPLE).round().astype(np.int64)))
        if sample.max() > 1:
            return Found(float(sample.min()), float(sample.max()))
    lowest, highest, missing, count = math.inf, -math.inf, 0, 0
    for start, images in in_pieces(source):
        if images.dtype.kind == "f":
            missing += _missing(images, start, where)
        count += images.size
        lowest, highest = min(lowest, float(np.nanmin(images))), max(highest, float(np.nanmax(images)))
    return Found(lowest, highest, missing, count)


def _missing(images: Images, start: int, where: str) -> int:
    """Number of values that are missing (NaN). Of infinite ones, and of an image without values, one is named."""
    if np.isfinite(images).all():
        return 0
    if (infinite := np.isinf(images)).any():
        image, *rest = (int(place) for place in np.argwhere(infinite)[0])
        position = ", ".join(str(place) for place in (start + image, *rest))
        raise ValueError(
            f"{where} holds {images[(image, *rest)]} at [{position}]: values must be finite, or NaN where they are "
            "missing"
        )
    gaps = np.isnan(images)
    empty = gaps.reshape(len(images), -1).all(1)
    if empty.any():
        raise ValueError(f"image {start + int(np.argmax(empty))} of {where} has no values, all are NaN: leave it out")
    return int(gaps.sum())


def check_type(dtype: np.dtype[Any], where: str) -> None:
    """Refuse values of a type that cannot be images.

    Raises:
        ValueError: they cannot; the message says what to save instead.
    """
    if dtype.kind == "c":
        raise ValueError(f"{where} holds {dtype}: save real and imaginary parts as two channels of floating point")
    if dtype.kind not in "buif":
        raise ValueError(f"{where} holds {dtype}: save it as uint8 (0..255) or as floating point")
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise ValueError(f"{where} holds {dtype}: save it as float64 or float32")


def find_levels(dtype: np.dtype[Any], found: Found, white: float | None, pictures: bool, where: str) -> Levels:
    """The meaning of values: what was asked for, or else what their type and range suggest.

    8-bit values 0..255 and floating-point ones are kept. Truth values, and whole numbers of wider types that are
    only 0 and 1, become black and white. Other whole numbers are levels of as many bits as are in use, 8, 10, 12, 14
    or 16, and become 8-bit levels.

    Args:
        dtype: of the stored values.
        found: their range.
        white: the value that becomes 255; None to find out.
        pictures: whether the images are pictures, ``(C, H, W)`` with at most 4 channels.
        where: what to call the array in a message.

    Raises:
        ValueError: whole numbers below 0 or above 65535; or values outside of 0..white.
    """
    low, high = found.lowest, found.highest
    eight = np.dtype(np.uint8)
    if white is not None and found.missing:
        raise ValueError(f"{where} holds NaN, and pictures have no missing values: leave --white out")
    if white is not None:
        if low < 0 or high > white:
            raise ValueError(f"{where} has values {low:g} to {high:g}, which are not within 0 to {white:g} (white)")
        return Levels(eight, white)
    if dtype.kind == "f":
        note = _note_on_floats(low, high, where) if pictures else ""
        if found.missing:
            note = (
                f"{where} lacks {found.missing:,} of its {found.count:,} values (NaN): they are left out of all that "
                "is measured, and of the loss"
            )
        return Levels(dtype.newbyteorder("="), None, note)
    if dtype.kind == "b":
        return Levels(eight, 1, f"{where} holds truth values: false is read as black (0), true as white (255)")
    if dtype == np.uint8:
        dim = (
            f"{where} has only the levels 0 and 1 of 0..255, which are kept: if 1 is white, import it with --white 1"
        )
        return Levels(eight, None, dim if high == 1 else "")
    if low < 0 or high > 65535:
        raise ValueError(
            f"{where} holds {dtype} values {low:g} to {high:g}: save them as uint8 (0..255), or as floating point in"
            " units of which the standard deviation is about 0.5"
        )
    if high == 1:
        return Levels(eight, 1, f"{where} holds {dtype} values 0 and 1: 0 is read as black, 1 as white (255)")
    top = white_of(high)
    depth = top.bit_length()
    if depth == 8:
        return Levels(eight, None, f"{where} holds {dtype} values {low:g} to {high:g}: they are read as 8-bit levels")
    return Levels(
        eight,
        top,
        f"{where} holds {dtype} values {low:g} to {high:g}: they are read as {depth}-bit levels, {top} as white;"
        " import it with --white VALUE for another white, or save it as floating point to keep all levels",
    )


def _note_on_floats(low: float, high: float, where: str) -> str:
    if low < 0 or high <= 0.5:
        return ""
    if high <= 1:
        return (
            f"{where} has floating-point values {low:.3g} to {high:.3g}, which are kept: if they are pictures with 1"
            " as white, import it with --white 1, and training sees -1 to 1"
        )
    if 2 < high <= 65535:
        return (
            f"{where} has floating-point values {low:.5g} to {high:.5g}, which are kept, in units of their own: if"
            f" they are pictures, import it with --white {white_of(math.floor(high))}"
        )
    return ""
