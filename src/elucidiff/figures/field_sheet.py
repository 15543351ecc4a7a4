"""Fields and volumes in rows, each channel on its own scale with a bar that has its units."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure

from elucidiff.figures.style import GREY, new_figure, span_of

_MOST_CHANNELS = 6
_TILE, _BAR, _GAP = 1.1, 0.9, 1  # inches, inches, points of a field
_HIGHEST = 60.0


def draw_fields(x: npt.NDArray[np.floating], columns: int) -> Figure:
    """Fields in rows of ``columns``, one block for each channel, with the range of nearly all of its values.

    Values beyond the 0.5% and 99.5% quantiles have the colour of the end of the bar, missing ones (NaN) are grey. Of
    volumes the middle is shown; of more than six channels the first six.

    Args:
        x: ``(N, C, *spatial)`` with at least two spatial dimensions; all but the last two are cut in the middle.
        columns: fields in a row.

    >>> figure = draw_fields(280 + np.random.default_rng(0).normal(size=(8, 2, 4, 8)), columns=4)
    >>> len(figure.axes)  # two channels, each with its bar
    4
    """
    while x.ndim > 4:
        x = x[:, :, x.shape[2] // 2]
    count, channels = len(x), min(x.shape[1], _MOST_CHANNELS)
    columns = min(columns, count)
    rows = -(-count // columns)
    height = _TILE * min(rows * x.shape[2] / x.shape[3], _HIGHEST / max(columns, 1)) * channels
    figure = new_figure(_TILE * columns + _BAR, height + 0.25 * channels)
    colours = colormaps["viridis"].with_extremes(bad=GREY)
    for channel, axes in enumerate(figure.subplots(channels, 1, squeeze=False)[:, 0]):
        low, high = span_of(x[:, channel])
        sheet, gaps = _laid_out(x[:, channel], columns)
        shown = axes.imshow(np.ma.masked_array(sheet, np.isnan(sheet)), colours, vmin=low, vmax=high, aspect="equal")
        axes.imshow(np.where(gaps[..., None], 1.0, np.zeros(4)), aspect="equal")  # white, elsewhere transparent
        axes.set_axis_off()
        if channels > 1:
            axes.set_title(f"channel {channel}", fontsize=8, loc="left")
        bar = figure.colorbar(shown, ax=axes, shrink=0.9, pad=0.01, extend="both")
        bar.ax.tick_params(labelsize=7)
    return figure


def _laid_out(
    fields: npt.NDArray[np.floating], columns: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Fields ``(N, H, W)`` in rows, and where the gaps between them are."""
    count, height, width = fields.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP), np.nan)
    gaps = np.ones(sheet.shape, bool)
    for k, field in enumerate(fields):
        top, left = (k // columns) * (height + _GAP), (k % columns) * (width + _GAP)
        sheet[top : top + height, left : left + width] = field
        gaps[top : top + height, left : left + width] = False
    return sheet, gaps
