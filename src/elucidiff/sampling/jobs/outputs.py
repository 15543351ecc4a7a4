"""Outputs, to which the samples of a job go: files in one folder or in one a shard, zip archives, or WebDataset tars.

Equal samples give equal bytes: archives keep no times, owners or other traces of who wrote them when.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from elucidiff.data.scaling import is_picture
from elucidiff.files import sha256, whole_file, whole_folder, write_whole

Label = int | list[float]


@dataclass(frozen=True)
class SampleFile:
    """One sample, as it is written.

    Attributes:
        name: of its file: the seed in at least eight digits, and ``.png`` or ``.npy``.
        content: the bytes of that file.
        seed: its seed.
        nfe: network evaluations that it took.
        label: number of its class, or its label vector, or None.
        class_name: name of its class; empty without names.
        condition: name of the condition that it was made for; empty without.
    """

    name: str
    content: bytes
    seed: int
    nfe: float
    label: Label | None
    class_name: str = ""
    condition: str = ""

    def facts(self) -> dict[str, Any]:
        """Facts of it for a record."""
        facts: dict[str, Any] = {"seed": self.seed, "file": self.name, "nfe": self.nfe}
        if self.label is not None:
            facts["label"] = self.label
        named = {"class": self.class_name, "condition": self.condition}
        return facts | {name: text for name, text in named.items() if text}


def file_name(seed: int, suffix: str) -> str:
    """The file of the sample of a seed."""
    return f"{seed:08d}{suffix}"


Write = Callable[[SampleFile], None]
"""Takes the samples of a shard, one by one and in order."""


class Output(Protocol):
    """One way to keep shards. ``files`` are the names of a shard's samples, which its seeds tell."""

    def name(self, index: int) -> str:
        """The archive or folder of a shard, relative to the job's folder."""
        ...

    def shard(self, job: Path, index: int) -> AbstractContextManager[Write]:
        """A shard to be written: what a ``with`` gives takes its samples.

        Not before the block has ended is anything at the shard's place; if it fails, what was there is left.

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

    @contextmanager
    def shard(self, job: Path, index: int) -> Iterator[Write]:
        """See :class:`Output`."""

        def write(sample: SampleFile) -> None:
            write_whole(job / sample.name, sample.content)

        yield write

    def checksum(self, job: Path, index: int, files: Iterable[str]) -> str:
        """See :class:`Output`."""
        return _digest_of(job, files)


class SubFolders:
    """A folder a shard, with the labels in a ``dataset.json`` of its own, as in a data set to train on."""

    def name(self, index: int) -> str:
        """See :class:`Output`."""
        return f"{index:06d}"

    @contextmanager
    def shard(self, job: Path, index: int) -> Iterator[Write]:
        """See :class:`Output`."""
        labels: list[tuple[str, Label]] = []
        with whole_folder(job / self.name(index)) as folder:

            def write(sample: SampleFile) -> None:
                (folder / sample.name).write_bytes(sample.content)
                labels.extend([] if sample.label is None else [(sample.name, sample.label)])

            yield write
            (folder / LABELS).write_bytes(label_table(labels))

    def checksum(self, job: Path, index: int, files: Iterable[str]) -> str:
        """See :class:`Output`."""
        return _digest_of(job / self.name(index), [LABELS, *files])


@dataclass(frozen=True)
class Archives:
    """An archive a shard.

    Args:
        suffix: of its name, with the dot.
        opened: an archive at a path, while it is written.
    """

    suffix: str
    opened: Callable[[Path], AbstractContextManager[Write]]

    def name(self, index: int) -> str:
        """See :class:`Output`."""
        return f"{index:06d}{self.suffix}"

    @contextmanager
    def shard(self, job: Path, index: int) -> Iterator[Write]:
        """See :class:`Output`."""
        with whole_file(job / self.name(index)) as path, self.opened(path) as write:
            yield write

    def checksum(self, job: Path, index: int, files: Iterable[str]) -> str:
        """See :class:`Output`."""
        return sha256(job / self.name(index))


def _digest_of(folder: Path, files: Iterable[str]) -> str:
    total = hashlib.sha256()
    for name in files:
        total.update(f"{name} {sha256(folder / name)}\n".encode())
    return total.hexdigest()


LABELS = "dataset.json"
"""The table of labels in a zip or folder, as training reads it."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # a zip knows no year before
_UNIX, _READABLE = 3, 0o644


