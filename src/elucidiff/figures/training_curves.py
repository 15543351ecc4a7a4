"""The course of a training: losses, and copies of training images among the samples, against the images seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from elucidiff.figures.style import BLUE, GREEN, GREY, INK, VERMILION, new_figure, quiet

_LOSS, _HELD_OUT = "loss", "validation_loss"
_COPIES, _REAL_COPIES = "memorised_fraction", "memorised_fraction_real"


def draw(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """The loss in training and, where it was measured, on held-out images and the share of samples that are copies.

    Args:
        lines: of ``metrics.jsonl``, in their order.

    Raises:
        ValueError: they have no loss.
    """
    if not any(_LOSS in line for line in lines):
        raise ValueError("the training has written no loss yet: let it go on for a while")
    measured = any(_COPIES in line for line in lines)
    figure = new_figure(10.0 if measured else 7.0, 3.4)
    panels = figure.subplots(1, 2 if measured else 1, squeeze=False, width_ratios=[1.6, 1][: 1 + measured])[0]
    losses = panels[0]
    _curve(losses, lines, _LOSS, BLUE, "training images, with augmentation if any", marker=None)
    if any(_HELD_OUT in line for line in lines):
        _curve(losses, lines, _HELD_OUT, VERMILION, "held-out images", marker="o", linestyle="--")
        best = min((line for line in lines if _HELD_OUT in line), key=lambda line: float(line[_HELD_OUT]))
        losses.annotate(
            f"{best[_HELD_OUT]:.3g}", (best["images"], best[_HELD_OUT]), xytext=(0, 5),
            textcoords="offset points", ha="center", va="bottom", fontsize=8, color=VERMILION,
        )  # fmt: skip
    losses.set_yscale("log")
    losses.set_ylabel("weighted loss per value", fontsize=9)
    losses.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    losses.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    losses.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    losses.set_title("Loss", fontsize=10, color=INK, loc="left")
    losses.legend(frameon=False, fontsize=8, loc="upper right")
    if measured:
        copies = panels[1]
        _curve(copies, lines, _COPIES, GREEN, "samples", marker="o")
        _curve(copies, lines, _REAL_COPIES, GREY, "real images, for comparison", marker="s", linestyle=":")
        copies.set_ylim(0, 1)
        copies.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        copies.set_title("Copies of training images", fontsize=10, color=INK, loc="left")
        copies.legend(frameon=False, fontsize=8, loc="upper left")
    for axes in panels:
        axes.set_xlabel("training images seen", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
        axes.set_xlim(left=0)
        quiet(axes)
    return figure


def _curve(axes: Axes, lines: Sequence[Mapping[str, Any]], name: str, colour: str, label: str, **style: Any) -> None:
    found = [(line["images"], line[name]) for line in lines if name in line]
    if found:
        images, values = zip(*found, strict=True)
        axes.plot(images, values, color=colour, label=label, linewidth=1.6, markersize=4, **style)


def _thousands(images: float, _: int) -> str:
    if images >= 1e6:
        return f"{images / 1e6:g} M"
    return f"{images / 1e3:g} k" if images >= 1e3 else f"{images:g}"
