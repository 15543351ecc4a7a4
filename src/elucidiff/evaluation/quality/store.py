"""Features on disk, a small file for each block of images, so that what was computed is never computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elucidiff.data.npy import read_arrays
from elucidiff.files import write_whole

Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class BlockStore:
    """Arrays by the name of their block, each block a ``.npz`` file that is there whole or not at all.

    Args:
        folder: where; made when the first block is written. All blocks in it were computed in the same way, so it is
            all right if several processes write the same.
    """

    folder: Path

    def read(self, name: str) -> dict[str, npt.NDArray[np.generic]] | None:
        """A block; None if it is not there or damaged (its checksum, which the format has, does not fit)."""
        try:
            return dict(read_arrays(self._path(name)))
        except (FileNotFoundError, ValueError):
            return None

    def has(self, name: str) -> bool:
        """Whether there is a block of that name, though it may be damaged."""
        return self._path(name).exists()

    def write(self, name: str, arrays: Arrays) -> None:
        """Keep a block.

        Raises:
            OSError: it cannot be written.
        """
        write_arrays(self._path(name), arrays)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write a ``.npz`` file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """

    def fill(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    write_whole(path, fill)
