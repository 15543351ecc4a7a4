"""Folders that work writes to: nothing is written among what belongs to other work, and by one process at a time.

The lock is the operating system's (``flock``, through filelock): it is gone when its process ends, however that may
be. On network file systems this holds as far as theirs do: NFS (since Linux 2.6.12), Lustre and CephFS keep out other
machines, too, unless they are mounted with local locks. Where there are no such locks at all, filelock marks the file
as taken, and looks whether the process that took it is alive on this machine; a mark of another machine's stays.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from elucidiff.plain_data import first_difference


def holds_files(folder: Path) -> bool:
    """True if there is anything in a folder. What is hidden does not count: it is the rest of something killed."""
    return folder.is_dir() and any(not file.name.startswith(".") for file in folder.iterdir())


def check_empty(folder: Path) -> None:
    """Raise ValueError if there are files in ``folder``, or it is a file itself."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: choose another --out")
    if holds_files(folder):
        raise ValueError(f"{folder} already holds files: choose another --out, or add --overwrite")


def check_same_work(
    folder: Path,
    what: str,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    remedy: str = "choose another --out, or add --overwrite",
) -> None:
    """Make sure that a folder holds the beginning of this very work.

    Args:
        folder: where.
        what: it holds otherwise, such as "another job".
        before: what decided the work that was begun there, JSON-able.
        now: what decides this one.
        remedy: what to do about it.

    Raises:
        ValueError: they differ; the message names the first difference.
    """
    difference = first_difference(before, now)
    if difference is not None:
        name, old, new = difference
        raise ValueError(f"{folder} holds {what}, whose {name} is {old}, not {new}: {remedy}")


LOCK = ".lock"
"""The name of the file that is locked in a folder."""

_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make ``folder`` if it is missing, and keep other processes out.

    Raises:
        ValueError: another process is in it.
        OSError: the folder cannot be made or written.
    """
    with _locked(folder / LOCK, folder):
        yield


@contextlib.contextmanager
def file_held(path: Path) -> Iterator[None]:
    """Keep other processes from writing the file ``path``, by a lock beside it; missing folders are made.

    Raises:
        ValueError: another process is writing it.
        OSError: the folder cannot be made or written.
    """
    with _locked(path.with_name(f".{path.name}{LOCK}"), path):
        yield


@contextlib.contextmanager
def held_if_free(folder: Path) -> Iterator[bool]:
    """As :func:`held`, but yield False where another process is in the folder.

    Raises:
        OSError: the folder cannot be made or written.
    """
    with _taken(folder / LOCK) as free:
        yield free


@contextlib.contextmanager
def _locked(lock: Path, what: Path) -> Iterator[None]:
    with _taken(lock) as free:
        if not free:
            raise ValueError(
                f"another process is writing to {what}: wait until it ends, or choose another place to write to"
            )
        yield


@contextlib.contextmanager
def _taken(lock: Path) -> Iterator[bool]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    locked: list[os.stat_result] = []

    def check(descriptor: int) -> None:
        locked[:] = [os.fstat(descriptor)]
        if not _is_at(locked[0], lock):
            raise _GoneError

    try:
        holding = _acquire(lock, check)
    except Timeout:
        yield False
        return
    with holding:
        try:
            yield True
        finally:
            # Removed while it is locked, and only if it is ours: whoever opened it meanwhile sees that it is gone.
            if locked and _is_at(locked[0], lock):
                with contextlib.suppress(OSError):  # as on Windows, where a file that is open cannot be removed
                    lock.unlink()


def _acquire(lock: Path, check: Callable[[int], None]) -> AbstractContextManager[object]:
    while True:
        try:
            return FileLock(lock, on_acquired=check).acquire(blocking=False)
        except _GoneError:
            continue
        except (NotImplementedError, OSError) as error:
            if isinstance(error, Timeout) or (isinstance(error, OSError) and error.errno not in _UNSUPPORTED):
                raise
            lock.unlink(missing_ok=True)  # it was made before it could not be locked
            return SoftFileLock(lock.with_name(f"{lock.name}-mark")).acquire(blocking=False)


def _is_at(file: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(file, path.stat())
    except FileNotFoundError:
        return False


class _GoneError(Exception):
    """The file that was locked is not the one of that name any more: who held it has removed it."""
