"""Figures: each a file, drawn from numbers; and the page that binds them.

Names are imported when they are first used: :mod:`.style` alone does without all that figures are measured by.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elucidiff.figures.base import FigurePart, MeasuredFigure, Numbers, ResultsFigure, read_numbers, redraw
    from elucidiff.figures.style import save

__all__ = ["FigurePart", "MeasuredFigure", "Numbers", "ResultsFigure", "read_numbers", "redraw", "save"]


def __getattr__(name: str) -> Any:
    """Import a name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{'style' if name == 'save' else 'base'}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
