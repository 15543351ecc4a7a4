"""One file that tells about all samples of a finished job, written from its records in little memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from elucidiff.files import write_whole
from elucidiff.sampling.jobs.folder import LISTING, JobFolder
from elucidiff.sampling.jobs.outputs import LABELS
from elucidiff.untrusted import read_json


def write_listing(folder: JobFolder, about: Mapping[str, Any]) -> Path:
    """``samples.json`` for samples in one folder: ``about``, and under ``samples`` seed, file, evaluations and label.

    It takes the place of ``job.json`` and the records, which are deleted.

    Raises:
        OSError: it could not be written.
    """
    head = json.dumps({**about, "samples": []}, indent=1).removesuffix("]\n}")

    def fill(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.write(head)
            _write_list(file, (json.dumps(entry) for entry in _entries(folder)))
            file.write("\n ]\n}\n")

    written = write_whole(folder.path / LISTING, fill)
    folder.forget_records()
    return written


def write_label_table(folder: JobFolder) -> Path:
    """``dataset.json`` for sub-folders, so that all of them can be read as one data set to train on.

    Raises:
        OSError: it could not be written.
    """

    def fill(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            rows = _label_rows(folder)
            first = next(rows, None)
            if first is None:
                # Said, since sub-folders without a word are taken for classes.
                file.write('{"labels": null}')
                return
            file.write('{"labels": [')
            _write_list(file, _chained(first, rows))
            file.write("]}")

    return write_whole(folder.path / LABELS, fill)


def _entries(folder: JobFolder) -> Iterator[dict[str, Any]]:
    for index in range(folder.job.shards):
        yield from folder.record(index)["entries"]


def _label_rows(folder: JobFolder) -> Iterator[str]:
    for index in range(folder.job.shards):
        name = folder.record(index)["name"]
        for file, label in read_json(folder.path / name / LABELS)["labels"] or ():
            yield json.dumps([f"{name}/{file}", label])


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _write_list(file: IO[str], items: Iterator[str]) -> None:
    for k, item in enumerate(items):
        file.write(f"{',' if k else ''}\n  {item}")
