"""Parquet files of images: encoded ones, as Hugging Face's ``datasets`` writes them, or lists of pixels."""

from __future__ import annotations

import bisect
import functools
import io
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from elucidiff.data.images import ImageFiles
from elucidiff.data.interpreting import as_images
from elucidiff.data.labels import Labels
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.sources import ArraySource, Contents, Images, Rows
from elucidiff.data.tables import column_labels, folded, image_column, label_column, only_label_column, pixel_columns
from elucidiff.data.trees import Folder
from elucidiff.untrusted import clipped, open_regular, parse_json, printable, reading

# What is kept of a row group that was read; of larger ones, the last rows.
_MOST_HELD = 1 << 28
# A dictionary of one long value can stand for any number of rows, so few are made at a time.
_ROWS_AT_ONCE = 4
# Pictures hardly shrink; a column that does, and is large, is meant to fill the memory.
_ALWAYS_UNPACKED = 1 << 25
_MOST_PACKED = 64
_PIXEL_ROWS_AT_ONCE = 1024


class ParquetColumn:
    """The cells of a column of Parquet files, by the number of their row; of one row group, what was read is kept.

    Args:
        paths: the files, in order.
        column: which column.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, or promises more than fits into it.
    """

    def __init__(self, paths: list[Path], column: str) -> None:
        self._column = column
        self._groups: list[tuple[Path, int]] = []
        self._starts: list[int] = []
        rows = 0
        for path in paths:
            with reading(path):
                metadata = opened(path, column).metadata
                for group in range(metadata.num_row_groups):
                    self._groups.append((path, group))
                    self._starts.append(rows)
                    rows += metadata.row_group(group).num_rows
        self._count = rows
        self._forget()

    def _forget(self) -> None:
        self._held: _Rows | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._count

    def cell(self, row: int) -> Any:
        """The cell of a row, as one of pyarrow's scalars.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged.
        """
        group = self._group_of(row)
        path, number = self._groups[group]
        at = row - self._starts[group]
        with self._lock, reading(path):
            if self._held is None or self._held.place != (path, number) or not self._held.reaches(at):
                self._held = _Rows(path, number, self._column)
            return self._held.value(at)

    def where(self, row: int) -> str:
        """The name of a row in a message."""
        group = self._group_of(row)
        path, number = self._groups[group]
        return f"{printable(str(path))}, row {row - self._starts[group]} of row group {number}"

    def _group_of(self, row: int) -> int:
        return bisect.bisect_right(self._starts, row) - 1

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_held", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


class _Rows:
    """The cells of a column in one row group, read from front to back as far as they are asked for."""

    def __init__(self, path: Path, number: int, column: str) -> None:
        self.place = (path, number)
        self._batches: Iterator[Any] = opened(path, column).iter_batches(
            _ROWS_AT_ONCE, [number], [column], use_threads=False
        )
        self._kept: list[Any] = []
        self._first, self._starts, self._end, self._size = 0, [0], 0, 0

    def reaches(self, row: int) -> bool:
        """True if a row is kept, or still to come."""
        return row >= self._first

    def value(self, row: int) -> Any:
        """The cell in a row."""
        while row >= self._end:
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError(f"row group {self.place[1]} has {self._end} rows only")
            self._keep(batch.column(0))
        at = bisect.bisect_right(self._starts, row, hi=len(self._kept)) - 1
        return self._kept[at][row - self._starts[at]]

    def _keep(self, batch: Any) -> None:
        self._size += batch.nbytes
        if self._size > _MOST_HELD:
            self._kept, self._starts, self._first, self._size = [], [self._end], self._end, batch.nbytes
        self._kept.append(batch)
        self._end += len(batch)
        self._starts.append(self._end)


class ParquetTree:
    """Encoded images in a column of Parquet files, as files whose name is the number of their row.

    Args:
        root: what to call it.
        rows: the column.
    """

    def __init__(self, root: Path, rows: ParquetColumn) -> None:
        self.root, self._rows = root, rows
        self.names = [str(row) for row in range(len(rows))]
        self.left_out: Counter[str] = Counter()

    def open(self, name: str) -> IO[bytes]:
        value = self._rows.cell(int(name)).as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ValueError(f"cannot read image {self.where(name)}: the file does not hold its bytes")
        return io.BytesIO(content)

    def where(self, name: str) -> str:
        return self._rows.where(int(name))


