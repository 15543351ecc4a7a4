"""The idx format of MNIST and its successors (LeCun et al. 1998, yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from elucidiff.data.arrays import label_each
from elucidiff.data.interpreting import as_images
from elucidiff.data.reading import Reading
from elucidiff.data.sources import ArraySource, Contents, Images
from elucidiff.untrusted import open_regular, printable, reading

# The third byte: the type of the values, which are big-endian.
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PARTS = {"train": "train", "t10k": "test", "test": "test", "val": "val", "valid": "val"}
_NAME = re.compile(r"(?:(.*)[-_.])?(train|t10k|test|val|valid)[-_.](images?|labels?)[-_.]idx\d[-_.]ubyte(?:\.gz)?")
_MOST_AXES = 16
# Pictures of digits shrink to a fifth; more than this, and large, is meant to fill the memory.
_ALWAYS_UNPACKED = 1 << 28
_MOST_PACKED = 64


def is_idx(path: Path) -> bool:
    """Whether a file begins as an idx file does, gzipped or not."""
    try:
        with open_regular(path) as file, _unpacked(file) as content:
            return _is_header(content.read(4))
    except (OSError, EOFError, ValueError, zlib.error):
        return False


def read_idx(path: Path) -> Images:
    """Read an idx file, gzipped or not.

    The file is two zero bytes, the type of the values (8 for bytes), the number of axes, the length of each axis as a
    big-endian 32-bit integer, and the values.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is truncated or not an idx file.
    """
    where = printable(str(path))
    with reading(path), open_regular(path) as file, _unpacked(file) as content:
        header = content.read(4)
        lengths = content.read(4 * header[3]) if _is_header(header) else b""
        if not lengths or len(lengths) < 4 * header[3]:
            raise ValueError(f"{where} is not an idx file of numbers")
        dtype, shape = np.dtype(_TYPES[header[2]]), tuple(np.frombuffer(lengths, ">u4").tolist())
        size = math.prod(shape) * dtype.itemsize
        most = max(_ALWAYS_UNPACKED, _MOST_PACKED * os.fstat(file.fileno()).st_size)
        # Looked at before memory is asked for.
        values = content.read(size + 1) if size <= most else b""
        if len(values) != size:
            found = f"{len(values) // dtype.itemsize}" if len(values) < size <= most else "another number of"
            raise ValueError(f"{where} has {found} values, but its header says {shape}: fetch it again")
    return np.frombuffer(values, dtype).reshape(shape)


def _is_header(header: bytes) -> bool:
    return len(header) == 4 and header[:2] == b"\0\0" and header[2] in _TYPES and 1 <= header[3] <= _MOST_AXES


def _unpacked(file: IO[bytes]) -> Any:
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file


def idx_files(folder: Path, part: str) -> tuple[Path, Path | None] | None:
    """The files of images and of labels of a part ("train", "test" or "val") in a folder; None if it has no images.

    Raises:
        ValueError: there are several sets.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = _NAME.fullmatch(path.name)
        if name and _PARTS[name[2]] == part:
            # Of a file that is there packed and unpacked, the unpacked one comes first.
            found.setdefault(name[1] or "", {}).setdefault(name[3].removesuffix("s"), path)
    sets = {key: files for key, files in found.items() if "image" in files}
    if not sets:
        return None
    if len(sets) > 1:
        listed = ", ".join(printable(files["image"].name) for files in sets.values())
        raise ValueError(f"{printable(str(folder))} holds several sets: give one of the files {listed}")
    files = next(iter(sets.values()))
    return files["image"], files.get("label")


def read_images_and_labels(files: tuple[Path, Path | None]) -> tuple[Images, Images | None]:
    """Images ``(N, 1, H, W)`` and classes ``(N,)``.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, or the two do not fit.
    """
    images = read_idx(files[0])
    if images.ndim < 3:
        raise ValueError(f"{printable(str(files[0]))} has {images.ndim} axes, but pictures have at least 3")
    if files[1] is None:
        return images[:, None] if images.ndim == 3 else images, None
    labels = read_idx(files[1])
    if labels.ndim != 1:
        raise ValueError(f"{printable(str(files[1]))} has {labels.ndim} axes, but labels have 1")
    if len(images) != len(labels):
        raise ValueError(f"{printable(str(files[1]))}: there are {len(labels)} labels for {len(images)} images")
    return images[:, None] if images.ndim == 3 else images, labels


def open_idx(path: Path, part: str | None, chosen: Reading) -> Contents:
    """An idx file of images by itself, with the labels that lie beside it under the usual name.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or no images.
    """
    where = printable(str(path))
    if part is not None:
        raise ValueError(f"{where} has no part {part!r}: give its name alone")
    chosen.refuse(where, "image_column", "label_column")
    beside = None
    if (name := _NAME.fullmatch(path.name)) and chosen.labels_from != "none":
        others = (other for other in sorted(path.parent.iterdir()) if (found := _NAME.fullmatch(other.name)))
        for other in others:
            found = _NAME.fullmatch(other.name)
            if found and (found[1], found[2]) == (name[1], name[2]) and found[3].startswith("label"):
                beside = beside or other
    images, labels = read_images_and_labels((path, beside))
    source, notes = as_images(ArraySource(images), where, chosen)
    if beside is not None:
        notes = (f"{where}: labels are read from {printable(beside.name)}", *notes)
    found_labels = None if labels is None else label_each(labels, len(images), where)
    return Contents(path.name.split(".")[0], source, found_labels, notes=notes)
