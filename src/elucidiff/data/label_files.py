"""Files that list the labels of pictures: NVlabs' ``dataset.json``, Hugging Face's ``metadata.jsonl``, tables."""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from elucidiff.data.formats import SUFFIXES
from elucidiff.data.labels import Labels, are_names_of_classes
from elucidiff.data.trees import Tree
from elucidiff.untrusted import parse_json, printable, read_document

_FILE_COLUMNS = (
    "file_name", "filename", "file", "file_path", "filepath", "path", "image_path", "image_name", "image_file",
    "image", "img", "img_name", "image_id", "fname", "picture", "id", "name",
)  # fmt: skip
_LABEL_COLUMNS = (
    "label", "labels", "class", "class_name", "class_id", "class_label", "label_name", "category", "target", "y",
    "fine_label", "coarse_label", "breed", "species",
)  # fmt: skip
_NULL = frozenset({"null", "none", "nan", "na", "n/a"})
_MOST_COLUMNS = 4096


@dataclass(frozen=True)
class Listed:
    """The labels of some pictures, as label files have them.

    Attributes:
        values: a label for each of the pictures; None where there is none.
        names: of the classes, where the file has one-hot columns.
        notes: what was not used of it.
        elsewhere: the labels of pictures in other parts of the data set.
    """

    values: list[Any]
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    elsewhere: tuple[Any, ...] = ()


def read_listed(tree: Tree, file: str, pictures: Sequence[str], every: Iterable[str], column: str | None) -> Listed:
    """Read the labels of ``pictures`` from a file.

    Args:
        tree: the folder or archive.
        file: the label file in it.
        pictures: whose labels are wanted, all below the file's folder.
        every: all pictures of the tree, for the check that the file lists none that is not there.
        column: which column holds the labels, in a table; None for the one with a usual name.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or does not fit the pictures; the message names it.
    """
    where, folder = tree.where(file), file.rpartition("/")[0]
    try:
        with tree.open(file) as opened:
            content = read_document(opened, where)
    except (ValueError, OSError):
        raise
    except Exception as error:  # archives raise many types for damage
        raise ValueError(f"cannot read {where}: {printable(' '.join(str(error).split()))}") from None
    below = [_below(name, folder) for name in pictures]
    others = [_below(name, folder) for name in every if _is_below(name, folder)]
    if file.endswith(".json"):
        return _nvlabs(content, where, below, others)
    rows = _json_lines(content, where) if file.endswith(".jsonl") else _table(content, where)
    return _from_rows(rows, where, below, others, column)


def labels_from_values(values: Sequence[Any], where: str, names: tuple[str, ...] = ()) -> Labels:
    """Labels from what a file gives each picture: all integers, all text, or all lists of equally many numbers.

    Raises:
        ValueError: a mixture, or something else.
    """
    if all(isinstance(value, bool) for value in values):
        return Labels.from_names([str(value).lower() for value in values], where)
    if all(isinstance(value, str) for value in values):
        return Labels.from_names([printable(value) for value in values], where)
    if not (all(_is_number(value) for value in values) or _are_vectors(values)):
        raise ValueError(f"{where}: labels must be all integers, all text, or all lists of equally many numbers")
    try:
        array = np.asarray(values)
    except (OverflowError, ValueError):
        raise ValueError(f"{where}: a label is too large a number") from None
    if array.ndim == 2 and array.dtype.kind == "i":
        array = array.astype(float)  # a list is a vector, or one-hot, even if its numbers are whole
    return Labels.from_array(array, len(values), where, names)


