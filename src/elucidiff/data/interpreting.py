"""From a stored array to images: which axis and which values are what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from elucidiff.data.axes import Axes, find_axes
from elucidiff.data.reading import Reading
from elucidiff.data.sources import Images, Named, Rows, Source, Strewn
from elucidiff.data.values import Levels, check_type, find_levels, survey


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
    found_shape = axes.shape(source.shape)
    levels = find_levels(
        source.dtype,
        survey(source, where),
        reading.white,
        len(found_shape) == 3 and found_shape[0] <= 4,
        where,
    )
    return ReadAs(source, axes, levels), tuple(note for note in (axes.note, levels.note) if note)
