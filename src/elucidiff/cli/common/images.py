"""Samples as PNG files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from elucidiff.data.scaling import to_uint8
from elucidiff.figures.numbers import lines, slices
from elucidiff.figures.style import mosaic, save
from elucidiff.files import write_whole
from elucidiff.sampling.jobs.outputs import png

_LEGIBLE = 64  # pixels: smaller pictures are enlarged in whole multiples, up to this


def write_picture(path: str | os.PathLike[str], image: npt.NDArray[np.uint8]) -> Path:
    """Write ``image`` (C, H, W) uint8 with 1, 3 or 4 channels as a PNG, whole or not at all."""
    return write_whole(path, png(image))


def write_sheet(path: str | os.PathLike[str], x: Tensor, columns: int, *, pictures: bool) -> None:
    """Write samples ``x`` (N, C, *spatial) as one PNG, in rows of ``columns``, small ones enlarged.

    Args:
        path: the file.
        x: the samples.
        columns: samples in a row.
        pictures: whether they are pictures in [-1, 1]. Else signals become lines, and what has more dimensions is
            shown by its central slices, on one scale of grey.
    """
    if not pictures and x.ndim == 3:
        save(lines(x.double().cpu().numpy(), columns), path, formats=("png",))
        return
    images = to_uint8(x).cpu().numpy() if pictures else slices(x.double().cpu().numpy())
    write_picture(path, mosaic(images, columns, zoom=max(1, _LEGIBLE // max(images.shape[2:]))))
