"""The idx format of MNIST and its successors (LeCun et al. 1998, yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elucidiff.untrusted import open_regular, printable, reading

_SETS = {"train": "train", "test": "t10k"}
_UINT8 = 0x08
# Pictures of digits shrink to a fifth; more than this, and large, is meant to fill the memory.
_ALWAYS_UNPACKED = 1 << 28
_MOST_PACKED = 64


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read an idx file of bytes, gzipped or not.

    The file is two zero bytes, the type of the values (8 for bytes), the number of axes, the length of each axis as a
    big-endian 32-bit integer, and the values.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is truncated or not an idx file of bytes.
    """
    where = printable(str(path))
    with reading(path), open_regular(path) as packed:
        gzipped = packed.read(2) == b"\x1f\x8b"
        most = max(_ALWAYS_UNPACKED, _MOST_PACKED * os.fstat(packed.fileno()).st_size)
        packed.seek(0)
        file = gzip.GzipFile(fileobj=packed) if gzipped else packed
        header = file.read(4)
        axes = header[3] if len(header) == 4 else 0
        lengths = file.read(4 * axes)
        if header[:3] != bytes([0, 0, _UINT8]) or not axes or len(lengths) < 4 * axes:
            raise ValueError(f"{where} is not an idx file of bytes")
        shape = tuple(int(length) for length in np.frombuffer(lengths, ">u4"))
        count = math.prod(shape)
        # Looked at before memory is asked for.
        content = file.read(count + 1) if count <= most else b""
        if len(content) != count:
            found = f"{len(content)} values" if len(content) < count <= most else "another number of values"
            raise ValueError(f"{where} has {found}, but its header says {shape}: fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def idx_files(folder: Path, part: str) -> tuple[Path, Path] | None:
    """The files of images and labels of ``part`` ("train" or "test") in a folder, or None if one is missing."""
    found: list[Path] = []
    if part not in _SETS:
        return None
    for kind in ("images-idx3", "labels-idx1"):
        stem = f"{_SETS[part]}-{kind}-ubyte"
        paths = [path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()]
        if not paths:
            return None
        found.append(paths[0])
    return found[0], found[1]


def read_images_and_labels(files: tuple[Path, Path]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Images uint8 ``(N, 1, H, W)`` and classes ``(N,)``.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, or the two do not fit.
    """
    images, labels = read_idx(files[0]), read_idx(files[1])
    if images.ndim != 3 or labels.ndim != 1:
        raise ValueError(f"{files[0]} and {files[1]} have {images.ndim} and {labels.ndim} axes, not 3 and 1")
    if len(images) != len(labels):
        raise ValueError(f"{files[1]}: there are {len(labels)} labels for {len(images)} images")
    return images[:, None], labels
