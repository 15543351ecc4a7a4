"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without such locks, where nobody is kept out
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make ``folder`` if it is missing, and keep other processes out; the system lets go of it when this one ends.

    A file system without locks keeps nobody out.

    Raises:
        ValueError: another process is in it.
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    with path.open("a") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process is writing to {folder}: wait for it, or choose another --out"
            ) from None
        except OSError:
            pass
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