class ListedPixels:
    """Arrays in a column of lists of numbers, which may be nested.

    Args:
        rows: the column.

    Raises:
        ValueError: the first cell is no array.
    """

    def __init__(self, rows: ParquetColumn) -> None:
        self._rows = rows
        first = self._array(0)
        self.shape: tuple[int, ...] = first.shape
        self.dtype: np.dtype[Any] = first.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: Rows) -> Images:
        images = np.empty((len(rows), *self.shape), self.dtype)
        for place, row in enumerate(rows.tolist()):
            image = self._array(row)
            if image.shape != self.shape:
                raise ValueError(
                    f"images differ: {self._rows.where(0)} has shape {self.shape}, but {self._rows.where(row)}"
                    f" {image.shape}"
                )
            images[place] = image
        return images

    def _array(self, row: int) -> Images:
        cell = self._rows.cell(row)
        try:
            values, shape = _flat(cell)
            array = values.to_numpy(zero_copy_only=False).reshape(shape)
        except (ValueError, TypeError, AttributeError):
            array = np.empty(0, object)
        if array.dtype.kind not in "biuf" or values.null_count:
            raise ValueError(f"cannot read image {self._rows.where(row)}: it is no array of numbers of one shape")
        found: Images = array
        return found


def _flat(cell: Any) -> tuple[Any, tuple[int, ...]]:
    """The numbers of nested lists, and the shape of the array that they make.

    Raises:
        ValueError: lists beside each other differ in length.
    """
    from pyarrow import compute, types

    if not cell.is_valid:
        raise ValueError("nothing is there")
    if hasattr(cell.type, "storage_type"):  # pyarrow's tensors, or an extension of Hugging Face's
        kind, cell = cell.type, cell.value
        if hasattr(kind, "shape"):
            return cell.values, tuple(kind.shape)
    values, shape = cell.values, [len(cell.values)]
    while types.is_list(values.type) or types.is_large_list(values.type) or types.is_fixed_size_list(values.type):
        lengths = compute.unique(compute.list_value_length(values)).to_pylist()
        if len(lengths) != 1 or lengths[0] is None:
            raise ValueError("lists of different lengths")
        shape.append(lengths[0])
        values = values.flatten()
    return values, tuple(shape)


def parquet_files(folder: Folder, part: str | None) -> list[Path]:
    """The Parquet files below a folder; if they are named ``train-...`` and ``test-...``, those of the part."""
    paths = [folder.root / name for name in folder.names if name.endswith(".parquet")]
    if part == "all":
        return paths
    chosen = [path for path in paths if path.name.startswith(part or "train")]
    return chosen if chosen or part else paths


def open_parquet(root: Path, paths: list[Path], chosen: Reading = AS_USUAL) -> Contents:
    """Images and, where there is a column of them, labels. The headers of the images are not read.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, there is no column of images, or the files differ in their columns.
    """
    where = printable(str(root))
    with reading(paths[0]):
        schema = opened(paths[0]).schema_arrow
    for path in paths[1:]:
        with reading(path):
            _check_alike(schema, opened(path).schema_arrow, path, paths[0])
    images = image_column(schema.names, chosen, where) or _by_type(schema)
    label, notes = label_column([name for name in schema.names if name != images], chosen, where)
    if images is None:
        return _pixel_table(root, paths, schema, label, notes, chosen)
    rows = ParquetColumn(paths, images)
    if not len(rows):
        raise ValueError(f"{where} holds no images")
    labels, notes = _labels(paths, schema, label, notes, [images], where, chosen)
    if _is_encoded(schema.field(images).type):
        chosen.refuse(where, "channel_axis", "missing")
        tree = ParquetTree(root, rows)
        return Contents(root.stem, ImageFiles(tree, tree.names), labels, notes=notes)
    if str(schema.field(images).type) in ("string", "large_string"):
        raise ValueError(
            f"{where}: its column {clipped(images)} holds text, but must hold encoded pictures, or pixels"
        )
    source: Any = ListedPixels(rows)
    if len(source.shape) == 1:
        values, more, chosen = folded(source.read(np.arange(len(source))), where, chosen)
        source, notes = ArraySource(values), notes + more
    found, more = as_images(source, where, chosen)
    return Contents(root.stem, found, labels, notes=notes + more)


def _pixel_table(
    root: Path, paths: list[Path], schema: Any, label: str | None, notes: tuple[str, ...], chosen: Reading
) -> Contents:
    """A table with a column a pixel."""
    from pyarrow import types

    where = printable(str(root))
    kinds = {
        field.name: types.is_integer(field.type) or types.is_floating(field.type) or types.is_boolean(field.type)
        for field in schema
    }
    columns = pixel_columns(kinds, label)
    if len(columns) < 2:
        listed = printable(", ".join(schema.names[:12]))
        raise ValueError(
            f"{printable(str(paths[0]))} has columns {listed}; expected one named image, or --image-column NAME"
        )
    pieces = []
    for path in paths:
        with reading(path):
            for batch in opened(path, *columns).iter_batches(_PIXEL_ROWS_AT_ONCE, columns=columns, use_threads=False):
                pieces.append(np.stack([batch.column(name).to_numpy(zero_copy_only=False) for name in columns], -1))
    if not pieces:
        raise ValueError(f"{where} holds no rows")
    labels, notes = _labels(paths, schema, label, notes, columns, where, chosen)
    values, more, chosen = folded(np.concatenate(pieces), where, chosen)
    source, said = as_images(ArraySource(values), where, chosen)
    return Contents(root.stem, source, labels, notes=notes + more + said)


