"""Images side by side: samples alone, or samples beside real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image
from tyro.conf import Positional

from elucidiff.figures.base import FigurePart
from elucidiff.figures.style import INK, mosaic, new_figure, picture
from elucidiff.parts import part
from elucidiff.untrusted import read_json, reading


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


RECORD = "samples.json"


@dataclass(frozen=True)
class Samples:
    """Pictures and their cost.

    Attributes:
        images: ``(N, C, H, W)``, uint8.
        nfe: network evaluations per sample, the mean.
        count: how many the folder has, of which ``images`` may be the first.
        settings: all that the record says.
    """

    images: npt.NDArray[np.uint8]
    nfe: float
    count: int
    settings: dict[str, Any]


def read_samples(folder: Path, most: int | None = None) -> Samples:
    """Read the pictures of a folder, or the first of them.

    Raises:
        ValueError: nobody wrote a record there, or the samples are no pictures.
        OSError: a file cannot be read.
    """
    record = folder / RECORD
    with reading(record, "is not a record that `elucidiff sample` wrote"):
        settings: dict[str, Any] = read_json(record)
        files = [folder / entry["file"] for entry in settings["samples"]]
        nfe = float(settings["nfe"]["per_sample_mean"])
    if not files or any(file.suffix != ".png" for file in files):
        raise ValueError(f"the samples in {folder} are arrays, not pictures")
    return Samples(np.stack([_read(file) for file in files[:most]]), nfe, len(files), settings)


def _read(file: Path) -> npt.NDArray[np.uint8]:
    with Image.open(file) as image:
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@part("figure", "grid")
@dataclass(frozen=True)
class GridFigure(FigurePart):
    """The images of a sample folder in one figure."""

    summary: ClassVar[str] = "the images of a sample folder"
    alternative: ClassVar[str] = "Samples in a grid"

    samples: Positional[Path]
    """A folder that `elucidiff sample` wrote."""
    columns: int | None = None
    """Images in a row; by default about as many as there are rows."""

    def draw(self) -> Figure:
        """Read and draw."""
        found = read_samples(self.samples)
        columns = self.columns or max(1, round(len(found.images) ** 0.5))
        title = f"{len(found.images)} samples, {found.nfe:g} network evaluations each"
        return draw({title: found.images}, columns=columns)