def _nvlabs(content: bytes, where: str, pictures: list[str], every: list[str]) -> Listed:
    """``{"labels": [[name, label], ...]}``, or null for no labels, as NVlabs' dataset_tool writes it.

    ``{"labels": {name: label, ...}}`` is read, too.
    """
    document = parse_json(content, where)
    expected = 'expected {"labels": [["image.png", 0], ...]} or {"labels": null}'
    if not isinstance(document, dict) or "labels" not in document:
        raise ValueError(f"{where} is damaged (it has no entry labels): {expected}")
    entries = document["labels"]
    if entries is None:
        return Listed([None] * len(pictures))
    if isinstance(entries, dict):
        entries = list(entries.items())
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
        raise ValueError(f"{where} is damaged (its labels are no list of names with a label each): {expected}")
    given = {_plain(name): label for name, label in entries}
    values = []
    for name in pictures:
        if _plain(name) not in given:
            raise ValueError(f"{where} has no label for {printable(name)}")
        values.append(given[_plain(name)])
    if len(given) > len(pictures):
        known = {_plain(name) for name in every}
        stray = next((name for name in given if name not in known), None)
        if stray is not None:
            raise ValueError(f"{where} has a label for {printable(stray)}, which is not there")
    return Listed(values, elsewhere=tuple(given.values()) if len(given) > len(pictures) else ())


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str)