def label_table(labels: Sequence[tuple[str, Label]]) -> bytes:
    """``{"labels": [[name, label], ...]}``, or null for no labels."""
    return json.dumps({"labels": labels or None}).encode()


@contextmanager
def zip_archive(path: Path) -> Iterator[Write]:
    """A file a sample, uncompressed (PNG files are already), and :data:`LABELS` at the end."""
    labels: list[tuple[str, Label]] = []
    with zipfile.ZipFile(path, "w") as archive:

        def add(name: str, content: bytes) -> None:
            entry = zipfile.ZipInfo(name, _EARLIEST)
            entry.create_system, entry.external_attr = _UNIX, _READABLE << 16
            archive.writestr(entry, content)

        def write(sample: SampleFile) -> None:
            add(sample.name, sample.content)
            labels.extend([] if sample.label is None else [(sample.name, sample.label)])

        yield write
        add(LABELS, label_table(labels))


@contextmanager
def tar_archive(path: Path) -> Iterator[Write]:
    """A WebDataset: for each sample its file, and beside it ``.cls`` with the class or ``.json`` with the vector."""
    # Written block by block, since a TarFile remembers every entry, and its memory would grow with the shard.
    with path.open("wb") as file:

        def add(name: str, content: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), _READABLE
            file.write(entry.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE))

        def write(sample: SampleFile) -> None:
            add(sample.name, sample.content)
            stem = PurePath(sample.name).stem
            if isinstance(sample.label, int):
                add(f"{stem}.cls", str(sample.label).encode())
            elif sample.label is not None:
                add(f"{stem}.json", json.dumps({"label": sample.label}).encode())

        yield write
        file.write(bytes(2 * tarfile.BLOCKSIZE))
        file.write(bytes(-file.tell() % tarfile.RECORDSIZE))


_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """``image`` (C, H, W) uint8 with 1, 3 or 4 channels as a PNG."""
    mode = _MODES[image.shape[0]]
    pixels = image[0] if mode == "L" else image.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels), mode).save(file, "PNG")
    return file.getvalue()


def encoded(samples: Tensor) -> list[bytes]:
    """Samples (B, C, *spatial) on the CPU, as a data set holds them, as the contents of their files.

    8-bit pictures become PNG files, all others ``.npy`` arrays of the type that they have.
    """
    if are_pictures(samples):
        return [png(image) for image in samples.numpy()]
    return [_npy(sample) for sample in samples.numpy()]


def are_pictures(samples: Tensor) -> bool:
    """True if samples (B, C, *spatial), as a data set holds them, are 8-bit pictures: grey, RGB or RGBA."""
    return samples.dtype == torch.uint8 and is_picture(samples.shape[1:])


def _npy(sample: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(sample), allow_pickle=False)
    return file.getvalue()


OUTPUTS: dict[str, Output] = {
    "folder": OneFolder(),
    "subfolders": SubFolders(),
    "zip": Archives(".zip", zip_archive),
    "tar": Archives(".tar", tar_archive),
}


def write_listing(path: Path, about: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> Path:
    """Write ``about``, and under ``samples`` what is told of each sample, in little memory.

    Raises:
        OSError: it could not be written.
    """
    head = json.dumps({**about, "samples": []}, indent=1).removesuffix("]\n}")
    return write_whole(path, lambda file: _write_list(file, head, map(json.dumps, entries), "\n ]\n}\n"))


def write_label_table(path: Path, rows: Iterable[tuple[str, Label]]) -> Path:
    """Write the :func:`label_table` of many samples, in little memory, so that they can be read as one data set.

    Raises:
        OSError: it could not be written.
    """
    labelled = iter(rows)
    first = next(labelled, None)
    if first is None:
        return write_whole(path, label_table(()))  # said, since sub-folders without a word are taken for classes
    items = map(json.dumps, itertools.chain([first], labelled))
    return write_whole(path, lambda file: _write_list(file, '{"labels": [', items, "]}"))


def _write_list(path: Path, head: str, items: Iterable[str], tail: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(head)
        for k, item in enumerate(items):
            file.write(f"{',' if k else ''}\n  {item}")
        file.write(tail)
