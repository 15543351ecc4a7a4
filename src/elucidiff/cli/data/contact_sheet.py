"""The contact sheet of an inspected data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from elucidiff.data.inspecting import Report
from elucidiff.data.inspection import Subject
from elucidiff.data.scaling import is_picture, to_unit
from elucidiff.data.subsets import Places, evenly_spread, of_each_class
from elucidiff.figures import numbers as arrays
from elucidiff.figures.contact_sheet import COLUMNS, Pixels, Section, draw
from elucidiff.figures.style import save

_ROWS = 10
_MOST_CLASSES = 20


def write_contact_sheet(path: Path, subject: Subject, report: Report) -> str:
    """Write images of every class, and those that come more than once, as a PNG.

    Args:
        path: the file.
        subject: the data set.
        report: what :func:`~elucidiff.data.inspect` found in it.

    Returns:
        where the sheet is and how to read it, or why there is none.
    """
    if len(report.shape) == 1:
        return f"no contact sheet: samples of shape {report.shape} cannot be drawn, as they have no spatial dimension"
    readable = report.readable
    if len(report.shape) == 2:
        shown = subject.dataset.images(evenly_spread(readable, COLUMNS * _ROWS))
        save(arrays.lines(to_unit(shown).double().numpy(), COLUMNS), path, formats=("png",))
        return f"{path}: signals evenly spread over the data, a colour a channel"
    groups = [_overview(subject, report, readable), *_repeated(report)]
    pixels = iter(_pixels(subject, np.array([place for group in groups for row in group.rows for place in row])))
    sections = [
        Section(group.heading, [np.stack([next(pixels) for _ in row]) for row in group.rows], group.names)
        for group in groups
    ]
    broken = f", {len(report.broken):,} broken" if report.broken else ""
    title = f"{report.name}: {report.count:,} images of {'x'.join(map(str, report.shape))}{broken}"
    save(draw(title, sections), path, formats=("png",))
    if is_picture(report.shape) and (report.shape[0] != 4 or subject.dataset.dtype == torch.uint8):
        return f"{path}: images of every class, and those that come more than once"
    return f"{path}: samples of shape {report.shape} are no pictures; shown is one slice, or one channel, of each"


@dataclass(frozen=True)
class _Group:
    """What becomes a section: rows of positions in the data set."""

    heading: str
    rows: list[list[int]]
    names: list[str] = field(default_factory=list)


def _overview(subject: Subject, report: Report, readable: Places) -> _Group:
    """Images evenly spread over the classes, or over the data set where it has none."""
    classes = subject.dataset.classes
    if classes is None or np.count_nonzero(report.class_counts) < 2:
        return _Group("images evenly spread over the data set", _rows(evenly_spread(readable, COLUMNS * _ROWS)))
    present = int(np.count_nonzero(report.class_counts))
    if present > _MOST_CLASSES:
        firsts = np.concatenate([places for _, places in of_each_class(readable, classes.numpy(), 1)])
        shown = evenly_spread(firsts, COLUMNS * _ROWS)
        return _Group(f"one image of each of {len(shown)} of the {present:,} classes", _rows(shown))
    height = max(1, _ROWS // present)
    rows, names = [], []
    for label, places in of_each_class(readable, classes.numpy(), height * COLUMNS):
        own = _rows(places)
        name = report.class_names[label] if report.class_names else f"class {label}"
        rows += own
        names += [f"{name} ({report.class_counts[label]:,})", *[""] * (len(own) - 1)]
    return _Group("images evenly spread over each class (number of images)", rows, names)


def _repeated(report: Report) -> list[_Group]:
    """Images that come more than once, above their likes."""
    found = []
    equal = [(group[0], group[1]) for group in report.duplicates]
    for count, what, pairs in (
        (len(equal), "groups of equal images", equal),
        (len(report.near_duplicates), "pairs of nearly equal images", report.near_duplicates),
    ):
        if count:
            some = f", {COLUMNS} of them" if count > COLUMNS else ""
            rows = [[pair[member] for pair in pairs[:COLUMNS]] for member in (0, 1)]
            found.append(_Group(f"{what}: {count:,}{some}, one above the other", rows))
    return found


def _rows(places: Places) -> list[list[int]]:
    return [places[start : start + COLUMNS].tolist() for start in range(0, len(places), COLUMNS)]


def _pixels(subject: Subject, places: Places) -> Pixels:
    """8-bit pictures: as they are stored, or on one scale of grey or colour."""
    stored = subject.dataset.images(places)
    if stored.dtype == torch.uint8 and is_picture(stored.shape[1:]):
        return stored.numpy()
    return arrays.slices(to_unit(stored).double().numpy())