def _json_lines(content: bytes, where: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            row = parse_json(line, f"{where}, line {number},")
            if not isinstance(row, dict):
                raise ValueError(f'{where}, line {number}, is damaged: expected {{"file_name": "image.png", ...}}')
            rows.append(row)
    return rows


def _table(content: bytes, where: str) -> list[dict[str, Any]]:
    """The rows of a table, separated by commas, semicolons or tabs; without a header, of pictures and labels."""
    # Names of files may be in any bytes; this is how Python hands them over elsewhere, too.
    text = content.decode("utf-8-sig", "surrogateescape")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = []
    try:
        header = [name.strip() for name in next(reader, [])]
        pictures = [PurePosixPath(name.replace("\\", "/")).suffix.lower() in (*SUFFIXES, ".npy") for name in header]
        if any(pictures):
            if len(header) != 2 or all(pictures):
                raise ValueError(f"{where}: its first line names a picture: put the names of the columns above it")
            first_row, header = header, ["file_name" if picture else "label" for picture in pictures]
            rows.append(dict(zip(header, first_row, strict=True)))
        if not header or len(header) > _MOST_COLUMNS or len(set(header)) < len(header):
            raise ValueError(f"{where} is damaged: its first line must name the columns, each once")
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise ValueError(
                    f"{where}, line {reader.line_num}, has {len(cells)} columns, but the first line {len(header)}"
                )
            rows.append(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise ValueError(f"{where} is damaged, line {reader.line_num}: {printable(str(error))}") from None
    return [dict(zip(header, row, strict=True)) for row in _typed(header, rows)] if rows else []


def _typed(header: list[str], rows: list[dict[str, Any]]) -> Iterable[tuple[Any, ...]]:
    """Rows of text with numbers, lists and nothing made of the columns that hold such."""
    columns = [_typed_column([row[name] for row in rows]) for name in header]
    return zip(*columns, strict=True)


def _typed_column(cells: list[str]) -> list[Any]:
    for kind in (_integer, float, _vector):
        try:
            return [None if not cell.strip() or cell.strip().lower() in _NULL else kind(cell) for cell in cells]
        except ValueError:
            continue
    return [cell or None for cell in cells]


def _integer(cell: str) -> int:
    if not re.fullmatch(r"\s*[+-]?\d{1,18}\s*", cell, re.ASCII):
        raise ValueError
    return int(cell)


def _vector(cell: str) -> list[Any]:
    if not (cell.lstrip().startswith("[") and isinstance(value := parse_json(cell, "a cell"), list)):
        raise ValueError
    return value


def _from_rows(
    rows: list[dict[str, Any]], where: str, pictures: list[str], every: list[str], column: str | None
) -> Listed:
    if not rows:
        raise ValueError(f"{where} lists no pictures")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    files, found = _file_column(columns, rows, pictures)
    if files is None:
        example = printable(pictures[0])
        raise ValueError(f"{where} has no column whose entries are names of pictures, such as {example}")
    notes = []
    used = {place for place in found if place is not None}
    other = set[int]()
    if len(every) > len(pictures):
        other = {place for place in _file_column([files], rows, every)[1] if place is not None} - used
    unlisted, strays = found.count(None), len(rows) - len(used) - len(other)
    if unlisted:
        notes.append(f"{where} does not list {unlisted:,} of the pictures")
    if strays:
        notes.append(f"{where} lists {strays:,} files that are not there, or more than once")
    others = [name for name in columns if name != files]
    chosen, names, note = _label_columns(others, rows, where, column)
    if note:
        notes.append(note)
    if not chosen:
        return Listed([None] * len(pictures), notes=tuple(notes))

    def label(row: dict[str, Any]) -> Any:
        return [row[name] for name in chosen].index(1) if names else row.get(chosen[0])

    return Listed(
        [None if place is None else label(rows[place]) for place in found],
        names,
        tuple(notes),
        tuple(label(rows[place]) for place in sorted(other)),
    )


def _file_column(
    columns: list[str], rows: list[dict[str, Any]], pictures: list[str]
) -> tuple[str | None, list[int | None]]:
    """The column that names the files, and for each picture the row that names it."""
    usual = {name: place for place, name in enumerate(_FILE_COLUMNS)}
    ordered = sorted(columns, key=lambda name: usual.get(name.lower().strip(), len(usual)))
    best: tuple[str | None, list[int | None]] = (None, [])
    most = 0
    for name in ordered:
        for key in (_plain, _base, _stem):
            places: dict[str, int] = {}
            for place, row in enumerate(rows):
                value = row.get(name)
                if isinstance(value, str | int) and not isinstance(value, bool):
                    places[key(str(value))] = place
            keys = [key(picture) for picture in pictures]
            # A base name may stand for several files only if it is one.
            if key is not _plain and len(set(keys)) < len(keys):
                continue
            found = [places.get(picture) for picture in keys]
            hits = len(found) - found.count(None)
            if hits > most:
                best, most = (name, found), hits
            if hits == len(pictures):
                return best
    return best


def _label_columns(
    others: list[str], rows: list[dict[str, Any]], where: str, column: str | None
) -> tuple[list[str], tuple[str, ...], str]:
    """The columns that hold the labels, the names of the classes if they are one-hot, and what to say."""
    said = ", ".join(printable(name) for name in others) or "none"
    if column is not None:
        if column not in others:
            raise ValueError(f"{where} has no column {printable(column)!r} of labels; its columns are {said}")
        return [column], (), ""
    usual = {name.lower().strip(): name for name in reversed(others)}
    named = next((usual[name] for name in _LABEL_COLUMNS if name in usual), None)
    if named is not None:
        rest = [printable(name) for name in others if name != named]
        note = f"the labels are column {printable(named)} of {where}; --label-column takes one of {', '.join(rest)}"
        return [named], (), note if rest else ""
    if len(others) > 1 and all(_is_one_hot(row, others) for row in rows):
        return others, tuple(printable(name) for name in others), ""
    if len(others) == 1:
        values = [row.get(others[0]) for row in rows if row.get(others[0]) is not None]
        texts = [value for value in values if isinstance(value, str)]
        if not texts or are_names_of_classes(texts):
            return others, (), ""
        name = printable(others[0])
        note = (
            f"column {name} of {where} holds {len(set(texts)):,} different texts and was not taken for labels;"
            f" --label-column {name} takes each for a class"
        )
        return [], (), note
    if not others:
        return [], (), f"{where} has no column of labels"
    return [], (), f"no column of {where} is called label, so there are no labels; --label-column takes one of {said}"


def _is_one_hot(row: dict[str, Any], columns: list[str]) -> bool:
    values = [row.get(name) for name in columns]
    return all(type(value) in (int, float) and value in (0, 1) for value in values) and sum(values) == 1  # type: ignore[arg-type]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_vectors(values: Sequence[Any]) -> bool:
    lists = all(isinstance(value, list) and len(value) == len(values[0]) for value in values)
    return lists and all(_is_number(entry) for value in values for entry in value)


def _is_below(name: str, folder: str) -> bool:
    return not folder or name.startswith(folder + "/")


def _below(name: str, folder: str) -> str:
    return name[len(folder) + 1 :] if folder else name


def _plain(name: str) -> str:
    """A name as both sides spell it: macOS takes letters apart from their accents."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/"))
    return name.removeprefix("./")


def _base(name: str) -> str:
    return _plain(name).rpartition("/")[2]


def _stem(name: str) -> str:
    return re.sub(r"\.\w{1,5}$", "", _base(name))


def is_missing(value: Any) -> bool:
    """True if a label is none: null, or not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))
