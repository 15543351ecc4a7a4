"""The pictures of a folder that ``elucidiff sample`` wrote, and what its record says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from elucidiff.untrusted import read_json, reading

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
