"""From a stored array to images: which axis and which values are what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from elucidiff.data.reading import ChannelAxis, Reading
from elucidiff.data.sources import Images, Named, Rows, Source, Strewn
from elucidiff.data.values import Levels, check_type, find_levels, survey

_FEW = 4
# Signals are much longer than they have channels; few pictures are that narrow.
_SIGNAL_CHANNELS, _SIGNAL_RATIO = 32, 4


@dataclass(frozen=True)
class Axes:
    """The reading of an array's axes.

    Attributes:
        channel: where the channels are after the first axis, that of the images.
        note: what was taken for what and how to ask for the other reading, where there is another; else "".
    """

    channel: ChannelAxis
    note: str = ""

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape ``(C, *spatial)`` of an image that is stored as ``shape``."""
        if self.channel == "none":
            return (1, *shape)
        return (shape[-1], *shape[:-1]) if self.channel == "last" else shape

    def __call__(self, images: Images) -> Images:
        """A view ``(N, C, *spatial)`` of stored images."""
        if self.channel == "none":
            return images[:, None]
        return np.moveaxis(images, -1, 1) if self.channel == "last" else images


def find_axes(shape: tuple[int, ...], is_8_bit: bool, channel_axis: ChannelAxis | None, where: str) -> Axes:
    """The axes of an array ``(N, ...)``: what was asked for, or else what its lengths suggest.

    ``(N, C, *spatial)`` is what is expected. Channels are taken to be last where only the last axis is as short as 4,
    or where the others are of equal lengths and it is not. ``(N, H, W)`` are pictures without an axis of channels,
    but signals where one axis is more than four times as long as the other, which has at most 32 channels; 8-bit
    data always are pictures.

    Args:
        shape: of the array.
        is_8_bit: whether its values are of 8 bits.
        channel_axis: where the channels are; None to find out.
        where: what to call the array in a message.

    Raises:
        ValueError: too few axes.
    """
    sizes = shape[1:]
    if not sizes and channel_axis != "none":
        raise ValueError(f"{where} has shape {shape}: expected (N, C, *spatial) with at least one image")
    if channel_axis is not None:
        return Axes(channel_axis)
    channel, sure = _guess(sizes, is_8_bit)
    axes = Axes(channel)
    if channel == "first" and sure:
        return axes
    channels, *spatial = axes.shape(sizes)
    if not spatial:
        return Axes(
            channel, f"{where}: {shape} is read as points of {channels} numbers: reshape pictures to (N, H, W)"
        )
    others = [name for name in get_args(ChannelAxis) if name != channel]
    return Axes(
        channel,
        f"{where}: {shape} is read as {shape[0]:,} images of {channels} channel{'s' if channels > 1 else ''} of"
        f" {' x '.join(map(str, spatial))}, channel axis {channel}; for another order of axes, import it with"
        f" --channel-axis {' or '.join(others)}",
    )


def _guess(sizes: tuple[int, ...], is_8_bit: bool) -> tuple[ChannelAxis, bool]:
    """The likeliest place of the channels, and whether there is hardly another."""
    if len(sizes) == 1:
        # Pictures of H W values, or of three colours, that were flattened.
        flat = any(sizes[0] == channels * round((sizes[0] / channels) ** 0.5) ** 2 for channels in (1, 3))
        return "first", not (flat and sizes[0] >= 64)
    few_first, few_last = sizes[0] <= _FEW, sizes[-1] <= _FEW
    if few_first != few_last:
        return ("first", True) if few_first else ("last", False)
    if len(sizes) == 2:
        if few_first:
            return "first", sizes[0] < sizes[1]
        narrow = min(sizes) <= _SIGNAL_CHANNELS and max(sizes) > _SIGNAL_RATIO * min(sizes)
        if is_8_bit or not narrow:
            return "none", False
        return ("first", False) if sizes[0] < sizes[1] else ("last", False)
    first_is_even, last_is_even = len(set(sizes[1:])) == 1, len(set(sizes[:-1])) == 1
    if last_is_even and not first_is_even:
        return "last", False
    return "first", first_is_even and not last_is_even


