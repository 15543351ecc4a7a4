"""NumPy's ``.npy`` format (NEP 1, numpy.org/neps): what a header promises, and whether it is kept."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from elucidiff.data.sources import Images
from elucidiff.data.stored import MappedSource, ZippedSource
from elucidiff.untrusted import open_regular, printable, reading

_BYTES_AT_ONCE = 1 << 22
_MOST_UNPACKED = 1 << 28
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
    try:
        version = np.lib.format.read_magic(file)
    except ValueError:
        raise ValueError(f"cannot read {where}: it is no .npy file; Python objects are never unpickled") from None
    try:
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"it is of version {version[0]}.{version[1]} of the format, which is only for records")
    except OSError:
        raise
    except Exception as error:  # a damaged header can be anything: half a literal, or one nested too deep
        raise unreadable(where, error) from None
    if dtype.hasobject:
        raise ValueError(f"cannot read {where}: it holds Python objects, which are never unpickled")
    if any(length < 0 for length in shape):
        raise ValueError(f"cannot read {where}: its header says {shape}, a negative length")
    layout = Layout(tuple(int(length) for length in shape), dtype, bool(fortran), file.tell())
    if size is not None and layout.nbytes > size - layout.offset:
        raise ValueError(
            f"cannot read {where}: its header says {printable(str(layout.dtype))} {layout.shape}, {layout.nbytes:,}"
            f" bytes, but only {max(size - layout.offset, 0):,} are there"
        )
    return layout


def read_array(file: IO[bytes], where: str, size: int) -> Images:
    """Read a small array as a whole; see :func:`read_layout`."""
    return read_values(file, read_layout(file, where, size), where)


def read_values(file: IO[bytes], layout: Layout, where: str) -> Images:
    """Read the values that follow a header.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged or truncated.
    """
    try:
        content = file.read(layout.nbytes)
        if len(content) == layout.nbytes:
            array = np.frombuffer(content, layout.dtype)
            return array.reshape(layout.shape, order="F" if layout.fortran else "C")
    except OSError:
        raise
    except Exception as error:  # what is packed can be damaged in many ways
        raise unreadable(where, error) from None
    raise ValueError(f"cannot read {where}: it is truncated")


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


def opened_member(path: Path, member: zipfile.ZipInfo) -> IO[bytes]:
    """A member of an archive, opened for reading; it can be read after the archive's own file is closed."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.open(member)
    except OSError:
        raise
    except Exception as error:  # encrypted, packed in an unknown way, or damaged
        raise unreadable(member_name(path, member), error) from None


def member_name(path: Path, member: zipfile.ZipInfo) -> str:
    """What to call a member of an archive in a message."""
    return printable(f"{path}:{member.filename}")


def unreadable(where: str, error: Exception) -> ValueError:
    """An error that says which file cannot be read, in one line."""
    text = printable(" ".join(str(error).split())[:200]) or type(error).__name__
    if any(sign in text for sign in ("allow_pickle", "Object arrays", "Python objects")):
        text = "it is damaged, or holds Python objects, which are never unpickled"
    return ValueError(f"cannot read {where}: {text}")


def _source(path: Path, layout: Layout, where: str) -> MappedSource:
    if not layout.shape:
        raise ValueError(f"cannot read {where}: it holds a single number")
    return MappedSource(path, layout.shape, layout.dtype, layout.fortran, layout.offset)


def _start(path: Path, member: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin: after a header of 30 bytes, its name and extra fields."""
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
