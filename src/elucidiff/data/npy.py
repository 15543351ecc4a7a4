"""NumPy's ``.npy`` format (NEP 1, numpy.org/neps): what a header promises, and whether it is kept."""

from __future__ import annotations

import math
import os
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from elucidiff.data.sources import Images
from elucidiff.data.stored import MappedSource, ZippedSource
from elucidiff.data.trees import left_out_as
from elucidiff.untrusted import clipped, open_regular, printable, reading

_BYTES_AT_ONCE = 1 << 22
_MOST_UNPACKED = 1 << 28
_MAGIC = b"\x93NUMPY"
_MOST_HEADER = 1 << 16
_MOST_AXES = 32
_ENTRY = re.compile(r"\s*['\"](\w+)['\"]\s*:\s*('[^']*'|\"[^\"]*\"|\w+|\([^()]*\))\s*(?:,|$)")
# Deflate packs at most 1032 bytes into one.
_MOST_PACKED = 1100


@dataclass(frozen=True)
class Layout:
    """An array in a file.

    Attributes:
        shape: of the array.
        dtype: of its values.
        fortran: whether the first axis varies fastest.
        offset: where its values begin, in bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes that the values take."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_layout(file: IO[bytes], where: str, size: int | None) -> Layout:
    """Read the header at the begin of a file.

    Args:
        file: positioned at its begin, and afterwards at the first value.
        where: what to call it in a message.
        size: of the file in bytes; None if that is not known, and not looked at.

    Raises:
        ValueError: no ``.npy`` file, a damaged header, Python objects, or fewer bytes than the header promises.
    """
    with reading(where):  # what is packed can be damaged in many ways
        begin = file.read(len(_MAGIC) + 2)
        if begin[: len(_MAGIC)] != _MAGIC or len(begin) < len(_MAGIC) + 2:
            raise ValueError("it is no .npy file; Python objects are never unpickled")
        if tuple(begin[-2:]) not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"it is of version {begin[-2]}.{begin[-1]} of the format")
        length = int.from_bytes(file.read(2 if begin[-2] == 1 else 4), "little")
        header = file.read(min(length, _MOST_HEADER))
    if len(header) < length:
        raise ValueError(f"cannot read {where}: its header is truncated, or longer than that of any array")
    layout = Layout(*_described(header.decode("latin-1"), where), file.tell())
    if size is not None and layout.nbytes > size - layout.offset:
        raise ValueError(
            f"cannot read {where}: its header says {printable(str(layout.dtype))} {layout.shape}, {layout.nbytes:,}"
            f" bytes, but only {max(size - layout.offset, 0):,} are there"
        )
    return layout


def _described(header: str, where: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, type and order, out of what a header says: a Python dict of three entries, which is not evaluated."""
    entries: dict[str, str] = {}
    text = header.strip().removeprefix("{").removesuffix("}")
    while found := _ENTRY.match(text):
        entries[found[1]] = found[2].strip()
        text = text[found.end() :]
    lengths = [length.strip() for length in entries.get("shape", "x").strip("()").split(",")]
    if lengths[-1] == "":
        lengths.pop()
    whole = entries.keys() == {"descr", "fortran_order", "shape"} and not text.strip()
    if not whole or not all(re.fullmatch(r"-?\d{1,19}L?", length) for length in lengths):
        raise ValueError(f"cannot read {where}: its header is damaged, or that of records")
    shape = tuple(int(length.removesuffix("L")) for length in lengths)
    if any(length < 0 for length in shape):
        raise ValueError(f"cannot read {where}: its header says {shape}, a negative length")
    if len(shape) > _MOST_AXES:
        raise ValueError(f"cannot read {where}: its header says that it has {len(shape)} axes")
    kind, order = entries["descr"].strip("'\""), entries["fortran_order"]
    try:
        if not re.fullmatch(r"[<>|=]?[a-zA-Z?]\d{0,6}(\[\d{0,6}[a-zA-Z]{1,2}\])?", kind) or order not in (
            "True",
            "False",
        ):
            raise TypeError("unknown")
        dtype = np.dtype(kind)
    except (TypeError, ValueError):
        raise ValueError(f"cannot read {where}: its header says {clipped(kind)}, which is no type") from None
    if dtype.hasobject:
        raise ValueError(f"cannot read {where}: it holds Python objects, which are never unpickled")
    return shape, dtype, order == "True"


def read_array(file: IO[bytes], where: str, size: int) -> Images:
    """Read a small array as a whole; see :func:`read_layout`."""
    return read_values(file, read_layout(file, where, size), where)


def read_values(file: IO[bytes], layout: Layout, where: str) -> Images:
    """Read the values that follow a header, as an array that can be written to.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged or truncated.
    """
    with reading(where):
        content = np.empty(layout.nbytes, np.uint8)
        read = 0
        while read < layout.nbytes:
            block = file.read(min(layout.nbytes - read, _BYTES_AT_ONCE))
            if not block:
                raise ValueError("it is truncated")
            content[read : read + len(block)] = np.frombuffer(block, np.uint8)
            read += len(block)
        array = np.frombuffer(content, layout.dtype)
        return array.reshape(layout.shape, order="F" if layout.fortran else "C")


