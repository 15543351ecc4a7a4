"""A folder or archive of ``.npy`` files, each of which holds one image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from elucidiff.data.npy import Layout, read_layout, read_values
from elucidiff.data.sources import Images, Rows
from elucidiff.data.trees import Tree


class ArrayFiles:
    """Arrays of one shape and type, read when they are asked for.

    Args:
        tree: the folder or archive.
        names: the files in it.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, or differs from the first in shape or type; the message names it.
    """

    def __init__(self, tree: Tree, names: Sequence[str]) -> None:
        self._tree, self.names = tree, names
        with tree.open(names[0]) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            first = read_layout(file, self.where(0), size)
        self.shape: tuple[int, ...] = first.shape
        self.dtype: np.dtype[Any] = first.dtype.newbyteorder("=")
        for row in range(1, len(names)):
            with tree.open(names[row]) as file:
                self._layout(file, row)

    def where(self, row: int) -> str:
        """The name of a file in a message."""
        return self._tree.where(self.names[row])

    def __len__(self) -> int:
        return len(self.names)

    def read(self, rows: Rows) -> Images:
        images = np.empty((len(rows), *self.shape), self.dtype)
        for place, row in enumerate(rows.tolist()):
            with self._tree.open(self.names[row]) as file:
                images[place] = read_values(file, self._layout(file, row), self.where(row))
        return images

    def _layout(self, file: Any, row: int) -> Layout:
        layout = read_layout(file, self.where(row), None)
        if (layout.shape, layout.dtype.newbyteorder("=")) != (self.shape, self.dtype):
            raise ValueError(
                f"arrays differ: {self.where(0)} is {self.dtype} {self.shape}, but {self.where(row)} is"
                f" {layout.dtype} {layout.shape}; save images of one shape and type"
            )
        return layout
