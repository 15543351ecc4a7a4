"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: bytes | str | Callable[[Path], None]) -> Path:
    """Write ``content`` so that ``path`` holds all of it or is left as it was.

    The content goes to a temporary file in the same directory, is flushed to the disk (fsync) and then renamed over
    ``path``, which POSIX makes atomic. A process that is killed, or a disk that fills up, leaves the old file intact.

    Args:
        path: the file to write; missing parent directories are made.
        content: bytes, text (written as UTF-8), or a function that writes to the temporary path it is given.

    Returns:
        ``path`` as a :class:`~pathlib.Path`.

    Raises:
        OSError: the content could not be written (disk full, no permission); nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept, since writers such as Pillow and matplotlib choose the format by it.
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.chmod(mode)  # a writer may have put a file of its own there, readable by its owner alone
        _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)
    return path


def _sync(path: Path) -> None:
    """Flush a file or directory to the disk, where the system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Some file systems cannot sync a directory; the rename is then as durable as they make it.
        with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
