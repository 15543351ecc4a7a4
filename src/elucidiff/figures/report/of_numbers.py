"""Sections from the numbers that figures left."""

from __future__ import annotations

from pathlib import Path

from elucidiff.figures.base import figure_of, redraw
from elucidiff.figures.numbers import read_numbers
from elucidiff.figures.page import Picture, Section


def of_numbers(folder: Path, path: Path) -> list[Section]:
    """The figure with its explanation and the command that measured it.

    Args:
        folder: what the report is about.
        path: the file.

    Raises:
        ValueError: the numbers are damaged.
        OSError: they cannot be read.
    """
    kept = read_numbers(path)
    figure, picture = figure_of(kept), redraw(kept)
    try:
        text = figure.explain(kept)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"numbers of the figure {kept.figure} are missing or damaged: {error}") from None
    return [Section(figure.title, text, Picture.of(picture, figure.alternative), command=kept.command)]