def read_arrays(path: Path) -> dict[str, Images]:
    """All arrays of a small ``.npz`` file by their names. Nothing is unpickled.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or unpacks to much more than its size.
    """
    with reading(path), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = os.fstat(file.fileno()).st_size
        if sum(member.file_size for member in members) > size + _MOST_UNPACKED:
            raise ValueError(f"{printable(str(path))} unpacks to much more than its size")
        arrays = {}
        for member in members:
            with archive.open(member) as opened:
                array = read_array(opened, member_name(path, member), member.file_size)
                opened.read()  # to the end, where the checksum is looked at
            arrays[member.filename.removesuffix(".npy")] = array
        return arrays


def mapped_npy(path: Path) -> MappedSource:
    """The array of a ``.npy`` file, which is mapped when it is read.

    Raises:
        OSError: it cannot be read.
        ValueError: see :func:`read_layout`; or the array has no first axis.
    """
    where = printable(str(path))
    with open_regular(path) as file:
        layout = read_layout(file, where, os.fstat(file.fileno()).st_size)
    return _source(path, layout, where)


def zipped_npy(path: Path, member: zipfile.ZipInfo) -> MappedSource | ZippedSource:
    """An array of a ``.npz`` file: mapped if it is stored as it is, else unpacked as it is read.

    Raises:
        OSError: it cannot be read.
        ValueError: see :func:`read_layout`; or a checksum that does not fit.
    """
    where = member_name(path, member)
    if member.file_size > _MOST_PACKED * (member.compress_size + 1):
        raise ValueError(f"cannot read {where}: {member.compress_size:,} bytes cannot hold {member.file_size:,}")
    with opened_member(path, member) as file:
        layout = read_layout(file, where, member.file_size)
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        if not layout.shape:
            raise ValueError(f"cannot read {where}: it holds a single number")
        return ZippedSource(path, member, layout.shape, layout.dtype, layout.fortran, layout.offset)
    start = _start(path, member)
    _check_sum(path, member, start)
    moved = Layout(layout.shape, layout.dtype, layout.fortran, layout.offset + start)
    return _source(path, moved, where)


def load_member(path: Path, member: zipfile.ZipInfo) -> Images:
    """A small array of a ``.npz`` file, in memory; see :func:`zipped_npy`."""
    if member.file_size > member.compress_size + _MOST_UNPACKED:
        raise ValueError(f"cannot read {member_name(path, member)}: it unpacks to much more than its size")
    with opened_member(path, member) as file:
        return read_array(file, member_name(path, member), member.file_size)


def members_of(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The arrays of a ``.npz`` file by their names.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no archive, or damaged.
    """
    with reading(path), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        files = [info for info in archive.infolist() if not (info.is_dir() or _is_left_over(info.filename))]
        arrays = [info for info in files if info.filename.lower().endswith(".npy")] or files
        return {info.filename.removesuffix(".npy"): info for info in arrays}


def _is_left_over(name: str) -> bool:
    return any(left_out_as(part, False) or left_out_as(part, True) for part in name.split("/"))


def opened_member(path: Path, member: zipfile.ZipInfo) -> IO[bytes]:
    """A member of an archive, opened for reading; it can be read after the archive's own file is closed."""
    with reading(member_name(path, member)), zipfile.ZipFile(path) as archive:
        return archive.open(member)


def member_name(path: Path, member: zipfile.ZipInfo) -> str:
    """The name of a member of an archive in a message."""
    return printable(f"{path}:{member.filename}")


def _source(path: Path, layout: Layout, where: str) -> MappedSource:
    if not layout.shape:
        raise ValueError(f"cannot read {where}: it holds a single number")
    return MappedSource(path, layout.shape, layout.dtype, layout.fortran, layout.offset)


def _start(path: Path, member: zipfile.ZipInfo) -> int:
    """The first byte of a stored member: after a header of 30 bytes, its name and extra fields."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(30)
    return (
        member.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    )


def _check_sum(path: Path, member: zipfile.ZipInfo, start: int) -> None:
    found, left = 0, member.file_size
    with path.open("rb") as file:
        file.seek(start)
        while left and (block := file.read(min(left, _BYTES_AT_ONCE))):
            found, left = zlib.crc32(block, found), left - len(block)
    if left or found != member.CRC:
        raise ValueError(f"cannot read {member_name(path, member)}: it is damaged (checksums differ)")


def read_npy(path: Path, called: str, mmap_mode: Literal["c"] | None = None) -> Any:
    """Read ``path``, an array unless it is something else that NumPy writes. Nothing is unpickled.

    Args:
        path: the file.
        called: what to call it in an error.
        mmap_mode: "c" to map it rather than read it; nobody then writes to the file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or holds Python objects.
    """
    with open_regular(path) as file:
        layout = read_layout(file, printable(called), os.fstat(file.fileno()).st_size)
        if mmap_mode is None or not layout.nbytes:
            return read_values(file, layout, printable(called))
    return np.memmap(path, layout.dtype, mmap_mode, layout.offset, layout.shape, "F" if layout.fortran else "C")
