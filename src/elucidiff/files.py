"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

_TEMPORARY = re.compile(r"\..+-[0-9a-f]{8}(\.\w+)?")


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary file to write to, which takes the place of ``path`` when the block ends, but not if it fails.

    The temporary file is in the same directory. At the end it is flushed to the disk (fsync) and renamed over
    ``path``, which POSIX makes atomic. A process that is killed, or a disk that fills up, leaves the old file intact.

    Args:
        path: the file to write; missing parent directories are made.

    Raises:
        OSError: the file could not be written (disk full, no permission); nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept, since writers such as Pillow and matplotlib choose the format by it.
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)  # a writer may have put a file of its own there, readable by its owner alone
        _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def write_whole(path: str | os.PathLike[str], content: bytes | str | Callable[[Path], None]) -> Path:
    """Write ``content`` so that ``path`` holds all of it or is left as it was; see :func:`whole_file`.

    Args:
        path: the file to write; missing parent directories are made.
        content: bytes, text (written as UTF-8), or a function that writes to the temporary path it is given.

    Returns:
        ``path`` as a :class:`~pathlib.Path`.

    Raises:
        OSError: the content could not be written (disk full, no permission); nothing is left behind.
    """
    with whole_file(path) as temporary:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder to fill, which takes the place of ``path`` when the block ends, but not if it fails.

    As :func:`whole_file`: it is beside ``path``. A folder that is there already is deleted when its successor is
    complete.

    Args:
        path: the folder to write; missing parent directories are made.

    Raises:
        OSError: a file could not be written (disk full, no permission); nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        _sync(temporary)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(path.parent)


def write_folder_whole(path: str | os.PathLike[str], fill: Callable[[Path], None]) -> Path:
    """Write a folder so that ``path`` is there with all of its files or not at all; see :func:`whole_folder`.

    Args:
        path: the folder to write; missing parent directories are made.
        fill: writes files into the temporary folder that it is given.

    Returns:
        ``path`` as a :class:`~pathlib.Path`.

    Raises:
        OSError: a file could not be written (disk full, no permission); nothing is left behind.
    """
    with whole_folder(path) as temporary:
        fill(temporary)
    return Path(path)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_unfinished(folder: Path) -> None:
    """Delete what :func:`write_whole` and :func:`write_folder_whole` left in ``folder`` when they were killed."""
    for left in folder.glob(".*-????????*"):
        if _TEMPORARY.fullmatch(left.name):
            remove(left)


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it; that there is none is all right."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flush a file or directory to the disk, where the system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Some file systems cannot sync a directory; the rename is then as durable as they make it.
        with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
