"""Any figure again, from the numbers that it left."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from elucidiff.figures import curvature, loss_per_sigma, repeated_churn, step_errors, strips
from elucidiff.figures.numbers import Numbers
from elucidiff.suggest import suggestion

REDRAWN: Mapping[str, Callable[[Numbers], Figure]] = {
    curvature.NAME: curvature.redraw,
    strips.NAME: strips.redraw,
    step_errors.NAME: step_errors.redraw,
    loss_per_sigma.NAME: loss_per_sigma.redraw,
    repeated_churn.NAME: repeated_churn.redraw,
}
"""How each figure that leaves numbers is drawn from them."""


def redraw(kept: Numbers) -> Figure:
    """The figure that these are the numbers of.

    Raises:
        ValueError: it is unknown, or numbers are missing or damaged.
    """
    if kept.figure not in REDRAWN:
        raise ValueError(f"the numbers are of a figure {kept.figure!r}; {suggestion(kept.figure, REDRAWN)}")
    try:
        return REDRAWN[kept.figure](kept)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"numbers of the figure {kept.figure} are missing or damaged: {error}") from None
