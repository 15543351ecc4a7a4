"""Images side by side: samples alone, or samples beside real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from elucidiff.figures.style import INK, mosaic, new_figure, picture


def draw(panels: Mapping[str, npt.NDArray[np.uint8]], *, columns: int = 10, rows: Sequence[str] = ()) -> Figure:
    """Mosaics beside each other under their titles.

    Args:
        panels: title -> images ``(N, C, H, W)``, uint8, laid out row by row.
        columns: images in a row of each mosaic.
        rows: labels of the rows, written left of the first mosaic.
    """
    sheets = {title: mosaic(images, columns, zoom=4) for title, images in panels.items()}
    widest = max(sheet.shape[2] for sheet in sheets.values())
    tallest = max(sheet.shape[1] for sheet in sheets.values())
    width = 9.0 / len(sheets) if len(sheets) > 1 else 5.0
    figure = new_figure(width * len(sheets) + (0.4 if rows else 0.0), width * tallest / widest + 0.4)
    for axes, (title, sheet) in zip(figure.subplots(1, len(sheets), squeeze=False)[0], sheets.items(), strict=True):
        picture(axes, sheet)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
    for k, label in enumerate(rows):
        figure.axes[0].text(
            -0.02, 1.0 - (k + 0.5) / len(rows), label, transform=figure.axes[0].transAxes,
            ha="right", va="center", fontsize=9, color=INK,
        )  # fmt: skip
    return figure
