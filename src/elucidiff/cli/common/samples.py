"""Samples as files, written with a sheet of all of them and a record."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from elucidiff.data.scaling import to_uint8
from elucidiff.files import write_whole
from elucidiff.sampling.jobs.outputs import encoded, png

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
    # Imported where they are used: matplotlib, and all that figures are drawn from, take a second.
    from elucidiff.figures.numbers import lines, slices
    from elucidiff.figures.style import mosaic, save

    if not pictures and x.ndim == 3:
        save(lines(x.double().cpu().numpy(), columns), path, formats=("png",))
        return
    images = to_uint8(x).cpu().numpy() if pictures else slices(x.double().cpu().numpy())
    write_picture(path, mosaic(images, columns, zoom=max(1, _LEGIBLE // max(images.shape[2:]))))


def write_samples(out: Path, names: Sequence[str], x: Tensor, *, pictures: bool) -> list[str]:
    """Write each sample to a file of its own.

    Args:
        out: the folder; made if missing.
        names: of the files, without suffix.
        x: samples (B, C, *spatial) on the CPU.
        pictures: whether they are pictures in [-1, 1]. Else each becomes a float32 ``.npy``.

    Returns:
        the names with their suffix.

    Raises:
        OSError: a file cannot be written.
    """
    files = [f"{name}{'.png' if pictures else '.npy'}" for name in names]
    for file, content in zip(files, encoded(x, pictures), strict=True):
        write_whole(out / file, content)
    return files


def write_account(
    out: Path, name: str, sheet: Tensor, columns: int, facts: Mapping[str, Any], *, pictures: bool
) -> None:
    """Write ``sheet.png`` with the samples ``sheet``, and then ``name`` with ``facts`` as JSON.

    Raises:
        OSError: a file cannot be written.
    """
    if sheet.ndim > 2:
        write_sheet(out / "sheet.png", sheet, columns, pictures=pictures)
    write_whole(out / name, json.dumps(dict(facts), indent=1) + "\n")
