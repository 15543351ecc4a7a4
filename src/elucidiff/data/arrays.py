"""NumPy arrays as data sets: in a ``.npy`` file, in a ``.npz`` archive, and in memory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elucidiff.data.interpreting import as_images
from elucidiff.data.labels import Labels
from elucidiff.data.naming import choose, without_shared_folders
from elucidiff.data.npy import (
    Layout,
    load_member,
    mapped_npy,
    member_name,
    members_of,
    opened_member,
    read_layout,
    read_values,
    zipped_npy,
)
from elucidiff.data.reading import Reading
from elucidiff.data.sources import ArraySource, Contents, Images, Joined, Rows, Source
from elucidiff.data.trees import Archive, Tree
from elucidiff.untrusted import printable


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


_MOST_MEMBERS = 1 << 16


def open_npy(path: Path, part: str | None, reading: Reading) -> Contents:
    """A ``.npy`` file ``(N, C, *spatial)``, mapped into memory; see :func:`elucidiff.data.open`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, holds Python objects, no images, or values that are not finite.
    """
    where = printable(str(path))
    if part is not None:
        raise ValueError(f"{where} has no part {part!r}: give its name alone")
    reading.refuse(where, "image_column", "label_column")
    source, notes = as_images(mapped_npy(path), where, reading)
    return Contents(path.stem, source, notes=notes)


def open_npz(path: Path, part: str | None, reading: Reading) -> Contents:
    """A ``.npz`` file with images and perhaps labels; see :func:`elucidiff.data.open`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, holds Python objects, no images, or values that are not finite.
    """
    where = printable(str(path))
    members = members_of(path)
    members = dict(zip(without_shared_folders(list(members)), members.values(), strict=True))
    if len(members) > _MOST_MEMBERS:
        raise ValueError(f"{where} holds {len(members):,} arrays: save them as one array, (N, C, *spatial)")
    layouts = {}
    for name, info in members.items():
        with opened_member(path, info) as file:
            layouts[name] = read_layout(file, member_name(path, info), info.file_size)
    numbered = [name for name in members if re.fullmatch(r"arr_\d+", name)]
    alike = len({layouts[name].shape for name in numbered}) == 1 and len(layouts[numbered[0]].shape) > 1
    if reading.image_column is None and len(numbered) == len(members) > 2 and alike:
        # numpy.savez(path, *images)
        names = [members[name].filename for name in sorted(numbered, key=lambda name: int(name[4:]))]
        return one_array_an_image(path.stem, where, Archive(path), names, reading)
    return named_arrays(
        path.stem,
        where,
        layouts,
        lambda name: zipped_npy(path, members[name]),
        lambda name: load_member(path, members[name]),
        part,
        reading,
    )


def one_array_an_image(
    name: str, where: str, tree: Tree, names: Sequence[str], reading: Reading, labels: Labels | None = None
) -> Contents:
    """Many ``.npy`` files of a folder or archive, each with one image.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, or two differ in shape or type; the message names them.
    """
    source, notes = as_images(ArrayFiles(tree, names), where, reading)
    first = f"{where}: {len(names):,} arrays are read as an image each"
    return Contents(name, source, labels, notes=(first, *notes))


def named_arrays(
    name: str,
    where: str,
    layouts: Mapping[str, Layout],
    images_of: Callable[[str], Source],
    array_of: Callable[[str], Images],
    part: str | None,
    reading: Reading,
) -> Contents:
    """Images and labels out of arrays with names.

    Args:
        name: what to call the data set.
        where: what to call the file in a message.
        layouts: of the arrays, by their names.
        images_of: opens an array of images.
        array_of: loads a small array.
        part: which part is wanted; see :func:`elucidiff.data.naming.choose`.
        reading: what was asked for.

    Raises:
        OSError: a file cannot be read.
        ValueError: it is damaged, or what it holds is no data set.
    """
    chosen, notes = choose(layouts, where, part, reading)
    # Parts are joined as they are stored, so that all are read in one way.
    sources = [images_of(found.images) for found in chosen]
    of_what = f"{where}:{chosen[0].images}" if len(layouts) > 1 and len(chosen) == 1 else where
    images, more = as_images(joined(sources, where), of_what, reading)
    notes += more
    labels = []
    for found, source in zip(chosen, sources, strict=True):
        if found.labels is None or reading.labels_from == "none":
            continue
        shape = layouts[found.labels].shape
        if not shape or shape[0] != len(source):
            raise ValueError(f"{where}: there are {shape[0] if shape else 'no'} labels for {len(source)} images")
        values = array_of(found.labels)
        if found.guessed and len(values) > 1 and len(np.unique(values)) == len(values):
            said = f"no labels are read, as {found.labels} holds {len(values):,} different values"
            notes += (f"{where}: {said}; --label-column {found.labels} takes each for a class",)
            continue
        if found.guessed:
            said = f"labels are read from {found.labels}, the only array that can be"
            notes += (f"{where}: {said}; --labels-from none leaves them out",)
        labels.append(values)
    if labels and len(labels) < len(sources):
        raise ValueError(f"{where}: only some of its parts have labels: open them one by one")
    return Contents(
        name if part in (None, "train") else f"{name}:{part}",
        images,
        label_each(np.concatenate(labels), sum(map(len, sources)), where) if labels else None,
        notes=notes,
    )


def joined(sources: Sequence[Source], where: str) -> Source:
    """Parts of a data set as one.

    Raises:
        ValueError: their images differ in shape or type.
    """
    if len(sources) == 1:
        return sources[0]
    first = sources[0]
    for source in sources[1:]:
        if (source.shape, source.dtype) != (first.shape, first.dtype):
            raise ValueError(
                f"{where}: its parts differ, {first.dtype} {first.shape} and {source.dtype} {source.shape}: open them"
                " one by one"
            )
    return Joined(sources)


def label_each(values: npt.ArrayLike, count: int, where: str, names: tuple[str, ...] = ()) -> Labels:
    """Labels of any kind that an array can hold: classes as numbers, truth values or text, or vectors.

    Classes may stand in a column, ``(N, 1)``, as Keras keeps them. See :meth:`Labels.from_array` for the rest.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind != "f":
        array = array[:, 0]
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.kind in "US" and array.ndim == 1:
        if len(array) != count:
            raise ValueError(f"{where}: there are {len(array)} labels for {count} images")
        texts = [text.decode(errors="replace") if isinstance(text, bytes) else text for text in array.tolist()]
        return Labels.from_names(texts, where)
    return Labels.from_array(array, count, where, names)


def from_memory(name: str, images: npt.ArrayLike, labels: npt.ArrayLike | None, reading: Reading) -> Contents:
    """Images and labels in arrays of any kind, read like those of a file.

    Raises:
        ValueError: see :func:`elucidiff.data.interpreting.as_images`.
    """
    array = np.asarray(images)
    if array.dtype.hasobject:
        raise ValueError(f"{name} are not an array of numbers: images must have one shape and type")
    if not array.ndim:
        raise ValueError(f"{name} are a single number: expected (N, C, *spatial)")
    source, notes = as_images(ArraySource(array), name, reading)
    return Contents(name, source, None if labels is None else label_each(labels, len(source), name), notes=notes)


def in_memory(name: str, images: Images, labels: Any = None, names: tuple[str, ...] = ()) -> Contents:
    """Images ``(N, C, *spatial)`` and labels that are in memory already."""
    return Contents(
        name,
        ArraySource(images),
        None if labels is None else Labels.from_array(labels, len(images), name, names),
    )
