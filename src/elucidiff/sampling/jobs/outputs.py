"""Where the samples of a job go: files in one folder or in one a shard, zip archives, or WebDataset tars.

Equal samples give equal bytes: archives keep no times, owners or other traces of who wrote them when.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from elucidiff.files import sha256, write_folder_whole, write_whole
from elucidiff.sampling.jobs.archives import LABELS, label_table, write_tar, write_zip
from elucidiff.sampling.jobs.drawn import Drawn, Label


class Output(Protocol):
    """One way to keep shards. ``files`` are the names of a shard's samples, which its seeds tell."""

    def name(self, index: int) -> str:
        """The archive or folder of a shard, relative to the job's folder."""
        ...

    def write(self, job: Path, index: int, samples: Iterable[Drawn]) -> None:
        """Write a shard while its samples are drawn. Not before that is done is anything at its place.

        Raises:
            OSError: it could not be written.
        """
        ...

    def checksum(self, job: Path, index: int, files: Iterable[str]) -> str:
        """SHA-256 of a shard as it is on the disk: of its archive, or of the names and checksums of its files.

        Raises:
            OSError: it cannot be read, or something of it is missing.
        """
        ...


class OneFolder:
    """All files in the job's own folder. Here each sample is whole, and those of an unfinished shard remain."""

    def name(self, index: int) -> str:
        """See :class:`Output`."""
        return "."

    def write(self, job: Path, index: int, samples: Iterable[Drawn]) -> None:
        """See :class:`Output`."""
        for sample in samples:
            write_whole(job / sample.name, sample.content)

    def checksum(self, job: Path, index: int, files: Iterable[str]) -> str:
        """See :class:`Output`."""
        return _digest_of(job, files)


class SubFolders:
    """A folder a shard, with the labels in a ``dataset.json`` of its own, as in a data set to train on."""

    def name(self, index: int) -> str:
        """See :class:`Output`."""
        return f"{index:06d}"

    def write(self, job: Path, index: int, samples: Iterable[Drawn]) -> None:
        """See :class:`Output`."""

        def fill(folder: Path) -> None:
            labels: list[tuple[str, Label]] = []
            for sample in samples:
                (folder / sample.name).write_bytes(sample.content)
                labels += [] if sample.label is None else [(sample.name, sample.label)]
            (folder / LABELS).write_bytes(label_table(labels))

        write_folder_whole(job / self.name(index), fill)

    def checksum(self, job: Path, index: int, files: Iterable[str]) -> str:
        """See :class:`Output`."""
        return _digest_of(job / self.name(index), [LABELS, *files])


@dataclass(frozen=True)
class Archives:
    """An archive a shard.

    Args:
        suffix: of its name, with the dot.
        fill: writes samples into a file.
    """

    suffix: str
    fill: Callable[[Path, Iterable[Drawn]], None]

    def name(self, index: int) -> str:
        """See :class:`Output`."""
        return f"{index:06d}{self.suffix}"

    def write(self, job: Path, index: int, samples: Iterable[Drawn]) -> None:
        """See :class:`Output`."""
        write_whole(job / self.name(index), lambda path: self.fill(path, samples))

    def checksum(self, job: Path, index: int, files: Iterable[str]) -> str:
        """See :class:`Output`."""
        return sha256(job / self.name(index))


OUTPUTS: dict[str, Output] = {
    "folder": OneFolder(),
    "subfolders": SubFolders(),
    "zip": Archives(".zip", write_zip),
    "tar": Archives(".tar", write_tar),
}


def _digest_of(folder: Path, files: Iterable[str]) -> str:
    total = hashlib.sha256()
    for name in files:
        total.update(f"{name} {sha256(folder / name)}\n".encode())
    return total.hexdigest()
