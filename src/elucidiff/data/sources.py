"""Where the images of a data set are read from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from elucidiff.data.labels import Labels

Rows = npt.NDArray[np.int64]
Images = npt.NDArray[Any]


class Source(Protocol):
    """Something that holds N images of one shape.

    Attributes:
        shape: of an image, ``(C, *spatial)``.
        dtype: uint8 or floating point.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def read(self, rows: Rows) -> Images:
        """The images ``rows``, ``(len(rows), C, *spatial)``, in memory of their own.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file is damaged.
        """
        ...


@dataclass(frozen=True, eq=False)
class Contents:
    """What a name or path was found to hold.

    Attributes:
        name: what to call the data set.
        source: its images.
        labels: one for each image, or None.
        sha256: of all images, which :meth:`elucidiff.data.Dataset.verify` must find, where it is written down.
        notes: one line for each choice between two readings, saying which was taken and how to ask for the other, and
            for what was left out.
        broken: files that should hold images and cannot be read, each with what is wrong.
    """

    name: str
    source: Source
    labels: Labels | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


class ArraySource:
    """Images in an array ``(N, C, *spatial)`` in memory."""

    def __init__(self, array: Images) -> None:
        self._array = array

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._array.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype.newbyteorder("=")

    def __len__(self) -> int:
        return len(self._array)

    def read(self, rows: Rows) -> Images:
        return np.ascontiguousarray(self._array[rows], dtype=self.dtype)


class MappedSource:
    """Images in a ``.npy`` file, mapped for each read: what is not asked for takes no memory, nor does what was read.

    Args:
        path: the file.
        axes: where in the file's array the axes of ``(N, C, *spatial)`` are; -1 stands for an axis of length 1 that
            the file does not have. None: as they are.
    """

    def __init__(self, path: Path, axes: tuple[int, ...] | None = None) -> None:
        self._path, self._axes = path, axes
        array = self._map()
        self._count = len(array)
        self.shape: tuple[int, ...] = tuple(array.shape[1:])
        self.dtype: np.dtype[Any] = array.dtype.newbyteorder("=")

    def __len__(self) -> int:
        return self._count

    def read(self, rows: Rows) -> Images:
        return np.ascontiguousarray(self._map()[rows], dtype=self.dtype)

    def _map(self) -> Images:
        return arrange(np.load(self._path, mmap_mode="r", allow_pickle=False), self._axes)


def arrange(array: Images, axes: tuple[int, ...] | None) -> Images:
    """A view of ``array`` with its axes in the order of :class:`MappedSource`."""
    if axes is None:
        return array
    view = array.transpose([axis for axis in axes if axis >= 0])
    return np.expand_dims(view, tuple(place for place, axis in enumerate(axes) if axis < 0))
