"""Tables of pixels in text, separated by commas, semicolons or tabs: a picture a row, as MNIST often comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from elucidiff.data.interpreting import as_images
from elucidiff.data.reading import Reading
from elucidiff.data.sources import ArraySource, Contents, Images
from elucidiff.data.tables import column_labels, folded, label_column, only_label_column, pixel_columns
from elucidiff.untrusted import open_regular, printable

_HEAD_BYTES = 1 << 20
_MOST_COLUMNS = 1 << 18


def open_separated(path: Path, part: str | None, reading: Reading) -> Contents:
    """Pictures, signals or points, one a row, and perhaps a column of labels.

    The first line may name the columns. If it does not, the first column holds labels if the others make square
    pictures and all of them together do not.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or no table of numbers.
    """
    from pyarrow import csv, lib

    where = printable(str(path))
    if part is not None:
        raise ValueError(f"{where} has no part {part!r}: give its name alone")
    reading.refuse(where, "image_column")
    with open_regular(path) as file:
        head = file.read(_HEAD_BYTES).partition(b"\n")[0].decode("utf-8-sig", "replace").rstrip("\r")
    delimiter = max(",;\t", key=head.count)
    cells = [cell.strip().strip('"') for cell in head.split(delimiter)]
    if len(cells) > _MOST_COLUMNS:
        raise ValueError(f"{where} has more than {_MOST_COLUMNS:,} columns")
    named = not all(_is_number(cell) for cell in cells)
    if named and len(set(cells)) < len(cells):
        raise ValueError(f"{where} is damaged: its first line names a column twice")
    names = cells if named else [f"column {place}" for place in range(len(cells))]

    def rows(pixels: Any) -> Iterator[Any]:
        """Batches of rows; pyarrow guesses types that are not given from what comes first."""
        yield from csv.open_csv(
            path,
            csv.ReadOptions(use_threads=False, column_names=names, skip_rows=int(named)),
            csv.ParseOptions(delimiter=delimiter),
            csv.ConvertOptions(column_types=pixels),
        )

    try:
        first = next(rows({}), None)
        if first is None:
            raise ValueError(f"{where} holds no rows")
        kinds = {field.name: _holds_numbers(field.type) for field in first.schema}
        # The columns x, y are coordinates.
        points = {"x", "y"} <= {name.lower() for name in names}
        candidates = [name for name in names if not (points and len(name) == 1)]
        label, notes = label_column(names if reading.label_column else candidates, reading, where)
        if not named and label is None and _is_square(len(names) - 1) and not _is_square(len(names)):
            label, notes = names[0], (f"{where}: the first column is read as labels",)
        columns = pixel_columns(kinds, label)
        beside = [name for name in names if name not in columns and name != label]
        guessed = label is None and len(beside) == 1 and reading.labels_from != "none"
        if guessed:
            label = beside[0]
        if len(columns) < 2:
            raise ValueError(
                f"{where} has columns {printable(', '.join(names[:8]))}, which are no pixels: of a list of pictures,"
                " give the folder that they are in"
            )
        try:
            pieces, labels = _read(rows(dict.fromkeys(columns, lib.int64())), columns, label)
        except lib.ArrowInvalid:
            pieces, labels = _read(rows(dict.fromkeys(columns, lib.float64())), columns, label)
    except lib.ArrowException as error:
        text = printable(" ".join(str(error).split())[:200])
        raise ValueError(f"{where} is damaged, or no table of numbers ({text})") from None
    if not pieces:
        raise ValueError(f"{where} holds no rows")
    values, folding, reading = folded(np.concatenate(pieces), where, reading)
    source, said = as_images(ArraySource(values), where, reading)
    found = None
    if guessed:
        label, notes = only_label_column(beside, lambda _: labels, where)
    if label is not None and reading.labels_from != "none":
        found, more = column_labels(labels, where)
        notes += more
    return Contents(path.stem, source, found, notes=notes + folding + said)


def _read(batches: Iterator[Any], columns: list[str], label: str | None) -> tuple[list[Images], list[Any]]:
    pieces, labels = [], []
    for batch in batches:
        pieces.append(_narrow(np.stack([_numbers(batch, name) for name in columns], -1)))
        if label is not None:
            labels += batch.column(batch.schema.get_field_index(label)).to_pylist()
    return pieces, labels


def _numbers(batch: Any, name: str) -> Images:
    """A column. An empty cell is not a number, which is refused, with its row, later."""
    values: Images = batch.column(batch.schema.get_field_index(name)).to_numpy(zero_copy_only=False)
    return values.astype(np.float64) if values.dtype.kind == "O" else values


def _narrow(values: Images) -> Images:
    """Levels 0..255 take a byte each: a table of pictures takes no more memory than it does as text."""
    if values.dtype.kind in "iu" and values.size and values.min() >= 0 and values.max() <= 255:
        return values.astype(np.uint8)
    return values


def _holds_numbers(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_square(length: int) -> bool:
    return length >= 16 and any(round((length / n) ** 0.5) ** 2 * n == length for n in (1, 3))
