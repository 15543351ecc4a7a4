"""Conditions that are fields: made from the images themselves, or another array or column of their file.

A field is an array ``(C, *spatial)`` that is known of an image, on a grid of any size over the same ground: a
picture at a lower resolution, in grey, or with a gap. A model is trained on pairs (image, field), and draws images
for a field.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from elucidiff.data.sources import Images, Rows, Source, Strewn
from elucidiff.parts import part, to_text

Shape = tuple[int, ...]

_LUMA = (0.299, 0.587, 0.114)
_MIDDLE = {"u": 128, "f": 0.0}


class Condition(ABC):
    """The base of conditions: what is known of an image, as a field ``(C, *spatial)``.

    A new one is a frozen dataclass, registered under the kind ``condition``, with :meth:`shape` and :meth:`__call__`.

    >>> import elucidiff as ed
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class TopRow(ed.data.Condition):
    ...     def shape(self, image):
    ...         return (image[0], 1, *image[2:])
    ...
    ...     def __call__(self, images, rows):
    ...         return images[:, :, :1]
    ...
    >>> dataset = ed.data.open("digits", condition=TopRow())
    >>> dataset.condition_shape, dataset.conditions([0, 1]).shape
    ((1, 1, 8), torch.Size([2, 1, 1, 8]))
    """

    @abstractmethod
    def shape(self, image: Shape) -> Shape:
        """Shape ``(C, *spatial)`` of the field of an image of shape ``image``.

        Raises:
            ValueError: there is none of such images.
        """

    @abstractmethod
    def __call__(self, images: Images, rows: Rows) -> Images:
        """The fields of images.

        Args:
            images: uint8 or floating point ``(B, C, *spatial)``.
            rows: the number of each in its data set, ``(B,)``, for what is drawn: the same each time it is asked for.

        Returns:
            ``(B, *shape)``, of the type of the images.
        """


@part("condition", "downsample")
@dataclass(frozen=True)
class Downsample(Condition):
    """The mean over blocks of ``factor`` values along each axis, for super-resolution and downscaling.

    With y the image and f the factor, in two dimensions: c[i, j] = mean of y[f i : f i + f, f j : f j + f].

    Args:
        factor: how many times smaller the field is along each axis; it divides all sides.

    Raises:
        ValueError: the factor is below 2.

    >>> import elucidiff as ed
    >>> dataset = ed.data.open("digits", condition="downsample:4")
    >>> image, field = dataset.images([0]).float(), dataset.conditions([0]).float()
    >>> field.shape, round(float(image[..., :4, :4].mean())) == float(field[0, 0, 0, 0])
    (torch.Size([1, 1, 2, 2]), True)
    """

    factor: int = 4

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise ValueError(f"factor is {self.factor}, but must be at least 2")

    def shape(self, image: Shape) -> Shape:
        """See the base class."""
        if any(side % self.factor for side in image[1:]):
            sides = "x".join(map(str, image[1:]))
            raise ValueError(f"the condition {to_text(self)} does not divide images of {sides}: choose a divisor")
        return (image[0], *(side // self.factor for side in image[1:]))

    def __call__(self, images: Images, rows: Rows) -> Images:
        """See the base class."""
        sides = self.shape(images.shape[1:])[1:]
        blocks = images.reshape(*images.shape[:2], *(size for side in sides for size in (side, self.factor)))
        means = blocks.mean(tuple(range(3, blocks.ndim, 2)), dtype=np.float64)
        return _of_type(means, images.dtype)


@part("condition", "grayscale")
@dataclass(frozen=True)
class Grayscale(Condition):
    """The luminance of an RGB picture, for colouring: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).

    >>> import elucidiff as ed
    >>> import numpy as np
    >>> red = np.zeros((1, 3, 2, 2), np.uint8)
    >>> red[:, 0] = 255
    >>> int(ed.data.Dataset.from_arrays(red, conditions="grayscale").conditions()[0, 0, 0, 0])
    76
    """

    def shape(self, image: Shape) -> Shape:
        """See the base class."""
        if image[0] not in (3, 4):
            raise ValueError(f"the condition {to_text(self)} is of pictures in colour, not of {image[0]} channels")
        return (1, *image[1:])

    def __call__(self, images: Images, rows: Rows) -> Images:
        """See the base class."""
        luma = np.einsum("bc...,c->b...", images[:, :3].astype(np.float64), np.array(_LUMA))
        return _of_type(luma[:, None], images.dtype)


@part("condition", "mask")
@dataclass(frozen=True)
class Mask(Condition):
    """The image outside a box, for filling in: its channels, grey in the box, and one that is white where it is
    known.

    Each image has a box of its own, somewhere within it, that is the same in every epoch.

    Args:
        share: of the image that the box covers; its sides are those of the image times the root of that (the cubic
            root in three dimensions).

    Raises:
        ValueError: the share is not between 0 and 1.

    >>> import elucidiff as ed
    >>> known = ed.data.open("digits", condition="mask:0.25").conditions([0])[0, -1]
    >>> known.shape, int((known == 0).sum())  # a quarter of 8 x 8
    (torch.Size([8, 8]), 16)
    """

    share: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share:g}, but must be between 0 and 1")

    def shape(self, image: Shape) -> Shape:
        """See the base class."""
        return (image[0] + 1, *image[1:])

    def __call__(self, images: Images, rows: Rows) -> Images:
        """See the base class."""
        sides = images.shape[2:]
        white = 255 if images.dtype.kind == "u" else 1
        known = np.full((len(images), 1, *sides), white, images.dtype)
        fields = np.concatenate([images, known], axis=1)
        box = [max(1, min(side, round(side * self.share ** (1 / len(sides))))) for side in sides]
        for field, row in zip(fields, rows.tolist(), strict=True):
            # NumPy keeps the stream of RandomState the same for ever.
            draws = np.random.RandomState(row % 2**32)
            starts = [draws.randint(side - length + 1) for side, length in zip(sides, box, strict=True)]
            where = tuple(slice(start, start + length) for start, length in zip(starts, box, strict=True))
            field[(slice(None), *where)] = _MIDDLE[images.dtype.kind]
            field[(-1, *where)] = 0
        return fields


@part("condition", "column")
@dataclass(frozen=True)
class Column(Condition):
    """Another array of the file of the images, such as ``column:low`` of a ``.npz``, or another column of a Parquet
    file.

    Args:
        name: of the array or column.

    >>> import elucidiff as ed, numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/pairs.npz", images=np.zeros((5, 1, 8, 8), "f4"), low=np.ones((5, 2, 4, 4), "f4"))
    ...     dataset = ed.data.open(f"{folder}/pairs.npz", condition="column:low")
    ...     dataset.shape, dataset.condition_shape
    ((1, 8, 8), (2, 4, 4))
    """

    name: str

    def shape(self, image: Shape) -> Shape:
        """There is none without the file.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"the condition {to_text(self)} is read from a file, and these images are not in one")

    def __call__(self, images: Images, rows: Rows) -> Images:
        """See :meth:`shape`."""
        raise ValueError(f"the condition {to_text(self)} is read from a file, and these images are not in one")


