"""The explorer's two plots, in the house style, as SVG that takes its ink from the page: legible light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from elucidiff.figures.style import BLUE, GREY, INK, VERMILION, new_figure, quiet

Array = npt.NDArray[np.float64]

COLOURS = {"A": BLUE, "B": VERMILION}
_DASHES = {"A": "-", "B": "--"}
_MARKERS = {"A": "o", "B": "s"}
_GRID = "#e6e6e6"


def levels(sigmas: Mapping[str, Array]) -> Figure:
    """The noise level before each step of each setting; the last one, 0, has no place on the axis.

    Args:
        sigmas: ``(N + 1,)``, by the setting's name.
    """
    figure = new_figure(4.6, 3.1)
    axes = figure.subplots()
    for name, values in sigmas.items():
        positive = values[np.isfinite(values) & (values > 0)]
        marker = _MARKERS[name] if len(positive) <= 40 else ""
        axes.plot(
            np.arange(len(positive)), positive, _DASHES[name], marker=marker, markersize=3.5, linewidth=1.4,
            color=COLOURS[name], label=name,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("step", fontsize=9, color=INK)
    axes.set_ylabel("noise level (units of the data)", fontsize=9, color=INK)
    if len(sigmas) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    quiet(axes)
    return figure


def paths(places: Mapping[str, Array], exact: Array | None, share: float) -> Figure:
    """The ways of one sample in their plane, from noise to image.

    Args:
        places: ``(K, 2)`` by the setting's name.
        exact: the exact way, ``(L, 2)``, if it is known.
        share: of the variance that the plane holds.
    """
    figure = new_figure(4.6, 3.1)
    axes = figure.subplots()
    if exact is not None:
        axes.plot(*exact.T, color=GREY, linewidth=4, alpha=0.4, solid_capstyle="round", label="exact")
        axes.plot(*exact[-1], marker="*", markersize=13, color=GREY, linestyle="none")
    for name, way in places.items():
        marker = _MARKERS[name] if len(way) <= 80 else ""
        axes.plot(*way.T, _DASHES[name], marker=marker, markersize=3, linewidth=1.2, color=COLOURS[name], label=name)
        axes.plot(*way[-1], marker=_MARKERS[name], markersize=8, color=COLOURS[name], linestyle="none")
    first = next(iter(places.values()))
    axes.annotate("noise", first[0], xytext=(4, 6), textcoords="offset points", fontsize=8, color=INK)
    axes.annotate("image", first[-1], xytext=(8, -3), textcoords="offset points", fontsize=8, color=INK)
    axes.margins(0.12)
    axes.set_xlabel(f"first of two directions that hold {share:.0%} of the way", fontsize=9, color=INK)
    axes.set_ylabel("second", fontsize=9, color=INK)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    quiet(axes)
    return figure


def svg(figure: Figure, title: str) -> str:
    """A figure as an ``<svg>`` element: no ground of its own, text as text, ink in the page's colour.

    Args:
        figure: in the house style.
        title: what it shows, for those who do not see it.
    """
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(re.escape(INK), "currentColor", drawn, flags=re.IGNORECASE)
    drawn = re.sub(rf"stroke: {_GRID}", "stroke: currentColor; stroke-opacity: 0.15", drawn, flags=re.IGNORECASE)
    # Text without a colour of its own is black.
    drawn = drawn.replace("<svg ", f'<svg role="img" aria-label="{title}" fill="currentColor" ', 1)
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", drawn))
