"""NumPy arrays that a user hands in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from elucidiff.data.npy import read_layout, read_values
from elucidiff.untrusted import open_regular, printable


def read_npy(path: Path, called: str, mmap_mode: Literal["c"] | None = None) -> Any:
    """Read ``path``, an array unless it is something else that NumPy writes. Nothing is unpickled.

    Args:
        path: the file.
        called: what to call it in an error.
        mmap_mode: "c" to map it rather than read it; nobody then writes to the file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or holds Python objects.
    """
    with open_regular(path) as file:
        layout = read_layout(file, printable(called), os.fstat(file.fileno()).st_size)
        if mmap_mode is None or not layout.nbytes:
            return read_values(file, layout, printable(called))
    return np.memmap(path, layout.dtype, mmap_mode, layout.offset, layout.shape, "F" if layout.fortran else "C")
