"""Tensors inside a pickle: a view of a storage, which PyTorch writes there as a whole file in its old format.

PyTorch's own readers take many formats and trust what a file says of its sizes. Here, a storage is read as what it
is: five small pickles, which are read as data, the number of values, and the values.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Storage:
    """A storage as the file holds it.

    Attributes:
        content: the file in PyTorch's old format.
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
