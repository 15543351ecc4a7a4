"""Is it memory or learning? Distances to the nearest training image, and the nearest pairs themselves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from elucidiff.figures.style import INK, PALETTE, mosaic, new_figure, picture, quiet


def draw(
    distances: Mapping[str, npt.NDArray[np.float64]],
    samples: npt.NDArray[np.uint8],
    nearest: npt.NDArray[np.uint8],
) -> Figure:
    """Cumulative distributions of the nearest-neighbour distance, beside the samples closest to a training image.

    Args:
        distances: name -> RMS pixel distance of each image to its nearest training image, units of [-1, 1] images.
        samples: the samples closest to the training set, ``(K, C, H, W)``, the closest first.
        nearest: the training image nearest to each of them, ``(K, C, H, W)``.
    """
    figure = new_figure(9.0, 3.3)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[5, 4])[0]
    curve = left.subplots()
    for colour, (name, values) in zip(PALETTE, distances.items(), strict=False):
        ordered = np.sort(values)
        curve.plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), color=colour, label=name, linewidth=1.8)
    curve.set(xlabel="RMS distance to the nearest training image", ylabel="share of images below")
    curve.set_xlim(left=0)
    curve.set_ylim(0, 1)
    curve.legend(frameon=False, fontsize=9, loc="upper left")
    quiet(curve)
    pairs = right.subplots()
    picture(pairs, mosaic(np.concatenate([samples, nearest]), len(samples), zoom=4))
    pairs.set_title(
        "The closest pairs: a sample, and below it\nthe training image nearest to it", fontsize=9, color=INK
    )
    return figure
