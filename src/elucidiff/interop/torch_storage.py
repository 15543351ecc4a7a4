"""Tensors inside a pickle: a view of a storage, which PyTorch writes there as a whole file in its old format.

PyTorch's own readers take many formats and trust what a file says of its sizes. Here, a storage is read as what it
is: five small pickles, which are read as data, the number of values, and the values. In the archives that
``torch.save`` writes, a storage is an entry that lies there as it is, and :func:`read_archive` reads their pickle.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import torch
from torch import Tensor

from elucidiff.interop.pickle_data import Makers, Name, read_next
from elucidiff.untrusted import clipped

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_INSTRUCTIONS = 150
_MOST = 1 << 48
_TYPES = {
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch DoubleStorage": torch.float64,
    "torch BFloat16Storage": torch.bfloat16,
}
_MAKERS: Makers = {name: lambda: None for name in _TYPES}
# An optimiser's counters, say, are of these; nothing of a network is.
_OTHER_TYPES = ("torch LongStorage", "torch IntStorage", "torch ByteStorage", "torch BoolStorage")
ARCHIVE = b"PK\x03\x04"
"""The first bytes of an archive, and of each entry in it."""
_PICKLE = "data.pkl"
_NO_ARCHIVE = "it is a zip archive, but not one that PyTorch wrote"
_LOCAL_HEADER = struct.Struct("<4s22xHH")


@dataclass(frozen=True)
class Storage:
    """A storage as the file holds it.

    Attributes:
        content: the file in PyTorch's old format; in an archive, the values.
    """

    content: bytes | memoryview

    def values(self) -> tuple[torch.dtype, memoryview]:
        """The type of the values, and their bytes.

        Raises:
            ValueError: the storage is damaged, or holds no floating-point values.
        """
        data, objects, end = memoryview(self.content), [], 0
        for _ in range(5):
            found, end = read_next(data, end, _MAKERS, tuple, _MOST_INSTRUCTIONS)
            objects.append(found)
        match objects:
            case [
                int(magic),
                int(protocol),
                _,
                ("storage", Name(kind), str(key), str(), int(count), *_),
                [str(listed)],
            ]:
                dtype = _TYPES[kind]
            case _:
                raise ValueError("a storage in it is not laid out as PyTorch does it")
        values = data[end + 8 :]
        whole = (_MAGIC, _PROTOCOL, key) == (magic, protocol, listed) and len(data) >= end + 8
        if not whole or struct.unpack_from("<q", data, end)[0] != count or len(values) != count * dtype.itemsize:
            raise ValueError("a storage in it is damaged, or another size than it says")
        return dtype, values


@dataclass(frozen=True)
class ArchivedStorage(Storage):
    """A storage that is an entry of an archive.

    Attributes:
        kind: the type of its values, as the pickle names it.
    """

    kind: str

    def values(self) -> tuple[torch.dtype, memoryview]:
        """See :meth:`Storage.values`."""
        if self.kind not in _TYPES:
            raise ValueError("a storage in it holds no floating-point values")
        return _TYPES[self.kind], memoryview(self.content)


def beginning_of_pickle(file: IO[bytes], length: int) -> bytes:
    """The first bytes of the pickle in a file that may be an archive of ``torch.save``; none if it is not."""
    if file.read(len(ARCHIVE)) != ARCHIVE:
        return b""
    try:
        with zipfile.ZipFile(file) as archive:
            found = [entry for entry in archive.infolist() if entry.filename.rpartition("/")[2] == _PICKLE]
            if len(found) != 1 or found[0].compress_type != zipfile.ZIP_STORED or found[0].flag_bits & 1:
                return b""
            with archive.open(found[0]) as opened:
                return opened.read(length)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return b""


def read_archive(file: IO[bytes], data: memoryview, makers: Makers) -> Any:
    """The contents of a file of ``torch.save``, as data; tensors are :class:`StoredTensor` views of the archive.

    Args:
        file: the archive, to look up where its entries are.
        data: its bytes.
        makers: the names that may occur, with what stands for each; those of storages are known here.

    Raises:
        ValueError: the file is no such archive, damaged, or names what is not among ``makers``.
    """
    entries = _entries(file, data)
    pickles = [name for name in entries if name.rpartition("/")[2] == _PICKLE]
    if len(pickles) != 1:
        raise ValueError(_NO_ARCHIVE)
    folder = pickles[0].removesuffix(_PICKLE)
    if bytes(entries.get(f"{folder}byteorder", memoryview(b"little"))[:8]) != b"little":
        raise ValueError("its numbers are in another order than little-endian")

    def stored(description: Any) -> ArchivedStorage:
        match description:
            case ("storage", Name(kind), str(key), str(), int(count)) if f"{folder}data/{key}" in entries:
                values = entries[f"{folder}data/{key}"]
                if kind not in _TYPES or len(values) == count * _TYPES[kind].itemsize:
                    return ArchivedStorage(values, kind)
        raise ValueError("a storage in it is damaged, or another size than it says")

    names: Makers = dict.fromkeys((*_TYPES, *_OTHER_TYPES), lambda: None)
    return read_next(entries[pickles[0]], 0, {**names, **makers}, stored)[0]


def _entries(file: IO[bytes], data: memoryview) -> dict[str, memoryview]:
    """The entries of an archive, all of which are stored as they are, as views of it."""
    found: dict[str, memoryview] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            listed = archive.infolist()
        for entry in listed:
            mark, name, extra = _LOCAL_HEADER.unpack_from(data, entry.header_offset)
            begin = entry.header_offset + _LOCAL_HEADER.size + name + extra
            end = begin + entry.file_size
            whole = entry.compress_type == zipfile.ZIP_STORED and mark == ARCHIVE and end <= len(data)
            if not whole or entry.filename in found:
                raise ValueError(_NO_ARCHIVE)
            found[entry.filename] = data[begin:end]
    except (zipfile.BadZipFile, struct.error, NotImplementedError, UnicodeError, OverflowError, OSError) as error:
        raise ValueError(f"the archive is damaged: {clipped(str(error))}") from None
    return found


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage. Nothing is read before :meth:`tensor` is called.

    Attributes:
        storage: where its values are.
        offset: number of values before its first one.
        size: its shape.
        stride: for each axis, how many values lie between neighbours.

    Raises:
        ValueError: the numbers are no such view, or it is larger than its storage, as where a stride is 0.
    """

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.size, *self.stride)
        if not isinstance(self.storage, Storage) or not all(type(number) is int for number in numbers):
            raise ValueError("a tensor in it is no view of a storage")
        if len(self.size) != len(self.stride) or len(self.size) > 8 or min(numbers) < 0 or max(numbers) > _MOST:
            raise ValueError(
                f"a tensor in it has the shape {_shown(self.size)} and the strides {_shown(self.stride)}"
            )
        count = 1
        for length in self.size:
            count *= length
        # The storage holds at least two bytes a value, and a description of itself.
        if count > self.span or 2 * (self.offset + self.span) > len(self.storage.content):
            raise ValueError(f"a tensor of shape {_shown(self.size)} in it is larger than its storage")

    @property
    def span(self) -> int:
        """Number of values from its first to its last one."""
        if 0 in self.size:
            return 0
        return 1 + sum((length - 1) * step for length, step in zip(self.size, self.stride, strict=True))

    def tensor(self) -> Tensor:
        """The tensor, with memory of its own.

        Raises:
            ValueError: the storage is damaged, or too small.
        """
        dtype, values = self.storage.values()
        if (self.offset + self.span) * dtype.itemsize > len(values):
            raise ValueError(f"a tensor of shape {_shown(self.size)} in it is larger than its storage")
        part = values[self.offset * dtype.itemsize :][: self.span * dtype.itemsize]
        if not part:
            return torch.empty(self.size, dtype=dtype)
        # A copy, which begins at an address that suits the type.
        return torch.frombuffer(bytearray(part), dtype=dtype).as_strided(self.size, self.stride)


class StoredWeights(Mapping[str, Tensor]):
    """Tensors by name, each made anew when it is asked for.

    Args:
        stored: what the file says of them.
        most_bytes: what they may take together: the size of the file.

    Raises:
        ValueError: they would take more, because several are views of the same values.
    """

    def __init__(self, stored: Mapping[str, StoredTensor], most_bytes: int) -> None:
        self._stored = stored
        if 2 * sum(tensor.span for tensor in stored.values()) > most_bytes:
            raise ValueError("the weights are larger than the file: they share their values")

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self._stored[name].tensor()
        except ValueError as error:
            raise ValueError(f"the weights {clipped(name)} cannot be read: {error}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def _shown(numbers: tuple[int, ...]) -> str:
    return clipped(str(numbers[:9]))
