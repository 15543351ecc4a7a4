"""A folder or zip archive of images as a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from elucidiff.data.decoding import SUFFIXES, decode, header
from elucidiff.data.labels import Labels
from elucidiff.data.sources import Images, Rows
from elucidiff.data.trees import Tree

LABEL_FILE = "dataset.json"


class ImageFiles:
    """Image files that are decoded when they are asked for.

    Args:
        tree: the folder or archive.
        names: the images in it.
    """

    dtype: np.dtype[Any] = np.dtype(np.uint8)

    def __init__(self, tree: Tree, names: Sequence[str]) -> None:
        self.tree, self.names = tree, names

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(C, H, W)`` of the first image; of all, once :meth:`check_alike` has passed."""
        return self.header(0)

    def __len__(self) -> int:
        return len(self.names)

    def where(self, row: int) -> str:
        """What to call an image in a message."""
        return self.tree.where(self.names[row])

    def header(self, row: int) -> tuple[int, int, int]:
        """Shape ``(C, H, W)`` of an image, without decoding it."""
        with self.tree.open(self.names[row]) as file:
            return header(file, self.where(row))

    def image(self, row: int) -> npt.NDArray[np.uint8]:
        """Pixels of an image, uint8 ``(C, H, W)``."""
        with self.tree.open(self.names[row]) as file:
            return decode(file, self.where(row))

    def check_alike(self) -> None:
        """Read the headers of all images.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file is not an image, or two images differ in size or channels; the message names them.
        """
        for row in range(len(self)):
            shape = self.header(row)
            if shape != self.shape:
                raise ValueError(
                    f"images differ: {self.where(0)} is {describe(self.shape)}, but {self.where(row)} is"
                    f" {describe(shape)}; import the data to bring all to one size"
                )

    def read(self, rows: Rows) -> Images:
        images = np.empty((len(rows), *self.shape), np.uint8)
        for place, row in enumerate(rows.tolist()):
            image = self.image(row)
            if image.shape != self.shape:
                raise ValueError(f"{self.where(row)} has changed since the data set was opened")
            images[place] = image
        return images


def image_names(tree: Tree) -> list[str]:
    """The images of a tree, sorted by name.

    Raises:
        ValueError: there are none.
    """
    names = [name for name in tree.names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if not names:
        raise ValueError(f"{tree.root} holds no images ({', '.join(sorted(SUFFIXES))})")
    return names


def describe(shape: tuple[int, ...]) -> str:
    """A shape in words, as in "3 channels of 32 x 24 (width x height)"."""
    channels, height, width = shape
    return f"{channels} channel{'s' if channels > 1 else ''} of {width} x {height}"


def labels_of(tree: Tree, names: Sequence[str]) -> Labels | None:
    """The labels of a tree's images.

    ``dataset.json``, where there is one, decides: ``{"labels": [[name, label], ...]}`` with an integer or a list of
    numbers for each image, or null for no labels. Else the classes are the sub-folders, 2 before 10,
    at the first level where there are several of them; images beside such folders, or no such folders, mean no
    labels.

    Raises:
        ValueError: ``dataset.json`` is damaged, does not fit the images, or has labels out of range.
    """
    if LABEL_FILE in tree.names:
        return _from_json(tree, names)
    folders = [PurePosixPath(name).parent.parts for name in names]
    shared = 0
    while all(len(parts) > shared for parts in folders) and len({parts[shared] for parts in folders}) == 1:
        shared += 1
    if any(len(parts) <= shared for parts in folders):
        return None
    return Labels.from_names([parts[shared] for parts in folders], str(tree.root))


def _from_json(tree: Tree, names: Sequence[str]) -> Labels | None:
    where = tree.where(LABEL_FILE)
    try:
        with tree.open(LABEL_FILE) as file:
            entries = json.load(file)["labels"]
        if entries is None:
            return None
        given = {str(name).replace("\\", "/"): label for name, label in entries}
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError, ValueError) as error:
        expected = '{"labels": [["image.png", 0], ...]} or {"labels": null}'
        raise ValueError(f"{where} is damaged ({error!r}): expected {expected}") from None
    for name in names:
        if name not in given:
            raise ValueError(f"{where} has no label for {name}")
    if len(given) > len(names):
        known = set(names)
        stray = next(name for name in given if name not in known)
        raise ValueError(f"{where} has a label for {stray}, which is not there")
    values = [given[name] for name in names]
    if not (all(_is_class(value) for value in values) or _are_vectors(values)):
        raise ValueError(f"{where}: labels must be all integers, or all lists of equally many numbers")
    array = np.asarray(values)
    if array.ndim == 2 and array.dtype.kind == "i":
        array = array.astype(float)  # a list is a vector, or one-hot, even if its numbers are whole
    return Labels.from_array(array, len(names), where)


def _is_class(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_vectors(values: list[Any]) -> bool:
    lists = all(isinstance(value, list) and len(value) == len(values[0]) for value in values)
    return lists and all(isinstance(entry, int | float) for value in values for entry in value)
