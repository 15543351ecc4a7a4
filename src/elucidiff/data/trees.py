"""Folders and zip archives of files, read alike."""

from __future__ import annotations

import os
import stat
import zipfile
from array import array
from collections import Counter
from pathlib import Path
from typing import IO, Any, Protocol

from elucidiff.untrusted import open_regular, printable, reading

LEFTOVER, HIDDEN, LINK = (
    "leftovers of other programs (thumbnails, settings)",
    "hidden",
    "links to what is there already",
)
"""Kinds of what a tree leaves out."""

_LEFTOVER_FILES = frozenset({"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", ".ds_store", "icon\r"})
_LEFTOVER_FOLDERS = frozenset(
    {"__macosx", "@eadir", ".@__thumb", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
    | {".appledouble", ".ipynb_checkpoints", ".spotlight-v100", ".trashes", ".fseventsd", "__pycache__"}
)
# Beyond this, a member of an archive that is packed a hundred times smaller is made to fill the memory.
_ALWAYS_UNPACKED = 256 << 20
_MOST_PACKED = 100


class Tree(Protocol):
    """Files below a root, by their names relative to it, with ``/`` between the parts.

    Attributes:
        root: the folder or archive.
        names: all files, sorted.
        left_out: how many files of each kind were left out.
    """

    root: Path
    names: list[str]
    left_out: Counter[str]

    def open(self, name: str) -> IO[bytes]: ...

    def where(self, name: str) -> str:
        """The name of a file in a message."""
        ...


class Folder:
    """A folder with everything below it; hidden files and leftovers of other systems are left out.

    Links are followed, but every folder and file is there once: one that a link leads to, and that is below the root
    anyway, goes by its own name.

    Raises:
        OSError: a folder cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: list[str] = []
        self.left_out: Counter[str] = Counter()
        self._inodes = array("Q")
        self._file_links: list[str] = []
        status = os.stat(root)
        self._device = status.st_dev
        self._seen = {_identity(status)}
        # A link to a folder that holds the root would bring in what lies beside the root, and the root again.
        above = {_identity(os.stat(folder)) for folder in root.resolve().parents}
        folders: list[str] = [""]
        links: list[str] = []
        while folders or links:
            if folders:
                below, linked = self._read(folders.pop())
                folders += below
                links += linked
                continue
            prefix = links.pop(0)
            identity = _identity(os.stat(self._path(prefix)))
            if identity in self._seen or identity in above:
                self.left_out[LINK] += 1
            else:
                self._seen.add(identity)
                folders.append(prefix)
        self._add_linked_files()
        del self._inodes, self._seen, self._file_links
        self.names.sort()

    def open(self, name: str) -> IO[bytes]:
        try:
            return open_regular(self._path(name))
        except FileNotFoundError:
            if not os.path.islink(self._path(name)):
                raise
            target = printable(os.readlink(self._path(name)))
            raise FileNotFoundError(f"{self.where(name)} is a link to {target}, which is not there") from None

    def where(self, name: str) -> str:
        return printable(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _read(self, prefix: str) -> tuple[list[str], list[str]]:
        """Take in the files of a folder; the folders in it, and the links to folders."""
        folders, links = [], []
        with os.scandir(self._path(prefix)) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                name = prefix + entry.name
                is_folder = _is_folder(entry)
                if kind := left_out_as(entry.name, is_folder):
                    self.left_out[kind] += 1
                elif is_folder and entry.is_symlink():
                    links.append(f"{name}/")
                elif is_folder:
                    self._seen.add((entry.stat(follow_symlinks=False).st_dev, entry.inode()))
                    folders.append(f"{name}/")
                elif entry.is_symlink():
                    self._file_links.append(name)
                else:
                    self.names.append(name)
                    self._inodes.append(entry.inode())
        return folders, links

    def _add_linked_files(self) -> None:
        """Add the files that links lead to, each once."""
        if not self._file_links:
            return
        inodes = set(self._inodes)
        seen: set[tuple[int, int]] = set()
        for name in self._file_links:
            try:
                status = os.stat(self._path(name))
            except OSError:
                self.names.append(name)  # whether it matters that it leads nowhere is for the reader to say
                continue
            identity = _identity(status)
            if not stat.S_ISREG(status.st_mode):
                self.names.append(name)
            elif identity in seen or (identity[0] == self._device and identity[1] in inodes):
                self.left_out[LINK] += 1
            else:
                seen.add(identity)
                self.names.append(name)


class Archive:
    """A zip archive; hidden files and leftovers of other systems are left out.

    Raises:
        OSError: it cannot be read.
        ValueError: it is truncated or not a zip archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: Counter[str] = Counter()
        self._zip = self._opened()
        self._members = self._named()
        self.names = sorted(self._members)

    def _opened(self) -> zipfile.ZipFile:
        self._process = os.getpid()
        try:
            return zipfile.ZipFile(open_regular(self.root))
        except zipfile.BadZipFile as error:
            reason = printable(str(error))
            raise ValueError(
                f"{printable(str(self.root))} is truncated or not a zip archive ({reason}): fetch it again"
            ) from None
        except UnicodeDecodeError:
            raise ValueError(
                f"{printable(str(self.root))} has names that are marked as UTF-8 and are not: pack it again"
            ) from None
        except (NotImplementedError, ValueError, OverflowError, RuntimeError) as error:
            raise ValueError(f"cannot read {printable(str(self.root))}: {printable(str(error))}") from None

    def _named(self) -> dict[str, zipfile.ZipInfo]:
        """The files by their names; of two with one name, the later one, as programs that unpack do."""
        members: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = _member_name(info)
            if not name or name.endswith("/"):
                continue
            *folders, file = name.split("/")
            kind = next(filter(None, (left_out_as(folder, True) for folder in folders)), "") or left_out_as(
                file, False
            )
            if not kind and stat.S_ISLNK(info.external_attr >> 16):
                kind = "links in an archive"
            if kind:
                self.left_out[kind] += 1
                continue
            if name in members:
                self.left_out["files whose name comes again later in the archive"] += 1
            members[name] = info
        return members

    def open(self, name: str) -> IO[bytes]:
        # After a fork, parent and child would move one file position.
        if self._process != os.getpid():
            self._zip = self._opened()
        info = self._members[name]
        if info.file_size > max(_ALWAYS_UNPACKED, _MOST_PACKED * info.compress_size):
            raise ValueError(
                f"cannot read {self.where(name)}: it would unpack to {info.file_size:,} bytes,"
                f" more than {_MOST_PACKED} times its size"
            )
        with reading(self.where(name)):
            return self._zip.open(info)

    def where(self, name: str) -> str:
        return printable(f"{self.root}:{name}")

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]


def head_of(tree: Tree, name: str, size: int) -> bytes:
    """The first bytes of a file; none if it cannot be read."""
    try:
        with tree.open(name) as file:
            return file.read(size)
    except Exception:  # archives raise many types for damage
        return b""


def left_out_as(name: str, is_folder: bool) -> str:
    """The kind that a file or folder is left out as because of its name, or ""."""
    lower = name.lower()
    if is_folder:
        return LEFTOVER if lower in _LEFTOVER_FOLDERS else (HIDDEN if name.startswith(".") and name != ".." else "")
    # macOS puts a file ._NAME beside NAME where a disk cannot hold what it wants to keep of it.
    if lower in _LEFTOVER_FILES or name.startswith("._"):
        return LEFTOVER
    return HIDDEN if name.startswith(".") else ""


def _member_name(info: zipfile.ZipInfo) -> str:
    """A name as it was meant: with slashes, and in UTF-8 where it is that without saying so, as macOS packs."""
    name = info.filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join(parts) + ("/" if parts and name.endswith("/") else "")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
