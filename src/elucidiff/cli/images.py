"""Pictures as PNG files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from elucidiff.files import write_whole

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def write_picture(path: str | os.PathLike[str], image: npt.NDArray[np.uint8]) -> Path:
    """Write ``image`` (C, H, W) uint8 with 1, 3 or 4 channels as a PNG, whole or not at all."""
    mode = _MODES[image.shape[0]]
    pixels = image[0] if mode == "L" else image.transpose(1, 2, 0)
    return write_whole(path, lambda file: Image.fromarray(np.ascontiguousarray(pixels), mode).save(file, "PNG"))
