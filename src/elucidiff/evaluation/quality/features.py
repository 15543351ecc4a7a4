"""Features of many images, block by block, each kept as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from elucidiff.data.dataset import Dataset
from elucidiff.data.npy import read_arrays
from elucidiff.evaluation.quality.extractors import Extractor, Rows
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


IMAGES_IN_A_BLOCK = 128

Tick = Callable[[int], object]
"""Called with the number of images that were described since; may raise to end the work."""


class Images(Protocol):
    """Images that are asked for a block at a time."""

    def __len__(self) -> int: ...

    def block(self, places: range) -> tuple[Tensor, npt.NDArray[np.float64]]:
        """Images (B, C, *spatial) as the extractor takes them, and the cost of each (B,)."""
        ...

    def name(self, places: range) -> str:
        """What the file of a block is called; tells which images of the stream it is of."""
        ...


@dataclass(frozen=True)
class OfDataset:
    """The images of a data set."""

    dataset: Dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def block(self, places: range) -> tuple[Tensor, npt.NDArray[np.float64]]:
        """See :class:`Images`. They cost nothing."""
        return self.dataset.images(places), np.zeros(len(places))

    def name(self, places: range) -> str:
        """See :class:`Images`."""
        return block_name(places)


@dataclass(frozen=True, eq=False)
class Described:
    """What :func:`describe` found.

    Attributes:
        rows: features of each image, (n, D).
        cost: network evaluations that each took, (n,); 0 for images that were there.
    """

    rows: Rows
    cost: npt.NDArray[np.float64]


def describe(images: Images, extractor: Extractor, store: BlockStore, tick: Tick = lambda _: None) -> Described:
    """Describe all images, reading from ``store`` what is there, and keeping there what is not.

    Blocks begin and end at fixed places, and batches with them, so that the features are the same to the last bit
    whether they are computed in one go or not.

    Raises:
        OSError: an image cannot be read, or a block not written.
        ValueError: an image is damaged, or the extractor cannot describe it.
    """
    rows: list[Rows] = []
    cost: list[npt.NDArray[np.float64]] = []
    for places in blocks(len(images), extractor.batch_size):
        name = images.name(places)
        found = store.read(name)
        if found is None or set(found) != {"rows", "cost"} or len(found["rows"]) != len(places):
            pixels, spent = images.block(places)
            found = {"rows": extractor(pixels), "cost": spent}
            store.write(name, found)
        rows.append(found["rows"])
        cost.append(found["cost"].astype(np.float64))
        tick(len(places))
    return Described(np.concatenate(rows), np.concatenate(cost))


def block_name(places: range) -> str:
    """What the file of a block of a data set is called."""
    return f"{places.start}-{places.stop - 1}"


def blocks(count: int, batch_size: int) -> Iterator[range]:
    """The places of each block: whole batches, about 128 images."""
    size = max(1, IMAGES_IN_A_BLOCK // batch_size) * batch_size
    return (range(start, min(start + size, count)) for start in range(0, count, size))
