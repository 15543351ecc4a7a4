"""The numbers behind a figure in a file, so that it can be drawn again without the model."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from elucidiff.data.npy import read_arrays
from elucidiff.figures.style import GREY, PALETTE, new_figure
from elucidiff.files import write_whole
from elucidiff.untrusted import parse_json, reading

_ABOUT = "about"


@dataclass(frozen=True)
class Numbers:
    """The numbers that a figure is drawn from.

    Attributes:
        figure: its name for ``elucidiff figure``.
        command: that made it.
        facts: what else its text and labels say; JSON-able.
        arrays: by name.

    >>> import tempfile
    >>> numbers = Numbers("squares", "by hand", {"unit": "cm"}, {"x": np.arange(3) ** 2})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read = read_numbers(numbers.save(f"{folder}/squares.npz"))
    ...
    >>> read.facts, read.arrays["x"].tolist()
    ({'unit': 'cm'}, [0, 1, 4])
    """

    figure: str
    command: str
    facts: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``path``, a compressed ``.npz`` file, whole.

        Raises:
            OSError: it cannot be written.
        """
        about = json.dumps({"figure": self.figure, "command": self.command, "facts": dict(self.facts)})
        file = io.BytesIO()
        arrays: dict[str, Any] = {_ABOUT: np.array(about), **self.arrays}
        np.savez_compressed(file, **arrays)
        return write_whole(path, file.getvalue())


def read_numbers(path: Path) -> Numbers:
    """Read what :meth:`Numbers.save` wrote. Nothing in the file is executed.

    Raises:
        ValueError: it is something else, or damaged.
        OSError: it cannot be read.

    >>> read_numbers(Path("nothing.npz"))
    Traceback (most recent call last):
        ...
    FileNotFoundError: ...
    """
    with reading(path, "holds no numbers of a figure: name a .npz file that `elucidiff figure` wrote"):
        arrays = read_arrays(path)
        about = parse_json(str(arrays.pop(_ABOUT)), path)
        return Numbers(str(about["figure"]), str(about["command"]), dict(about["facts"]), arrays)


Array = npt.NDArray[np.float64]


def lines(x: Array, columns: int) -> Figure:
    """Signals, one a cell, in rows of ``columns``; a colour a channel, the same scale for all.

    Args:
        x: ``(N, C, L)``.
        columns: signals in a row.
    """
    low, high = _span(x)
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
            height = 0.9 * ((values - low) / (high - low)).clip(0, 1)
            axes.plot(left + position, bottom + height, color=PALETTE[channel % len(PALETTE)], linewidth=0.8)
    axes.set_axis_off()
    return figure


def slices(x: Array) -> npt.NDArray[np.uint8]:
    """The middle of each volume, or the whole of each plane, as 8-bit pictures on one scale for all.

    Args:
        x: ``(N, C, *spatial)`` with at least two spatial dimensions; all but the last two are cut in the middle.

    Returns:
        ``(N, 1 or 3, H, W)``: the three channels if there are three, else the first.
    """
    low, high = _span(x)
    while x.ndim > 4:
        x = x[:, :, x.shape[2] // 2]
    shown = x if x.shape[1] == 3 else x[:, :1]
    return np.asarray((255 * ((shown - low) / (high - low)).clip(0, 1)).round(), dtype=np.uint8)


def _span(x: Array) -> tuple[float, float]:
    """The range of nearly all values."""
    low, high = np.quantile(x, [0.005, 0.995]).tolist()
    return low, high if high > low else low + 1.0
