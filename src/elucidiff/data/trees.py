"""Folders and zip archives of files, read alike."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import IO, Any, Protocol


class Tree(Protocol):
    """Files below a root, by their names relative to it, with ``/`` between the parts.

    Attributes:
        root: the folder or archive.
        names: all files, sorted.
    """

    root: Path
    names: list[str]

    def open(self, name: str) -> IO[bytes]: ...

    def where(self, name: str) -> str:
        """What to call a file in a message."""
        ...

    def stamp(self, name: str) -> str:
        """Something that changes if the file does, most likely; found without reading it."""
        ...


class Folder:
    """A folder with everything below it, hidden files left out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: list[str] = []
        for folder, below, files in os.walk(root, onerror=_raise, followlinks=True):
            below[:] = [name for name in below if not name.startswith(".")]
            prefix = Path(folder).relative_to(root).as_posix() + "/"
            prefix = "" if prefix == "./" else prefix
            self.names += [prefix + name for name in files if not name.startswith(".")]
        self.names.sort()

    def open(self, name: str) -> IO[bytes]:
        return open(f"{self.root}/{name}", "rb")

    def where(self, name: str) -> str:
        return f"{self.root}/{name}"

    def stamp(self, name: str) -> str:
        status = os.stat(f"{self.root}/{name}")
        return f"{status.st_size} {status.st_mtime_ns}"


class Archive:
    """A zip archive.

    Raises:
        OSError: it cannot be read.
        ValueError: it is truncated or not a zip archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._zip = self._opened()
        self.names = sorted(name for name in self._zip.namelist() if not (name.endswith("/") or _hidden(name)))

    def _opened(self) -> zipfile.ZipFile:
        self._process = os.getpid()
        try:
            return zipfile.ZipFile(self.root)
        except zipfile.BadZipFile as error:
            raise ValueError(f"{self.root} is truncated or not a zip archive ({error}): fetch it again") from None

    def open(self, name: str) -> IO[bytes]:
        # After a fork, parent and child would move one file position.
        if self._process != os.getpid():
            self._zip = self._opened()
        try:
            return self._zip.open(name)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"cannot read {self.where(name)}: {error}") from None

    def where(self, name: str) -> str:
        return f"{self.root}:{name}"

    def stamp(self, name: str) -> str:
        return str(self._zip.getinfo(name).CRC)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "names": self.names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._zip = self._opened()


def _hidden(name: str) -> bool:
    # macOS puts a shadow of each file below __MACOSX.
    return name.startswith("__MACOSX/") or any(part.startswith(".") for part in name.split("/"))


def _raise(error: OSError) -> None:
    raise error
