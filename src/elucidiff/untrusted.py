"""Text and JSON that somebody else wrote: read within bounds, and quoted so that a terminal only prints it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

MOST_JSON_MEMORY = 768 << 20
"""Bytes that a document of JSON, or a table, may take in memory once it is parsed, as estimated beforehand."""

_MOST_BYTES = 256 << 20
_BYTES_AT_ONCE = 1 << 20


def printable(text: str) -> str:
    r"""Text in one line that can be printed anywhere: what is not printable is escaped as Python does it.

    Control characters (line ends, terminal commands), marks that change the direction of writing, and bytes of a file
    name that are not UTF-8, which Python hands over as lone surrogates, come out as ``\x1b``, ``\u202e``, ``\xe9``.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def clipped(text: str, most: int = 100) -> str:
    """The beginning of a text, printable: enough to know it again in a message, however long it is."""
    return printable(text[:most]) + ("..." if len(text) > most else "")


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file for reading in binary, if it is a regular one: a pipe or device could block or have no end.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is not a regular file.
    """
    mode = os.stat(path).st_mode  # looked at first, for opening a pipe waits until somebody writes into it
    name = printable(os.fspath(path))
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{name} is a folder, not a file")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{name} is not a regular file but {_kind(mode)}, which is not read")
    return open(path, "rb")


@contextmanager
def reading(path: str | os.PathLike[str], otherwise: str = "") -> Iterator[None]:
    """Turn whatever goes wrong while a file is read and taken apart into one line that names it.

    Decoders of foreign formats meet damage with errors of all types, and code that takes apart what came out of a
    file with KeyError and TypeError. For whoever called, all of them mean the same.

    Args:
        path: the file.
        otherwise: what to say of it, with what to do, as in "is not a record that ... wrote"; by default, that it
            cannot be read, with the reason.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is damaged, or something else.
    """
    name = printable(os.fspath(path))
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            if error.filename is None:
                raise OSError(error.errno, error.strerror, os.fspath(path)) from error
            raise
        said = " ".join(str(error).split())
        if otherwise:
            raise ValueError(f"{name} {otherwise}") from error
        if isinstance(error, ValueError | OSError) and name in said and str(error).isprintable():
            raise  # in a line of our own
        raise ValueError(f"cannot read {name}: {clipped(said, 300) or type(error).__name__}") from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; see :func:`parse_json`.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is not a regular file, too large, or not JSON; the message names it.
    """
    with open_regular(path) as file:
        return load_json(file, os.fspath(path))


def load_json(file: IO[bytes], where: str | Path) -> Any:
    """Read an open file; see :func:`parse_json`. No more is read than a document may take.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large, or not JSON; the message names ``where``.
    """
    return parse_json(read_document(file, where), where)


def read_document(file: IO[bytes], where: str | Path) -> bytes:
    """The content of an open file, if it may be parsed: JSON, lines of JSON, or a table with commas.

    Raises:
        OSError: the file cannot be read.
        ValueError: it would take more than :data:`MOST_JSON_MEMORY`; the message names ``where``.
    """
    pieces, size = [], 0
    while piece := file.read(_BYTES_AT_ONCE):
        pieces.append(piece)
        size += len(piece)
        if size > _MOST_BYTES:
            raise _too_large(printable(str(where)))
    content = b"".join(pieces)
    if _memory(content) > MOST_JSON_MEMORY:
        raise _too_large(printable(str(where)))
    return content


def parse_json(content: bytes | str, where: str | Path) -> Any:
    """Parse a JSON document. One that could exhaust the memory or the stack is refused before that.

    Args:
        content: the document.
        where: the file, for the message.

    Raises:
        ValueError: it would take more than :data:`MOST_JSON_MEMORY`, is nested too deep, or is not JSON; the message
            names ``where``.
    """
    name = printable(str(where))
    if _memory(content) > MOST_JSON_MEMORY:
        raise ValueError(
            f"{name} is too large: as JSON it would take more than {MOST_JSON_MEMORY >> 20} MiB of memory"
        )
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError(f"{name} is damaged: it is nested too deep for JSON") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is damaged: its byte {error.start} is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"{name} is damaged: not JSON ({printable(str(error))})") from None


def _too_large(name: str) -> ValueError:
    return ValueError(f"{name} is too large: it would take more than {MOST_JSON_MEMORY >> 20} MiB of memory")


def _memory(content: bytes | str) -> int:
    """Bytes that a document takes once it is parsed, at most: a list or dict takes about 72, a number or text 60."""
    if isinstance(content, str):
        lists, dicts, commas, colons = (content.count(sign) for sign in "[{,:")
    else:
        lists, dicts, commas, colons = (content.count(sign) for sign in (b"[", b"{", b",", b":"))
    # One character beyond Latin-1 makes a text take two or four bytes a character, beside the document itself.
    text = len(content) * (2 if content.isascii() else 5)
    return text + 72 * lists + 240 * dicts + 60 * (commas + colons)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that could not be decoded (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