def _labels(
    paths: list[Path],
    schema: Any,
    label: str | None,
    notes: tuple[str, ...],
    pixels: list[str],
    where: str,
    chosen: Reading,
) -> tuple[Labels | None, tuple[str, ...]]:
    """Labels from their column, or from the only one beside the pixels that can be it; and what to say of that."""
    if chosen.labels_from == "none":
        return None, notes
    cells = functools.cache(lambda name: _cells(paths, name))
    if label is None:
        beside = [field.name for field in schema if field.name not in pixels and _is_scalar(field.type)]
        label, more = only_label_column(beside, cells, where)
        notes = more or notes
    if label is None:
        return None, notes
    labels, more = column_labels(cells(label), where, _class_names(schema, label))
    return labels, notes + more


def _check_alike(schema: Any, other: Any, path: Path, first: Path) -> None:
    here, there = printable(str(path)), printable(str(first))
    for name in [*schema.names, *(name for name in other.names if name not in schema.names)]:
        column = printable(repr(name))
        if name not in other.names or name not in schema.names:
            lacking, having = (here, there) if name not in other.names else (there, here)
            wrong = f"{lacking} has no column {column}, which {having} has"
        elif other.field(name).type != schema.field(name).type:
            kinds = [printable(str(found.field(name).type)) for found in (other, schema)]
            wrong = f"{here} has {kinds[0]} in its column {column}, but {there} {kinds[1]}"
        else:
            continue
        raise ValueError(f"{wrong}: shards of one set must have the same columns")


def _by_type(schema: Any) -> str | None:
    """The only column that holds encoded images or lists of lists."""
    encoded = [field.name for field in schema if _is_encoded(field.type)]
    nested = [field.name for field in schema if _is_nested(field.type)]
    return encoded[0] if len(encoded) == 1 else nested[0] if len(nested) == 1 and not encoded else None


def _is_encoded(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(kind.field(place).name == "bytes" for place in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_scalar(kind: Any) -> bool:
    """True if a column may hold classes: whole numbers, truth values or text."""
    from pyarrow import types

    kind = getattr(kind, "value_type", kind) if types.is_dictionary(kind) else kind
    return bool(
        types.is_integer(kind) or types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind)
    )


def _is_nested(kind: Any) -> bool:
    kind = getattr(kind, "storage_type", kind)
    return hasattr(getattr(kind, "value_type", None), "value_type")


def _cells(paths: list[Path], column: str) -> list[Any]:
    cells: list[Any] = []
    for path in paths:
        with reading(path):
            file = opened(path, column)
            found = file.read(columns=[column], use_threads=False).column(0).to_pylist()
            if len(found) != file.metadata.num_rows or len(found) != _rows(file.metadata):
                raise ValueError(f"{printable(str(path))} is damaged: its column {column} has {len(found)} rows")
            cells += found
    return cells


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Names of the classes, which Hugging Face keeps in the schema's metadata; none if these are damaged."""
    try:
        features = parse_json((schema.metadata or {})[b"huggingface"], "")["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def opened(path: Path, *columns: str) -> Any:
    """A Parquet file.

    Args:
        path: the file.
        columns: which columns will be read. What they promise is looked at before anything of that size is made.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or not a Parquet file, or promises more than fits into it.
    """
    from pyarrow import parquet  # takes a while, and few data sets need it

    open_regular(path).close()
    file = parquet.ParquetFile(path, page_checksum_verification=True)
    for column in columns:
        if file.schema_arrow.names.count(column) != 1:
            raise ValueError(f"{printable(str(path))} has no column {clipped(column)}, or several of that name")
    if columns:
        _check_sizes(path, file.metadata)
    return file


def _rows(metadata: Any) -> int:
    return sum(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))


def _check_sizes(path: Path, metadata: Any) -> None:
    size = os.path.getsize(path)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if not 0 <= group.num_rows <= size:
            raise ValueError(f"{printable(str(path))} says that row group {number} has {group.num_rows} rows")
        # Of the group as a whole: pyarrow ends the process where the statistics of a column's sizes are damaged.
        if not 0 <= group.total_byte_size <= max(_ALWAYS_UNPACKED, _MOST_PACKED * size):
            raise ValueError(
                f"{printable(str(path))} says that row group {number} unpacks to {group.total_byte_size} bytes, more"
                f" than {_MOST_PACKED} times its size"
            )
    if metadata.num_rows > size:
        raise ValueError(f"{printable(str(path))} says that it has {metadata.num_rows} rows")
