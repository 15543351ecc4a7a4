"""Names of curves at their ends, in place of a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.textpath import TextPath

from elucidiff.figures.style import INK

_GAP = 1.35  # between the middles of neighbouring labels, in heights of the text
_POINTS = 72  # in an inch
_SIZE = 8.0


@dataclass(frozen=True)
class End:
    """A curve's end and its name.

    Attributes:
        x, y: the end, in units of the axes' data.
        name: what to write beside it.
        colour: of the curve.
    """

    x: float
    y: float
    name: str
    colour: str


def label_ends(axes: Axes, ends: Sequence[End], *, fontsize: float = _SIZE) -> None:
    """Write the names right of the axes, as near to the heights of the ends as they can be without overlapping.

    The limits and the size of the axes must be settled before.
    """
    if not ends:
        return
    height = axes.get_position().height * axes.figure.get_figheight() * _POINTS  # type: ignore[union-attr]
    to_axes = axes.transData + axes.transAxes.inverted()
    places = to_axes.transform([(end.x, end.y) for end in ends])
    for end, place, level in zip(ends, places, spread_out(places[:, 1], _GAP * fontsize / height), strict=True):
        axes.annotate(
            end.name,
            xy=(place[0], place[1]),
            xytext=(1.04, level),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=fontsize,
            color=INK,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": end.colour,
                "linewidth": 0.8,
                "linestyle": ":",  # not to be taken for the curve
                "relpos": (0, 0.5),  # lines end where the names begin
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )


def text_width(text: str, fontsize: float = _SIZE) -> float:
    """Of a line of text, in inches."""
    return float(TextPath((0, 0), text, size=fontsize).get_extents().width) / _POINTS


def spread_out(wanted: npt.ArrayLike, gap: float) -> npt.NDArray[np.float64]:
    """Positions at least ``gap`` apart, in the same order, at the least sum of squared distances to those wanted.

    Without the gaps that is the nearest increasing sequence, which pooling neighbours finds.
    """
    values = np.asarray(wanted, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    shifted = values[order] - gap * np.arange(len(values))
    pools: list[tuple[float, int]] = []
    for value in shifted.tolist():
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    pooled = np.concatenate([np.full(count, mean) for mean, count in pools])
    placed = np.empty(len(values))
    placed[order] = pooled + gap * np.arange(len(values))
    return placed
