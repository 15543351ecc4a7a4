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

from elucidiff.files import write_whole
from elucidiff.sampling.jobs.outputs import are_pictures, encoded, png

_LEGIBLE = 64  # pixels: smaller pictures are enlarged in whole multiples, up to this


def write_picture(path: str | os.PathLike[str], image: npt.NDArray[np.uint8]) -> Path:
    """Write ``image`` (C, H, W) uint8 with 1, 3 or 4 channels as a PNG, whole or not at all."""
    return write_whole(path, png(image))


def write_sheet(path: str | os.PathLike[str], samples: Tensor, columns: int) -> None:
    """Write samples (N, C, *spatial), as a data set holds them, as one PNG, in rows of ``columns``.

    8-bit pictures are shown as they are, small ones enlarged. Of other data signals become lines; fields, and volumes
    by their central slices, are shown by channel with a bar of its units.
    """
    # Imported where they are used: matplotlib, and all that figures are drawn from, take a second.
    from elucidiff.figures.field_sheet import draw_fields
    from elucidiff.figures.style import lines, mosaic, save

    if samples.ndim == 3:
        save(lines(samples.double().cpu().numpy(), columns), path, formats=("png",))
        return
    if not are_pictures(samples):
        save(draw_fields(samples.double().cpu().numpy(), columns), path, formats=("png",))
        return
    images = samples.cpu().numpy()
    write_picture(path, mosaic(images, columns, zoom=max(1, _LEGIBLE // max(images.shape[2:]))))


def write_samples(out: Path, names: Sequence[str], samples: Tensor) -> list[str]:
    """Write each sample to a file of its own.

    Args:
        out: the folder; made if missing.
        names: of the files, without suffix.
        samples: (B, C, *spatial) on the CPU, as a data set holds them: 8-bit pictures become PNG, others ``.npy``.

    Returns:
        the names with their suffix.

    Raises:
        OSError: a file cannot be written.
    """
    files = [f"{name}{'.png' if are_pictures(samples) else '.npy'}" for name in names]
    for file, content in zip(files, encoded(samples), strict=True):
        write_whole(out / file, content)
    return files


def write_account(out: Path, name: str, sheet: Tensor, columns: int, facts: Mapping[str, Any]) -> None:
    """Write ``sheet.png`` with the samples ``sheet``, and then ``name`` with ``facts`` as JSON.

    Raises:
        OSError: a file cannot be written.
    """
    if sheet.ndim > 2:
        write_sheet(out / "sheet.png", sheet, columns)
    write_whole(out / name, json.dumps(dict(facts), indent=1) + "\n")