class Derived:
    """A source of fields that are made from images as they are asked for.

    Args:
        images: the source of the images.
        condition: makes them.
    """

    def __init__(self, images: Source, condition: Condition) -> None:
        self._images, self.condition = images, condition
        self.dtype: np.dtype[Any] = images.dtype

    @cached_property
    def shape(self) -> Shape:
        """Shape ``(C, *spatial)`` of a field.

        Raises:
            ValueError: there is no such field of these images.
        """
        return self.condition.shape(self._images.shape)

    @property
    def strewn(self) -> bool:
        """See :class:`elucidiff.data.sources.Strewn`."""
        return isinstance(self._images, Strewn) and self._images.strewn

    def __len__(self) -> int:
        return len(self._images)

    def read(self, rows: Rows) -> Images:
        return np.ascontiguousarray(self.condition(self._images.read(rows), rows))


class Remembered:
    """Fields that were read into memory, and know what made them.

    Args:
        fields: in memory.
        made: as they were before.
    """

    def __init__(self, fields: Source, made: Source) -> None:
        self._fields, self.made = fields, described(made)
        self.shape: Shape = fields.shape
        self.dtype: np.dtype[Any] = fields.dtype

    def __len__(self) -> int:
        return len(self._fields)

    def read(self, rows: Rows) -> Images:
        return self._fields.read(rows)


def described(fields: Source) -> str:
    """The maker of fields from their images, as :func:`elucidiff.data.open` takes it; empty if they were stored."""
    if isinstance(fields, Remembered):
        return fields.made
    return to_text(fields.condition) if isinstance(fields, Derived) else ""


def _of_type(values: Images, dtype: np.dtype[Any]) -> Images:
    """8-bit levels are rounded to the nearest."""
    return (np.rint(values) if dtype.kind == "u" else values).astype(dtype)
