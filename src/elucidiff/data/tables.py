"""Telling images from labels among the columns of a table, and what their cells stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from elucidiff.data.arrays import label_each
from elucidiff.data.labels import Labels, are_names_of_classes
from elucidiff.data.naming import IMAGE_NAMES, LABEL_NAMES
from elucidiff.data.reading import Reading
from elucidiff.data.sources import Images
from elucidiff.untrusted import printable

_SMOOTHNESS_SAMPLE = 64
# Fewer numbers in a row than these are the coordinates of a point.
_FEWEST_PIXELS = 16


def find_column(names: Sequence[str], known: Sequence[str], wanted: str | None, where: str) -> str | None:
    """The column that was asked for, else the first with a usual name, in any case; None if there is none.

    Raises:
        ValueError: the column that was asked for is not there.
    """
    if wanted is not None:
        if wanted not in names:
            listed = printable(", ".join(names[:12])) + (" ..." if len(names) > 12 else "")
            raise ValueError(f"{where} has no column {printable(wanted)!r}: it has {listed}")
        return wanted
    by_name: dict[str, str] = {}
    for name in names:
        by_name.setdefault(name.strip().lower(), name)
    return next((by_name[name] for name in known if name in by_name), None)


def image_column(names: Sequence[str], reading: Reading, where: str) -> str | None:
    """The column of images; see :func:`find_column`."""
    return find_column(names, IMAGE_NAMES, reading.image_column, where)


def label_column(names: Sequence[str], reading: Reading, where: str) -> tuple[str | None, tuple[str, ...]]:
    """The column of labels, and a note if another could be meant; see :func:`find_column`."""
    label = find_column(names, LABEL_NAMES, reading.label_column, where)
    others = [name for name in names if name != label and re.search(r"label|class|target|categor", name.lower())]
    if reading.label_column is not None or reading.labels_from == "none" or not others:
        return label, ()
    taken = "no labels are read" if label is None else f"labels are read from the column {printable(label)}"
    listed = printable(", ".join(others[:8])) + (" ..." if len(others) > 8 else "")
    return label, (f"{where}: {taken}; for one of {listed}, import it with --label-column NAME",)


def only_label_column(
    names: Sequence[str], cells_of: Callable[[str], Sequence[Any]], where: str
) -> tuple[str | None, tuple[str, ...]]:
    """The column of labels where none has a usual name: the only one that could be, and what to say of that.

    An index, of numbers that are all different, could not; nor could captions, see :func:`.are_names_of_classes`.

    Args:
        names: the columns of whole numbers, truth values or text, without that of the images.
        cells_of: the cells of a column.
        where: what to call the table in a message.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    if not names:
        return None, ()
    listed = printable(", ".join(names[:8])) + (" ..." if len(names) > 8 else "")
    if len(names) > 1:
        return None, (f"{where}: no labels are read; for one of {listed}, import it with --label-column NAME",)
    cells = [cell for cell in cells_of(names[0]) if cell is not None]
    texts = [cell for cell in cells if isinstance(cell, str)]
    if not (are_names_of_classes(texts) if texts else len(set(cells)) < len(cells)):
        said = f"the column {listed} holds {len(set(cells)):,} different values and was not taken for labels"
        return None, (f"{where}: {said}; --label-column {listed} takes each for a class",)
    said = f"labels are read from the column {listed}, the only one that can be"
    return names[0], (f"{where}: {said}; --labels-from none leaves them out",)


def column_labels(
    cells: Sequence[Any], where: str, names: tuple[str, ...] = ()
) -> tuple[Labels | None, tuple[str, ...]]:
    """Labels out of the cells of a column: numbers, text, or lists of numbers; and a note if there are none.

    Raises:
        ValueError: some cells are empty and others are not, or they are of different kinds.
    """
    empty = [row for row, cell in enumerate(cells) if cell is None or cell == "" or cell != cell]
    if len(empty) == len(cells):
        return None, (f"{where}: the column of labels is empty, so there are no labels",)
    if empty:
        raise ValueError(
            f"{where}: {len(empty):,} of {len(cells):,} labels are empty, the first in row {empty[0]}: fill them in,"
            " or import it with --labels-from none"
        )
    if names and all(isinstance(cell, int) and cell == -1 for cell in cells):
        return None, (f"{where}: every label is -1, so there are no labels",)
    if all(isinstance(cell, str) for cell in cells):
        return Labels.from_names([printable(cell) for cell in cells], where), ()
    try:
        array = np.asarray(cells)
    except ValueError:
        array = np.asarray(cells, dtype=object)
    if array.dtype.hasobject or array.dtype.kind not in "biuf":
        raise ValueError(f"{where}: labels must be all numbers, all text, or all lists of equally many numbers")
    return label_each(array, len(cells), where, names), ()


def folded(rows: Images, where: str, reading: Reading) -> tuple[Images, tuple[str, ...], Reading]:
    """Pictures of rows of pixels, ``(N, H W)`` or ``(N, 3 H W)`` with H = W; else signals, or points of few numbers.

    Of colours, either all pixels of one come after those of another, or the three of each pixel stand together: the
    smoother picture is taken.

    Returns:
        an array, a note on how the rows were taken, and how to read the array.
    """
    count, length = rows.shape
    if length < _FEWEST_PIXELS:
        return rows, (), reading
    for channels in (1, 3):
        side = round((length / channels) ** 0.5)
        if side * side * channels != length:
            continue
        said = f"{where}: {length} numbers in a row are read as pictures of {side} x {side}"
        if channels == 1:
            return rows.reshape(count, 1, side, side), (said,), _with_axis(reading, "first")
        planes = rows.reshape(count, channels, side, side)
        mixed = rows.reshape(count, side, side, channels)
        axis = reading.channel_axis or _smoother(planes, mixed)
        other = "last" if axis == "first" else "first"
        note = (
            f"{said} with 3 channels, channel axis {axis}; for the other order, import it with --channel-axis {other}"
        )
        return (planes if axis == "first" else mixed), (note,), _with_axis(reading, axis)
    note = f"{where}: {length} numbers in a row are read as signals of 1 channel of {length}"
    return rows.reshape(count, 1, length), (note,), _with_axis(reading, "first")


def _with_axis(reading: Reading, axis: Any) -> Reading:
    return replace(reading, channel_axis=axis)


def _smoother(planes: Images, mixed: Images) -> str:
    def roughness(pictures: Images) -> float:
        return float(np.abs(np.diff(pictures[:_SMOOTHNESS_SAMPLE].astype(np.float64), axis=-1)).mean())

    return "first" if roughness(planes) <= roughness(mixed.transpose(0, 3, 1, 2)) else "last"


def pixel_columns(kinds: Mapping[str, bool], without: str | None) -> list[str]:
    """The columns of numbers of a table that has a column a pixel, in their order.

    Args:
        kinds: the columns, and whether each holds numbers.
        without: the column of labels.
    """
    names = [name for name, numbers in kinds.items() if numbers and name != without]
    numbered = [name for name in names if re.fullmatch(r"[A-Za-z_ .\-]*\d+(x\d+)?", name.strip())]
    # An index or the like stands before pixels that are numbered.
    return numbered if len(numbered) >= _FEWEST_PIXELS else names
