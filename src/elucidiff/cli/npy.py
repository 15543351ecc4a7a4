"""NumPy arrays that a user hands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np


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
    try:
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except (ValueError, EOFError):
        raise ValueError(f"{called} is damaged, or holds Python objects, which are never unpickled") from None
