"""The look of every figure: colours that colour-blind readers distinguish, quiet axes, pictures in rows, files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from elucidiff.data.scaling import is_picture, to_uint8
from elucidiff.files import write_whole

# Okabe and Ito's palette (2008), in the order in which the figures use it.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, INK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
    "#1A1A1A",
)
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
GREY = "#767676"
_Line = str | tuple[int, tuple[float, ...]]
LINES: tuple[_Line, ...] = ("-", "--", "-.", ":", (0, (6, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
"""Styles of lines, one a colour of the palette, so that curves can be told apart without colours."""


def new_figure(width: float, height: float) -> Figure:
    """A figure of ``width`` x ``height`` inches with the house style, independent of pyplot's global state."""
    return Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")


def quiet(axes: Axes) -> None:
    """Take away what carries no information: the upper and right frame, heavy ticks; add a light grid."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9, width=0.6)
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)


def picture(axes: Axes, image: npt.NDArray[np.uint8]) -> None:
    """Show ``image`` (C, H, W) uint8 with square pixels and no axes: grey, RGB or RGBA."""
    if not is_picture(image.shape):
        raise ValueError(f"a picture is (1, 3 or 4, H, W), not {image.shape}")
    if image.shape[0] == 1:
        axes.imshow(image[0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        axes.imshow(image.transpose(1, 2, 0), interpolation="nearest")
    axes.set_axis_off()


def pixels(image: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """An image in [-1, 1] as 8-bit one, as samples are written."""
    return to_uint8(torch.from_numpy(image)).numpy()


def level_text(sigma: float) -> str:
    """A noise level in as few digits as tell it from its neighbours."""
    if sigma >= 10 or sigma == 0:
        return f"{sigma:.0f}"
    return f"{sigma:.2g}" if sigma >= 0.1 else f"{sigma:.1g}"


def mosaic(images: npt.NDArray[np.uint8], columns: int, *, gap: int = 1, zoom: int = 1) -> npt.NDArray[np.uint8]:
    """Lay ``images`` (N, C, H, W) out in rows of ``columns`` with a white ``gap``; every pixel becomes ``zoom`` wide.

    Returns:
        One image (C, H', W'), uint8. Missing places of the last row stay white.
    """
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images of shape (N, C, H, W) are needed, not {images.shape}")
    if columns < 1:
        raise ValueError(f"a mosaic needs at least one column, not {columns}")
    big = images.repeat(zoom, axis=2).repeat(zoom, axis=3)
    n, c, h, w = big.shape
    rows = -(-n // columns)
    gap *= zoom
    sheet = np.full((c, rows * (h + gap) - gap, columns * (w + gap) - gap), 255, dtype=np.uint8)
    for k in range(n):
        y, x = (k // columns) * (h + gap), (k % columns) * (w + gap)
        sheet[:, y : y + h, x : x + w] = big[k]
    return sheet


def lines(x: npt.NDArray[np.float64], columns: int) -> Figure:
    """Signals, one a cell, in rows of ``columns``; a colour a channel, and a scale, the same for all signals.

    Args:
        x: ``(N, C, L)``.
        columns: signals in a row.
    """
    spans = [span_of(x[:, channel]) for channel in range(x.shape[1])]
    length = x.shape[2]
    rows = -(-len(x) // columns)
    figure = new_figure(1.1 * columns + 0.2, 0.8 * rows + 0.2)
    # One pair of axes for all: a pair for each takes seconds.
    axes = figure.subplots()
    position = np.linspace(0.05, 0.95, length)
    for k, signal in enumerate(x):
        left, bottom = k % columns, -(k // columns)
        axes.plot([left + 0.05, left + 0.95], [bottom, bottom], color=GREY, linewidth=0.3)
        for channel, values in enumerate(signal):
            low, high = spans[channel]
            height = 0.9 * ((values - low) / (high - low)).clip(0, 1)
            axes.plot(left + position, bottom + height, color=PALETTE[channel % len(PALETTE)], linewidth=0.8)
    axes.set_axis_off()
    return figure


def slices(x: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """The first channel of each plane, or of the middle of each volume, as grey pictures on one scale for all.

    Args:
        x: ``(N, C, *spatial)`` with at least two spatial dimensions; all but the last two are cut in the middle.

    Returns:
        ``(N, 1, H, W)``; missing values (NaN) are black.
    """
    x = x[:, :1]
    low, high = span_of(x)
    while x.ndim > 4:
        x = x[:, :, x.shape[2] // 2]
    return np.asarray((255 * ((np.nan_to_num(x, nan=low) - low) / (high - low)).clip(0, 1)).round(), dtype=np.uint8)


def span_of(x: npt.NDArray[np.floating]) -> tuple[float, float]:
    """The range of nearly all values, from the 0.5% to the 99.5% quantile; missing ones (NaN) are left out."""
    low, high = np.nanquantile(x, [0.005, 0.995]).tolist()
    return low, high if high > low else low + 1.0


def save(figure: Figure, path: str | os.PathLike[str], formats: Iterable[str] = ("png", "svg")) -> list[Path]:
    """Write ``figure`` beside ``path`` once per format (``path``'s own suffix is replaced); returns the files.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = save(new_figure(2.0, 1.0), f"{folder}/empty.png")
    ...
    >>> [file.name for file in files]
    ['empty.png', 'empty.svg']
    """
    return [write_whole(Path(path).with_suffix(f".{kind}"), encoded(figure, kind)) for kind in formats]


def encoded(figure: Figure, kind: str) -> bytes:
    """``figure`` as the content of a file, ``png`` or ``svg``. Equal numbers give equal bytes."""
    data = io.BytesIO()
    # Without a date, and with ids from a fixed seed.
    with matplotlib.rc_context({"svg.hashsalt": "elucidiff"}):
        figure.savefig(data, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return data.getvalue()
