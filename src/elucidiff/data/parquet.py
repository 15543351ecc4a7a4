"""Parquet files of images, as Hugging Face's ``datasets`` writes them."""

from __future__ import annotations

import bisect
import io
import json
from collections import Counter
from pathlib import Path
from typing import IO, Any

import numpy as np

from elucidiff.data.images import ImageFiles
from elucidiff.data.labels import Labels
from elucidiff.data.sources import Contents
from elucidiff.data.trees import Folder

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")


class ParquetTree:
    """The images of Parquet files, by the number of their row; one row group is kept in memory at a time.

    Args:
        root: what to call it.
        paths: the files, in order.
        column: the column that holds the images.
    """

    def __init__(self, root: Path, paths: list[Path], column: str) -> None:
        self.root, self._paths, self._column = root, paths, column
        self._groups: list[tuple[Path, int]] = []
        self._starts: list[int] = []
        rows = 0
        for path in paths:
            metadata = _opened(path).metadata
            for group in range(metadata.num_row_groups):
                self._groups.append((path, group))
                self._starts.append(rows)
                rows += metadata.row_group(group).num_rows
        self.names = [str(row) for row in range(rows)]
        self.left_out: Counter[str] = Counter()
        self._held: tuple[int, Any] = (-1, None)

    def open(self, name: str) -> IO[bytes]:
        row = int(name)
        group = bisect.bisect_right(self._starts, row) - 1
        held, column = self._held
        if held != group:
            path, number = self._groups[group]
            column = _opened(path).read_row_group(number, columns=[self._column]).column(0)
            self._held = (group, column)
        value = column[row - self._starts[group]].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ValueError(f"cannot read image {self.where(name)}: the file does not hold its bytes")
        return io.BytesIO(content)

    def where(self, name: str) -> str:
        group = bisect.bisect_right(self._starts, int(name)) - 1
        return (
            f"{self._groups[group][0]}, row {int(name) - self._starts[group]} of row group {self._groups[group][1]}"
        )

    def stamp(self, name: str) -> str:
        status = self._groups[bisect.bisect_right(self._starts, int(name)) - 1][0].stat()
        return f"{status.st_size} {status.st_mtime_ns}"


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
    schema = _opened(paths[0]).schema_arrow
    column = next((name for name in _IMAGE_COLUMNS if name in schema.names), None)
    if column is None:
        raise ValueError(f"{paths[0]} has columns {', '.join(schema.names)}; expected one named image")
    tree = ParquetTree(root, paths, column)
    if not tree.names:
        raise ValueError(f"{root} holds no images")
    label = next((name for name in _LABEL_COLUMNS if name in schema.names), None)
    labels = None
    if label is not None:
        values = np.concatenate([_opened(path).read(columns=[label]).column(0).to_numpy() for path in paths])
        labels = Labels.from_array(values, len(tree.names), str(root), _class_names(schema, label))
    return Contents(root.stem, ImageFiles(tree, tree.names), labels)


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Hugging Face keeps the names of the classes in the schema's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _opened(path: Path) -> Any:
    from pyarrow import parquet  # takes a while, and few data sets need it

    try:
        return parquet.ParquetFile(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged or not a Parquet file ({' '.join(str(error).split())})") from None
