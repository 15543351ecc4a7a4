"""Arrays that are read from where they lie in a file."""

from __future__ import annotations

import math
import os
import threading
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from elucidiff.data.sources import Images, Rows

_BYTES_AT_ONCE = 1 << 25


class MappedSource:
    """An array in a file, mapped for each read: what is not asked for takes no memory, nor does what was read.

    Args:
        path: the file.
        shape: of the array, ``(N, ...)``.
        dtype: of its values.
        fortran: whether its first axis varies fastest.
        offset: where its values begin in the file, in bytes.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], fortran: bool = False, offset: int = 0
    ) -> None:
        self._path, self._stored, self._dtype, self.strewn, self._offset = path, shape, dtype, fortran, offset
        self.shape: tuple[int, ...] = shape[1:]
        self.dtype: np.dtype[Any] = dtype.newbyteorder("=")

    def __len__(self) -> int:
        return self._stored[0]

    def read(self, rows: Rows) -> Images:
        if not self.strewn or not len(rows) or len(self._stored) < 2:
            return np.ascontiguousarray(self._map()[rows], dtype=self.dtype)
        # Each image is strewn over the whole file: a part of the pixels at a time, so that few pages are held.
        images = np.empty((len(rows), *self.shape), self.dtype)
        step = max(1, _BYTES_AT_ONCE * self._stored[-1] // max(1, math.prod(self._stored) * self._dtype.itemsize))
        for start in range(0, self._stored[-1], step):
            part = (..., slice(start, start + step))
            images[part] = self._map()[part][rows]
        return images

    def _map(self) -> Images:
        order: Literal["F", "C"] = "F" if self.strewn else "C"
        try:
            return np.memmap(self._path, self._dtype, "r", self._offset, self._stored, order)
        except ValueError as error:
            raise ValueError(f"cannot read {self._path}: {error}") from None


class ZippedSource:
    """A packed array in a zip archive.

    What is read from front to back is unpacked as it is read. From the first time that images are asked for in
    another order, all of them are kept in memory.

    Args:
        path: the archive.
        member: which of its files.
        shape: of the array, ``(N, ...)``.
        dtype: of its values.
        fortran: whether its first axis varies fastest.
        offset: where its values begin in the unpacked file, in bytes.
    """

    strewn = False

    def __init__(
        self,
        path: Path,
        member: zipfile.ZipInfo,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        fortran: bool,
        offset: int,
    ) -> None:
        self._path, self._member, self._stored, self._dtype = path, member, shape, dtype
        self._fortran, self._offset = fortran, offset
        self.shape: tuple[int, ...] = shape[1:]
        self.dtype: np.dtype[Any] = dtype.newbyteorder("=")
        self._reset()

    def _reset(self) -> None:
        self._whole: Images | None = None
        self._file: IO[bytes] | None = None
        self._next, self._process, self._lock = 0, os.getpid(), threading.Lock()

    def __len__(self) -> int:
        return self._stored[0]

    def read(self, rows: Rows) -> Images:
        if self._process != os.getpid():
            # After a fork, parent and child would move one file position.
            whole = self._whole
            self._reset()
            self._whole = whole
        with self._lock:
            forwards = not len(rows) or (bool((np.diff(rows) > 0).all()) and (not rows[0] or rows[0] >= self._next))
            if self._whole is None and not self._fortran and forwards:
                return self._stream(rows)
            if self._whole is None:
                self._whole = self._load()
            return np.ascontiguousarray(self._whole[rows], dtype=self.dtype)

    def _stream(self, rows: Rows) -> Images:
        images = np.empty((len(rows), *self.shape), self._dtype)
        size = math.prod(self.shape) * self._dtype.itemsize
        for place, row in enumerate(rows.tolist()):
            if self._file is None or row < self._next:
                self._begin()
            while self._next < row:
                self._bytes(size)
                self._next += 1
            images[place] = np.frombuffer(self._bytes(size), self._dtype).reshape(self.shape)
            self._next += 1
        if self._next == len(self):
            self._bytes(0, to_the_end=True)
        return images.astype(self.dtype, copy=False)

    def _load(self) -> Images:
        size = math.prod(self._stored) * self._dtype.itemsize
        try:
            content = bytearray(size)
        except MemoryError:
            raise ValueError(
                f"{self._path}:{self._member.filename} is packed, so that it takes {size / 1e9:.3g} GB of memory:"
                " import it, or save it with numpy.savez"
            ) from None
        self._begin()
        for start in range(0, size, _BYTES_AT_ONCE):
            part = min(_BYTES_AT_ONCE, size - start)
            content[start : start + part] = self._bytes(part)
        self._bytes(0, to_the_end=True)
        self._file = None
        array = np.frombuffer(content, self._dtype)
        return array.reshape(self._stored, order="F" if self._fortran else "C")

    def _begin(self) -> None:
        with zipfile.ZipFile(self._path) as archive:
            self._file = archive.open(self._member)
        self._next = 0
        self._bytes(self._offset)

    def _bytes(self, size: int, *, to_the_end: bool = False) -> bytes:
        """The next bytes; at the end, the archive's checksum is compared."""
        assert self._file is not None
        try:
            content = self._file.read(size)
            while to_the_end and self._file.read(_BYTES_AT_ONCE):
                pass
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"cannot read {self._path}:{self._member.filename}: {error}") from None
        if len(content) < size:
            raise ValueError(f"cannot read {self._path}:{self._member.filename}: it is truncated")
        return content

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("_whole", "_file", "_next", "_process", "_lock")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()
