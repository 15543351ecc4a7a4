"""A data set at a glance: images of every class, and those that come more than once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from elucidiff.figures.style import GREY, INK, mosaic, new_figure, picture

Pixels = npt.NDArray[np.uint8]

COLUMNS = 12
"""Images in a row."""

_TILE = 72  # the side of a picture, at most and, but for whole factors, at least
_GAP = 4
_HEADING, _MARGIN = 44, 18
_BESIDE = 12  # between a name and its row
_LONGEST = 22


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
