"""Pictures in tar archives, and in several archives at once, as ``elucidiff sample`` writes many samples."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from elucidiff.data.trees import Archive, Tree
from elucidiff.untrusted import printable


class Tar:
    """An uncompressed tar archive, whose files are found once and then read where they lie.

    Raises:
        OSError: it cannot be read.
        ValueError: it is truncated or not a tar archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._places: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(root, "r:") as archive:
                for member in archive:
                    if member.isfile():
                        self._places[member.name] = member.offset_data, member.size
        except tarfile.TarError as error:
            raise ValueError(f"{root} is truncated or not a tar archive ({error}): fetch it again") from None
        self.names = sorted(self._places)
        self.left_out: Counter[str] = Counter()

    def open(self, name: str) -> IO[bytes]:
        """A file of the archive."""
        start, size = self._places[name]
        with self.root.open("rb") as file:
            file.seek(start)
            return io.BytesIO(file.read(size))

    def where(self, name: str) -> str:
        """What to call a file in a message."""
        return printable(f"{self.root}:{name}")


class Shards:
    """Several archives as one: the files of the first, then those of the second, and so on."""

    def __init__(self, root: Path, archives: Sequence[Path]) -> None:
        self.root = root
        self._trees: dict[str, Tree] = {path.name: open_archive(path) for path in archives}
        self.names = [f"{shard}/{name}" for shard, tree in self._trees.items() for name in tree.names]
        self.left_out = sum((tree.left_out for tree in self._trees.values()), Counter[str]())

    def open(self, name: str) -> IO[bytes]:
        """A file of one of the archives."""
        shard, _, file = name.partition("/")
        return self._trees[shard].open(file)

    def where(self, name: str) -> str:
        """What to call a file in a message."""
        shard, _, file = name.partition("/")
        return self._trees[shard].where(file)


def open_archive(path: Path) -> Tree:
    """A tar or zip archive.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    return Tar(path) if path.suffix.lower() == ".tar" else Archive(path)
