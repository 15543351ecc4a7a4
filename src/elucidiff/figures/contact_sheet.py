"""A data set at a glance: images of every class, and those that come more than once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from elucidiff.data.inspecting import Report
from elucidiff.data.inspection import Subject
from elucidiff.data.scaling import is_picture, to_unit
from elucidiff.data.subsets import Places, evenly_spread, of_each_class
from elucidiff.figures.field_sheet import draw_fields
from elucidiff.figures.style import GREY, INK, lines, mosaic, new_figure, picture, slices

Pixels = npt.NDArray[np.uint8]

COLUMNS = 12
"""Images in a row."""

_TILE = 72  # the side of a picture, at most and, but for whole factors, at least
_GAP = 4
_HEADING, _MARGIN = 44, 18
_BESIDE = 12  # between a name and its row
_LONGEST = 22
_ROWS = 10
_MOST_CLASSES = 20


@dataclass(frozen=True)
class Section:
    """Rows of images under a heading.

    Attributes:
        heading: what they are.
        rows: at most :data:`COLUMNS` images each, ``(N, C, H, W)`` with 1, 3 or 4 channels.
        names: words left of each row; empty for none.
    """

    heading: str
    rows: Sequence[Pixels]
    names: Sequence[str] = ()


def draw(title: str, sections: Sequence[Section]) -> Figure:
    """Sections below each other, every picture enlarged by a whole factor or averaged down.

    Args:
        title: of the sheet.
        sections: at least one, none of them empty, all of pictures of one size.
    """
    sheets = [
        mosaic(np.concatenate([_tiles(row) for row in section.rows]), COLUMNS, gap=_GAP) for section in sections
    ]
    figure = new_figure(1.0, 1.0)
    names = max((_width(figure, _shortened(name), 9) for section in sections for name in section.names), default=0)
    left = _MARGIN + (names + _BESIDE if names else 0)
    words = [_width(figure, title, 12, "bold"), *(_width(figure, section.heading, 9.5) for section in sections)]
    width = max(_MARGIN + max(words), left + max(sheet.shape[2] for sheet in sheets)) + _MARGIN
    height = _HEADING + sum(_HEADING + sheet.shape[1] + _MARGIN for sheet in sheets) + _MARGIN
    # Placed by hand, so that every pixel of the sheet is one of the file.
    figure.set_layout_engine("none")
    figure.set_size_inches(width / figure.dpi, height / figure.dpi)

    def write(words: str, x: float, y: float, **style: Any) -> None:
        figure.text(x / width, 1 - y / height, words, color=INK, va="center", **style)

    write(title, _MARGIN, _MARGIN + 14, fontsize=12, fontweight="bold")
    figure.add_artist(_rule(width, height))
    top = _MARGIN + _HEADING
    for section, sheet in zip(sections, sheets, strict=True):
        write(section.heading, _MARGIN, top + _HEADING / 2, fontsize=9.5)
        top += _HEADING
        tall, wide = sheet.shape[1:]
        picture(figure.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height)), sheet)
        for number, name in enumerate(section.names):
            middle = top + (number + 0.5) * (tall + _GAP) / len(section.rows) - _GAP / 2
            write(_shortened(name), left - _BESIDE, middle, fontsize=9, ha="right")
        top += tall + _MARGIN
    return figure


def _width(figure: Figure, words: str, size: float, weight: str = "normal") -> int:
    """Pixels that a line of text takes."""
    text = figure.text(0, 0, words, fontsize=size, fontweight=weight)
    width = math.ceil(text.get_window_extent().width)
    text.remove()
    return width


def _rule(width: int, height: int) -> Line2D:
    """A thin line below the title."""
    y = 1 - (_MARGIN + _HEADING - 10) / height
    return Line2D([_MARGIN / width, 1 - _MARGIN / width], [y, y], color=GREY, linewidth=0.6)


def _shortened(words: str) -> str:
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def _tiles(images: Pixels) -> Pixels:
    """A full row of pictures of about one size: small ones enlarged, large ones averaged down, blanks white."""
    side = max(images.shape[2:])
    if side <= _TILE:
        zoom = _TILE // side
        tiles = images.repeat(zoom, axis=2).repeat(zoom, axis=3)
    else:
        factor = -(-side // _TILE)
        means = images.astype(np.float64)
        for axis in (2, 3):
            means = np.add.reduceat(means, np.arange(0, images.shape[axis], factor), axis) / np.add.reduceat(
                np.ones(images.shape[axis]), np.arange(0, images.shape[axis], factor)
            ).reshape(-1, *[1] * (3 - axis))
        tiles = means.round().astype(np.uint8)
    blanks = np.full((COLUMNS - len(tiles), *tiles.shape[1:]), 255, np.uint8)
    return np.concatenate([tiles, blanks])


def draw_inspected(subject: Subject, report: Report) -> tuple[Figure | None, str]:
    """Images of every class of a data set, and those that come more than once.

    Args:
        subject: the data set.
        report: what :func:`~elucidiff.data.inspect` found in it.

    Returns:
        the sheet and how to read it; or None, and why there is none.
    """
    if len(report.shape) == 1:
        return None, f"samples of shape {report.shape} cannot be drawn, as they have no spatial dimension"
    readable = report.readable
    pictures = subject.dataset.pictures
    if len(report.shape) == 2 and pictures is None:
        shown = subject.dataset.images(evenly_spread(readable, COLUMNS * _ROWS))
        sheet = lines(to_unit(shown).double().numpy(), COLUMNS)
        return sheet, "signals evenly spread over the data, a colour a channel"
    if subject.dataset.dtype != torch.uint8 and pictures is None:
        shown = subject.dataset.images(evenly_spread(readable, COLUMNS * _ROWS))
        return draw_fields(shown.double().numpy(), COLUMNS), "samples evenly spread over the data, channel by channel"
    groups = [_overview(subject, report, readable), *_repeated(report)]
    pixels = iter(_pixels(subject, np.array([place for group in groups for row in group.rows for place in row])))
    sections = [
        Section(group.heading, [np.stack([next(pixels) for _ in row]) for row in group.rows], group.names)
        for group in groups
    ]
    broken = f", {len(report.broken):,} broken" if report.broken else ""
    title = f"{report.name}: {report.count:,} images of {'x'.join(map(str, report.shape))}{broken}"
    sheet = draw(title, sections)
    if pictures is not None:
        return sheet, "the pictures that the latents were made of"
    if is_picture(report.shape) and (report.shape[0] != 4 or subject.dataset.dtype == torch.uint8):
        return sheet, "images of every class, and those that come more than once"
    return sheet, f"samples of shape {report.shape} are no pictures; shown is one slice, or one channel, of each"


@dataclass(frozen=True)
class _Group:
    """A section to come: rows of positions in the data set."""

    heading: str
    rows: list[list[int]]
    names: list[str] = field(default_factory=list)


def _overview(subject: Subject, report: Report, readable: Places) -> _Group:
    """Images evenly spread over the classes, or over the data set where it has none."""
    classes = subject.dataset.classes
    if classes is None or np.count_nonzero(report.class_counts) < 2:
        return _Group("images evenly spread over the data set", _in_rows(evenly_spread(readable, COLUMNS * _ROWS)))
    present = int(np.count_nonzero(report.class_counts))
    if present > _MOST_CLASSES:
        firsts = np.concatenate([places for _, places in of_each_class(readable, classes.numpy(), 1)])
        shown = evenly_spread(firsts, COLUMNS * _ROWS)
        return _Group(f"one image of each of {len(shown)} of the {present:,} classes", _in_rows(shown))
    height = max(1, _ROWS // present)
    rows, names = [], []
    for label, places in of_each_class(readable, classes.numpy(), height * COLUMNS):
        own = _in_rows(places)
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


def _in_rows(places: Places) -> list[list[int]]:
    return [places[start : start + COLUMNS].tolist() for start in range(0, len(places), COLUMNS)]


def _pixels(subject: Subject, places: Places) -> Pixels:
    """8-bit pictures: as they are stored, or those that latents are of, or on one scale of grey or colour."""
    stored = (subject.dataset.pictures or subject.dataset).images(places)
    if stored.dtype == torch.uint8 and is_picture(stored.shape[1:]):
        return stored.numpy()
    return slices(to_unit(stored).double().numpy())
