"""The same seeds at several budgets: what more network evaluations buy (after Karras et al. 2022, Fig. 2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from elucidiff.figures.style import BLUE, INK, mosaic, new_figure, picture, quiet


def draw(images: Mapping[int, npt.NDArray[np.uint8]], nfe: Mapping[int, int], rms: Mapping[int, float]) -> Figure:
    """A row of images per number of steps, and beside them the distance to the finest row.

    Args:
        images: steps -> images ``(B, C, H, W)`` from the same seeds.
        nfe: steps -> network evaluations per image.
        rms: steps -> root mean square distance to a fine reference solution, in units of the data ([-1, 1] images).
    """
    steps = sorted(images)
    count, _, h, w = images[steps[0]].shape
    width = 6.0
    height = width * len(steps) * (h + 1) / (count * (w + 1))
    figure = new_figure(width + 3.6, max(2.6, height))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[width, 3.6])[0]
    for axes, n in zip(left.subplots(len(steps), 1, squeeze=False)[:, 0], steps, strict=True):
        picture(axes, mosaic(images[n], count, zoom=4))
        axes.text(
            -0.01, 0.5, f"{n} steps\n{nfe[n]} evaluations", transform=axes.transAxes,
            ha="right", va="center", fontsize=8, color=INK,
        )  # fmt: skip
    right.suptitle(" ", fontsize=4)
    curve = right.subplots()
    shown = [n for n in steps if rms[n] > 0]
    curve.plot([nfe[n] for n in shown], [rms[n] for n in shown], marker="o", color=BLUE)
    curve.set(xscale="log", yscale="log", xlabel="network evaluations per image")
    curve.xaxis.label.set_size(9)
    curve.set_ylabel("RMS distance to the fine solution", fontsize=9)
    curve.set_xticks([nfe[n] for n in shown], [str(nfe[n]) for n in shown])
    curve.minorticks_off()
    quiet(curve)
    return figure
