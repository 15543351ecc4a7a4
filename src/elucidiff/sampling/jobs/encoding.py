"""One sample as the bytes of a file: a PNG if it is a picture, else a NumPy array."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from elucidiff.data.scaling import to_uint8

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """``image`` (C, H, W) uint8 with 1, 3 or 4 channels as a PNG."""
    mode = _MODES[image.shape[0]]
    pixels = image[0] if mode == "L" else image.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels), mode).save(file, "PNG")
    return file.getvalue()


def encoded(x: Tensor, pictures: bool) -> list[bytes]:
    """Samples ``x`` (B, C, *spatial) on the CPU as the contents of their files.

    Args:
        x: the samples.
        pictures: whether they are pictures in [-1, 1]. Else each becomes a float32 ``.npy`` in the model's units.
    """
    if pictures:
        return [png(image) for image in to_uint8(x).numpy()]
    return [_npy(sample) for sample in x.float().numpy()]


def _npy(sample: npt.NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(sample), allow_pickle=False)
    return file.getvalue()
