"""Sources: places that the images of a data set are read from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from elucidiff.data.labels import Labels

Rows = npt.NDArray[np.int64]
Images = npt.NDArray[Any]

_STREWN_AT_ONCE = 1 << 28


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


@runtime_checkable
class Strewn(Protocol):
    """A source that says whether each of its images is strewn over the whole file, so that reading few is slow."""

    @property
    def strewn(self) -> bool: ...


@runtime_checkable
class Named(Protocol):
    """A source whose images have names, those of their files in a folder or an archive."""

    @property
    def names(self) -> Sequence[str]: ...


@dataclass(frozen=True, eq=False)
class Originals:
    """The pictures that latents were made of.

    Attributes:
        folder: of the latents.
        autoencoder: the plain form of the one that encoded them, see :class:`elucidiff.autoencoders.KeptAutoencoder`.
        place: the imported set of the pictures, in the order of the latents.
        sha256: of that set.
        rows: which of its pictures the latents are of; None for all.
    """

    folder: Path
    autoencoder: Mapping[str, Any]
    place: Path
    sha256: str
    rows: Rows | None = None

    def of(self, rows: Rows) -> Originals:
        """Those of some of the latents."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])


@dataclass(frozen=True, eq=False)
class Contents:
    """The content of a name or path, as it was found.

    Attributes:
        name: what to call the data set.
        source: its images.
        labels: one for each image, or None.
        sha256: of all images, which :meth:`elucidiff.data.Dataset.verify` must find, where it is written down.
        notes: one line for each choice between two readings, saying which was taken and how to ask for the other, and
            for what was left out.
        broken: files that should hold images and cannot be read, each with what is wrong.
        conditions: fields that images are to be made for, one for each image, or None.
        originals: of latents, the pictures that they were made of.
    """

    name: str
    source: Source
    labels: Labels | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    conditions: Source | None = None
    originals: Originals | None = None


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


class Joined:
    """Several sources of images of one shape, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = list(sources)
        self._ends = np.cumsum([len(source) for source in sources])
        self.shape, self.dtype = self._sources[0].shape, self._sources[0].dtype

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, rows: Rows) -> Images:
        images = np.empty((len(rows), *self.shape), self.dtype)
        owners = np.searchsorted(self._ends, rows, side="right")
        for owner in np.unique(owners).tolist():
            mine = owners == owner
            images[mine] = self._sources[owner].read(rows[mine] - (self._ends[owner - 1] if owner else 0))
        return images


def in_pieces(source: Source, most: int = 1 << 24) -> Iterator[tuple[int, Images]]:
    """All of a source from front to back, about ``most`` bytes at a time: (first row, images)."""
    size = rows_at_once(source, most)
    for start in range(0, len(source), size):
        yield start, source.read(np.arange(start, min(start + size, len(source))))


def rows_at_once(source: Source, most: int) -> int:
    """Number of images that make up ``most`` bytes.

    Where each image is strewn over its file, every read goes over all of it, so that more are read at once.
    """
    if isinstance(source, Strewn) and source.strewn:
        most = max(most, _STREWN_AT_ONCE)
    return max(1, most // max(1, math.prod(source.shape) * source.dtype.itemsize))
