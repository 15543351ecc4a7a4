"""Figures: each a file, drawn from numbers; and the page that binds them."""

from elucidiff.figures.base import FigurePart, MeasuredFigure, Numbers, ResultsFigure, read_numbers, redraw
from elucidiff.figures.style import save

__all__ = ["FigurePart", "MeasuredFigure", "Numbers", "ResultsFigure", "read_numbers", "redraw", "save"]