class ReadAs:
    """Images ``(N, C, *spatial)`` made of stored arrays as they are read.

    Args:
        source: the stored arrays.
        axes, levels: the reading.
    """

    def __init__(self, source: Source, axes: Axes, levels: Levels) -> None:
        self._source, self._axes, self._levels = source, axes, levels
        self.shape: tuple[int, ...] = axes.shape(source.shape)
        self.dtype: np.dtype[Any] = levels.dtype

    @property
    def strewn(self) -> bool:
        """See :class:`elucidiff.data.sources.Strewn`."""
        return isinstance(self._source, Strewn) and self._source.strewn

    @property
    def names(self) -> Sequence[str]:
        """See :class:`elucidiff.data.sources.Named`; there are none where the stored arrays have none."""
        if not isinstance(self._source, Named):
            raise AttributeError("names")
        return self._source.names

    def __len__(self) -> int:
        return len(self._source)

    def read(self, rows: Rows) -> Images:
        return np.ascontiguousarray(self._levels(self._axes(self._source.read(rows))))


class Filled:
    """Stored arrays with NaN in place of a fill value.

    Args:
        source: the stored arrays, of whole numbers or floating point.
        value: the fill value, which is compared in the type of the arrays: 1e20 is found in float32, too.
        where: what to call the arrays in a message.

    Raises:
        ValueError: a fill value that the type of the arrays cannot hold.
    """

    def __init__(self, source: Source, value: float, where: str) -> None:
        self._source = source
        self.shape: tuple[int, ...] = source.shape
        stored = source.dtype
        if stored.kind == "f":
            self.dtype: np.dtype[Any] = stored.newbyteorder("=")
            fits = abs(value) <= float(np.finfo(stored).max)
        else:
            # float32 holds every whole number of up to 16 bits.
            self.dtype = np.dtype(np.float32 if stored.itemsize <= 2 else np.float64)
            lowest, highest = (0, 1) if stored.kind == "b" else (np.iinfo(stored).min, np.iinfo(stored).max)
            fits = value == int(value) and lowest <= value <= highest
        if not fits:
            raise ValueError(f"{where} holds {stored}, which cannot be {value:g}, the value of missing ones")
        self._value = stored.type(value if stored.kind == "f" else int(value))

    @property
    def strewn(self) -> bool:
        """See :class:`elucidiff.data.sources.Strewn`."""
        return isinstance(self._source, Strewn) and self._source.strewn

    @property
    def names(self) -> Sequence[str]:
        """See :class:`elucidiff.data.sources.Named`; there are none where the stored arrays have none."""
        if not isinstance(self._source, Named):
            raise AttributeError("names")
        return self._source.names

    def __len__(self) -> int:
        return len(self._source)

    def read(self, rows: Rows) -> Images:
        """The arrays ``rows``, with NaN where a value is missing."""
        stored = self._source.read(rows)
        values = stored.astype(self.dtype)
        values[stored == self._value] = np.nan
        return values


def as_images(source: Source, where: str, reading: Reading) -> tuple[Source, tuple[str, ...]]:
    """Images of stored arrays, and notes on how they are read.

    Args:
        source: the arrays, of any shape and type.
        where: what to call them in a message.
        reading: what was asked for.

    Raises:
        OSError: a file cannot be read.
        ValueError: no images; values of a type or range that cannot be images, or that are not finite.
    """
    shape = (len(source), *source.shape)
    check_type(source.dtype, where)
    if (len(shape) < 2 and reading.channel_axis is None) or not math.prod(shape):
        raise ValueError(f"{where} has shape {shape}: expected (N, C, *spatial) with at least one image")
    axes = find_axes(shape, source.dtype == np.uint8, reading.channel_axis, where)
    if reading.missing is not None:
        source = Filled(source, reading.missing, where)
    found_shape = axes.shape(source.shape)
    found = survey(source, where)
    if reading.missing is not None and not found.missing:
        raise ValueError(
            f"no value of {where} is {reading.missing:g}, that of missing ones (they are {found.lowest:g} to"
            f" {found.highest:g}): correct it, or leave it out"
        )
    levels = find_levels(
        source.dtype,
        found,
        reading.white,
        len(found_shape) == 3 and found_shape[0] <= 4,
        where,
    )
    return ReadAs(source, axes, levels), tuple(note for note in (axes.note, levels.note) if note)
