"""Checksums of what an image was made of, by which an import is found to be out of date."""

from __future__ import annotations

import hashlib

import numpy as np

from elucidiff.data.images import ImageFiles
from elucidiff.data.sources import Images

_BYTES_AT_ONCE = 1 << 20


def file_digest(source: ImageFiles, row: int) -> bytes:
    """SHA-256 of the bytes of an image's file, which are read and not decoded; of several pages, with the first."""
    digest = hashlib.sha256()
    if source.is_later_page(row):
        return digest.digest()
    try:
        with source.tree.open(source.names[row]) as file:
            while block := file.read(_BYTES_AT_ONCE):
                digest.update(block)
    except Exception:  # archives raise many types for damage
        # A broken image that is left out: that it cannot be read is what is known of it.
        digest.update(b"unreadable")
    return digest.digest()


def array_digest(image: Images) -> bytes:
    """SHA-256 of the values of an image, little-endian and in the order of its axes."""
    return hashlib.sha256(np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<")).data).digest()
