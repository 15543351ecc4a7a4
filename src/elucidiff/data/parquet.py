"""Parquet files of images, as Hugging Face's ``datasets`` writes them."""

from __future__ import annotations

import bisect
import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from elucidiff.data.images import ImageFiles
from elucidiff.data.labels import Labels
from elucidiff.data.sources import Contents
from elucidiff.data.trees import Folder
from elucidiff.untrusted import clipped, open_regular, parse_json, printable, reading

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")


# What is kept of a row group that was read; of larger ones, the last rows.
_MOST_HELD = 1 << 28
# A dictionary of one long value can stand for any number of rows, so few are made at a time.
_ROWS_AT_ONCE = 4
# Pictures hardly shrink; a column that does, and is large, is meant to fill the memory.
_ALWAYS_UNPACKED = 1 << 25
_MOST_PACKED = 64


class ParquetTree:
    """The images of Parquet files, by the number of their row; of one row group, what was read is kept in memory.

    Args:
        root: what to call it.
        paths: the files, in order.
        column: the column that holds the images.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, lacks the column, or promises more rows than fit into it.
    """

    def __init__(self, root: Path, paths: list[Path], column: str) -> None:
        self.root, self._column = root, column
        self._groups: list[tuple[Path, int]] = []
        self._starts: list[int] = []
        rows = 0
        for path in paths:
            with reading(path):
                file = _opened(path, column)
                _check_sizes(path, file.metadata, column)
                for group in range(file.metadata.num_row_groups):
                    self._groups.append((path, group))
                    self._starts.append(rows)
                    rows += file.metadata.row_group(group).num_rows
        self.names = [str(row) for row in range(rows)]
        self.left_out: Counter[str] = Counter()
        self._held: _Rows | None = None

    def open(self, name: str) -> IO[bytes]:
        group, row = self._place(name)
        path, number = self._groups[group]
        with reading(path):
            if self._held is None or self._held.place != (path, number) or not self._held.reaches(row):
                self._held = _Rows(path, number, self._column)
            value = self._held.value(row)
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ValueError(f"cannot read image {self.where(name)}: the file does not hold its bytes")
        return io.BytesIO(content)

    def where(self, name: str) -> str:
        group, row = self._place(name)
        return f"{printable(str(self._groups[group][0]))}, row {row} of row group {self._groups[group][1]}"

    def stamp(self, name: str) -> str:
        status = self._groups[self._place(name)[0]][0].stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def _place(self, name: str) -> tuple[int, int]:
        """The row group of a row, as a position in the list of all, and the row's number in it."""
        group = bisect.bisect_right(self._starts, int(name)) - 1
        return group, int(name) - self._starts[group]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}


class _Rows:
    """The values of a column in one row group, read from front to back as far as they are asked for."""

    def __init__(self, path: Path, number: int, column: str) -> None:
        self.place = (path, number)
        self._batches: Iterator[Any] = _opened(path, column).iter_batches(
            _ROWS_AT_ONCE, [number], [column], use_threads=False
        )
        self._kept: list[Any] = []
        self._first, self._starts, self._end, self._size = 0, [0], 0, 0

    def reaches(self, row: int) -> bool:
        """Whether a row is kept, or still to come."""
        return row >= self._first

    def value(self, row: int) -> Any:
        """The value in a row, as a Python object."""
        while row >= self._end:
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError(f"row group {self.place[1]} has {self._end} rows only")
            self._keep(batch.column(0))
        at = bisect.bisect_right(self._starts, row, hi=len(self._kept)) - 1
        return self._kept[at][row - self._starts[at]].as_py()

    def _keep(self, batch: Any) -> None:
        self._size += batch.nbytes
        if self._size > _MOST_HELD:
            self._kept, self._starts, self._first, self._size = [], [self._end], self._end, batch.nbytes
        self._kept.append(batch)
        self._end += len(batch)
        self._starts.append(self._end)


def parquet_files(folder: Folder, part: str | None) -> list[Path]:
    """The Parquet files below a folder; if they are named ``train-...`` and ``test-...``, those of the part."""
    paths = [folder.root / name for name in folder.names if name.endswith(".parquet")]
    if part == "all":
        return paths
    chosen = [path for path in paths if path.name.startswith(part or "train")]
    return chosen if chosen or part else paths


def open_parquet(root: Path, paths: list[Path]) -> Contents:
    """Images and, where there is a column of them, class labels. The headers of the images are not read.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, or there is no column of images.
    """
    with reading(paths[0]):
        schema = _opened(paths[0]).schema_arrow
    column = next((name for name in _IMAGE_COLUMNS if name in schema.names), None)
    if column is None:
        found = clipped(", ".join(schema.names), 300)
        raise ValueError(f"{printable(str(paths[0]))} has columns {found}; expected one named image")
    tree = ParquetTree(root, paths, column)
    if not tree.names:
        raise ValueError(f"{printable(str(root))} holds no images")
    label = next((name for name in _LABEL_COLUMNS if name in schema.names), None)
    labels = None
    if label is not None:
        values = np.concatenate([_numbers(path, label) for path in paths])
        labels = Labels.from_array(values, len(tree.names), printable(str(root)), _class_names(schema, label))
    return Contents(root.stem, ImageFiles(tree, tree.names), labels)


def _numbers(path: Path, column: str) -> Any:
    with reading(path):
        file = _opened(path, column)
        kind = str(file.schema_arrow.field(column).type)
        if not kind.startswith(("int", "uint", "float", "double", "halffloat")):
            raise ValueError(f"{printable(str(path))}: labels are {clipped(kind)}, but must be numbers")
        return file.read(columns=[column], use_threads=False).column(0).to_numpy()


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Hugging Face keeps the names of the classes in the schema's metadata."""
    try:
        features = parse_json((schema.metadata or {})[b"huggingface"], "")["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _opened(path: Path, column: str | None = None) -> Any:
    from pyarrow import parquet  # takes a while, and few data sets need it

    open_regular(path).close()
    file = parquet.ParquetFile(path, page_checksum_verification=True)
    if column is not None and file.schema_arrow.names.count(column) != 1:
        raise ValueError(f"{printable(str(path))} has no column {column}, or several: all files of a set need it")
    return file


def _check_sizes(path: Path, metadata: Any, column: str) -> None:
    """Look at what a file promises before anything of that size is made."""
    size = os.path.getsize(path)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if not 0 <= group.num_rows <= size:
            raise ValueError(f"{printable(str(path))} says that row group {number} has {group.num_rows} rows")
        for place in range(group.num_columns):
            chunk = group.column(place)
            if chunk.path_in_schema.split(".")[0] != column:
                continue
            most = max(_ALWAYS_UNPACKED, _MOST_PACKED * min(chunk.total_compressed_size, size))
            if not 0 <= chunk.total_uncompressed_size <= most:
                raise ValueError(
                    f"{printable(str(path))} says that row group {number} unpacks to"
                    f" {chunk.total_uncompressed_size} bytes, more than {_MOST_PACKED} times its size"
                )
    if metadata.num_rows > size:
        raise ValueError(f"{printable(str(path))} says that it has {metadata.num_rows} rows")
