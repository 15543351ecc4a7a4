"""A data set that may hold broken images and images of several sizes, made ready to be measured."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

import numpy as np

from elucidiff.data.conversion import Conversion
from elucidiff.data.dataset import Dataset
from elucidiff.data.finding import find
from elucidiff.data.images import ImageFiles
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.recommending import recommend_resolution
from elucidiff.data.sources import Images, Rows
from elucidiff.untrusted import printable


@dataclass(frozen=True)
class Subject:
    """What is inspected; :func:`open_subject` makes it.

    Attributes:
        dataset: all images whose header is sound; where they differ in size, they are centre-cropped to the
            recommended resolution as they are read.
        sizes: number of images of each shape ``(C, *spatial)``, as they are stored.
        broken: images left out because of their header, with what is wrong.
        files: where the images are files: their names, in the order of ``dataset``; else empty.
    """

    dataset: Dataset
    sizes: Counter[tuple[int, ...]]
    broken: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def name(self, place: int) -> str:
        """What to call the image at a position: its file, or its number."""
        return self.files[place] if self.files else f"image {place}"


def open_subject(source: Dataset | str | os.PathLike[str], reading: Reading = AS_USUAL) -> Subject:
    """Open a data set without refusing it for what inspecting is meant to find.

    Args:
        source: a data set, or its name or path as for :func:`elucidiff.data.open`.
        reading: which reading to take where several are possible.

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError: it is damaged as a whole, or every image in it is broken.
    """
    if isinstance(source, Dataset):
        return Subject(source, Counter({source.shape: len(source)}))
    contents = find(source, alike=False, reading=reading)
    files, labels = contents.source, contents.labels
    if not isinstance(files, ImageFiles):
        dataset = Dataset(contents.name, files, labels, expected=contents.sha256, notes=contents.notes)
        return Subject(dataset, Counter({files.shape: len(files)}))
    sizes: Counter[tuple[int, ...]] = Counter()
    for row in range(len(files)):
        sizes[files.header(row)] += 1
    images = files if len(sizes) == 1 else _Converted(files, _conversion(sizes))
    names = tuple(printable(files.name(row)) for row in range(len(files)))
    return Subject(Dataset(contents.name, images, labels, notes=contents.notes), sizes, contents.broken, names)


def _conversion(sizes: Counter[tuple[int, ...]]) -> Conversion:
    """To the recommended resolution and the most frequent number of channels."""
    resolution = recommend_resolution(sizes, None)
    side = int(resolution.value) if resolution else 0
    channels: Counter[int] = Counter()
    for shape, count in sizes.items():
        channels[shape[0]] += count
    return Conversion((side, side), "centre", channels.most_common(1)[0][0])


class _Converted:
    """Image files of several sizes, converted as they are read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, files: ImageFiles, conversion: Conversion) -> None:
        self._files, self._conversion = files, conversion
        self.shape = conversion.result_shape(files.header(0))

    def __len__(self) -> int:
        return len(self._files)

    def read(self, rows: Rows) -> Images:
        return np.ascontiguousarray(np.stack([self._conversion(self._files.image(row)) for row in rows.tolist()]))
