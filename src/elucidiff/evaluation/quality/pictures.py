"""Pictures to evaluate: a data set in any form, or what ``elucidiff sample`` wrote."""

from __future__ import annotations

import io
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from elucidiff import data
from elucidiff.data.dataset import Dataset
from elucidiff.data.images import ImageFiles
from elucidiff.data.layout import pictures_of
from elucidiff.data.trees import Archive, Folder, Tree
from elucidiff.sampling.jobs.folder import LISTING
from elucidiff.untrusted import printable, read_json, reading


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
        """The name of a file in a message."""
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
        """The name of a file in a message."""
        shard, _, file = name.partition("/")
        return self._trees[shard].where(file)


def open_archive(path: Path) -> Tree:
    """A tar or zip archive.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    return Tar(path) if path.suffix.lower() == ".tar" else Archive(path)


def open_images(source: str | os.PathLike[str]) -> Dataset:
    """Open images, with the labels of data sets that have some, and without those of samples.

    Of a folder of samples those in its list are taken, and the sheet that shows them all is not. A ``.tar`` and a
    folder of ``.tar`` or ``.zip`` shards are opened, too. All else goes to :func:`elucidiff.data.open`; of latents,
    the pictures are taken that they were made of.

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError: it is damaged, or not a data set; the message names the file.
    """
    path = Path(source).expanduser()
    if (path / LISTING).is_file():
        return _dataset(path, Folder(path), _listed(path))
    if path.suffix.lower() == ".tar" and path.is_file():
        archive = Tar(path)
        return _dataset(path, archive, pictures_of(archive)[0])
    for suffix in (".tar", ".zip"):
        shards = sorted(path.glob(f"*{suffix}")) if path.is_dir() else []
        if shards:
            joined = Shards(path, shards)
            return _dataset(path, joined, pictures_of(joined)[0])
    found = data.open(source)
    return found.pictures or found


def _dataset(path: Path, tree: Tree, names: list[str]) -> Dataset:
    images = ImageFiles(tree, names)
    images.check_alike()
    return Dataset(path.resolve().stem, images)


def _listed(folder: Path) -> list[str]:
    """The files in a folder of samples, in the order of the seeds as they were asked for."""
    listing = folder / LISTING
    with reading(listing, "is damaged: draw the samples again"):
        names = [str(entry["file"]) for entry in read_json(listing)["samples"]]
    if not names:
        raise ValueError(f"{listing} lists no samples: draw them again")
    if names[0].endswith(".npy"):
        raise ValueError(
            f"{folder} holds arrays in files of their own: put them into one .npy file (N, C, *spatial), or "
            "evaluate the model itself"
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{listing} lists {missing[0]}, which is not there: draw the samples again")
    return names
