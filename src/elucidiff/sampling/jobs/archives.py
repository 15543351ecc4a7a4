"""Samples in zip and tar archives whose bytes depend on the samples alone."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from elucidiff.sampling.jobs.drawn import Drawn, Label

LABELS = "dataset.json"
"""The table of labels in a zip or folder, as training reads it."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # a zip knows no year before
_UNIX, _READABLE = 3, 0o644


def label_table(labels: Sequence[tuple[str, Label]]) -> bytes:
    """``{"labels": [[name, label], ...]}``, or null for no labels."""
    return json.dumps({"labels": labels or None}).encode()


def write_zip(path: Path, samples: Iterable[Drawn]) -> None:
    """A file a sample, uncompressed (PNG files are already), and :data:`LABELS` at the end."""
    labels: list[tuple[str, Label]] = []
    with zipfile.ZipFile(path, "w") as archive:

        def add(name: str, content: bytes) -> None:
            entry = zipfile.ZipInfo(name, _EARLIEST)
            entry.create_system, entry.external_attr = _UNIX, _READABLE << 16
            archive.writestr(entry, content)

        for sample in samples:
            add(sample.name, sample.content)
            labels += [] if sample.label is None else [(sample.name, sample.label)]
        add(LABELS, label_table(labels))


def write_tar(path: Path, samples: Iterable[Drawn]) -> None:
    """A WebDataset: for each sample its file, and beside it ``.cls`` with the class or ``.json`` with the vector."""
    # Written block by block, since a TarFile remembers every entry, and its memory would grow with the shard.
    with path.open("wb") as file:

        def add(name: str, content: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), _READABLE
            file.write(entry.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE))

        for sample in samples:
            add(sample.name, sample.content)
            stem = PurePath(sample.name).stem
            if isinstance(sample.label, int):
                add(f"{stem}.cls", str(sample.label).encode())
            elif sample.label is not None:
                add(f"{stem}.json", json.dumps({"label": sample.label}).encode())
        file.write(bytes(2 * tarfile.BLOCKSIZE))
        file.write(bytes(-file.tell() % tarfile.RECORDSIZE))
