"""Labels of a data set: a class for each image, or a vector of numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from elucidiff.untrusted import printable

if TYPE_CHECKING:
    from elucidiff.denoisers.shapes import LabelKind

# One-hot rows of more classes than this would not fit a network, let alone memory; it is a sign of wrong numbers.
MOST_CLASSES = 1 << 16
_WORDS_OF_A_NAME = 3


@dataclass(frozen=True, eq=False)
class Labels:
    """A label for each image.

    Attributes:
        values: classes, int64 ``(N,)``, or vectors, float32 ``(N, dim)``.
        dim: number of classes, or of numbers in a vector.
        names: of the classes; empty where they have none, and are 0 to ``dim - 1``.
    """

    values: npt.NDArray[Any]
    dim: int
    names: tuple[str, ...] = ()

    @classmethod
    def from_array(
        cls,
        values: npt.ArrayLike,
        count: int,
        where: str,
        names: tuple[str, ...] = (),
        *,
        classes: int | None = None,
    ) -> Labels:
        """Check labels that came from a file.

        Args:
            values: classes as integers ``(N,)`` or one-hot rows of any type ``(N, dim)``; or vectors, in floating
                point, ``(N, dim)`` or, of one number, ``(N,)``. What could be either is refused: floating-point
                ``(N,)`` that are all whole numbers, and integers ``(N, dim)`` that are not one-hot. Integers are
                places in ``names``, or among ``classes``, where these are known. Else they may be any numbers: if
                they are not 0 to K - 1, each of them there, they are mapped to that in their order, and are the
                classes' names from then on.
            count: N, the number of images.
            where: the file, for the message.
            names: of the classes.
            classes: how many there are, whether they have names or images or not.

        Raises:
            ValueError: labels of another shape, type or number, labels that may be classes or vectors, classes out of
                range, numbers that are not finite.
        """
        values = np.asarray(values)
        if values.dtype.kind not in "uif" or values.ndim not in (1, 2) or (values.ndim == 2 and not values.shape[1]):
            raise ValueError(
                f"{where}: labels are {values.dtype} {values.shape}, but must be classes (N,) or vectors (N, dim)"
            )
        if len(values) != count:
            raise ValueError(f"{where}: there are {len(values)} labels for {count} images")
        if values.ndim == 2 and values.shape[1] > MOST_CLASSES:
            raise ValueError(f"{where}: a label is {values.shape[1]:,} numbers, but may be {MOST_CLASSES:,} at most")
        if values.ndim == 1 and values.dtype.kind != "f":
            known = len(names) if classes is None else classes
            if known:
                _check_count(known, where)
            return cls._places(values, where, names, known) if known else cls._numbered(values, where)
        # Values beyond float32's become infinite, and are refused as such.
        with np.errstate(over="ignore"):
            vectors = np.ascontiguousarray(values.reshape(count, -1), dtype=np.float32)
        if not np.isfinite(vectors).all():
            row = int(np.argwhere(~np.isfinite(vectors))[0][0])
            raise ValueError(f"{where}: the label of image {row} is not finite")
        if vectors.shape[1] > 1 and np.isin(vectors, (0, 1)).all() and (vectors.sum(1) == 1).all():
            return cls(vectors.argmax(1).astype(np.int64), vectors.shape[1], names)
        if values.dtype.kind != "f" or (values.ndim == 1 and (vectors == vectors.round()).all()):
            raise ValueError(
                f"{where}: labels are {values.dtype} {values.shape} of whole numbers, which may be classes or"
                " vectors: save classes as integers (N,), vectors as floating point (N, dim)"
            )
        return cls(vectors, vectors.shape[1])

    @classmethod
    def from_names(cls, names: Sequence[str], where: str) -> Labels:
        """Classes by the name of each image's: sub-folders, or a column of strings.

        The classes are in the order of :func:`in_order`, so 10 comes after 2.

        Args:
            names: one an image.
            where: the file, for the message.

        Raises:
            ValueError: there are more different names than a network can tell apart.
        """
        names = [printable(name) for name in names]
        classes = in_order(set(names))
        _check_count(len(classes), where)
        place = {name: index for index, name in enumerate(classes)}
        return cls(np.array([place[name] for name in names], dtype=np.int64), len(classes), classes)

    @classmethod
    def _places(cls, values: npt.NDArray[Any], where: str, names: tuple[str, ...], classes: int) -> Labels:
        outside = np.flatnonzero((values < 0) | (values >= classes))
        if len(outside):
            row = int(outside[0])
            raise ValueError(f"{where}: the label of image {row} is {values[row]}, out of range 0..{classes - 1}")
        return cls(values.astype(np.int64), classes, names)

    @classmethod
    def _numbered(cls, values: npt.NDArray[Any], where: str) -> Labels:
        numbers, places = np.unique(values, return_inverse=True)
        _check_count(len(numbers), where)
        without_gaps = int(numbers[0]) == 0 and int(numbers[-1]) == len(numbers) - 1
        names = () if without_gaps else tuple(str(number) for number in numbers.tolist())
        return cls(places.reshape(-1).astype(np.int64), len(numbers), names)

    @property
    def kind(self) -> LabelKind:
        """``"classes"`` if each image has one of some classes, ``"vectors"`` if it has a vector."""
        return "classes" if self.values.ndim == 1 else "vectors"

    @property
    def length(self) -> float:
        """Root mean square length of a label row: 1 for classes, whose rows are one-hot."""
        return 1.0 if self.kind == "classes" else math.sqrt(np.square(self.values, dtype=np.float64).sum(1).mean())

    def select(self, rows: npt.NDArray[np.int64]) -> Labels:
        """The labels of some of the images; the number of classes stays."""
        return Labels(self.values[rows], self.dim, self.names)

    def rows(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Labels as a network takes them: one-hot rows or vectors, float32 ``(len(rows), dim)``."""
        if self.kind == "vectors":
            return np.asarray(self.values[rows], dtype=np.float32)
        out = np.zeros((len(rows), self.dim), dtype=np.float32)
        out[np.arange(len(rows)), self.values[rows]] = 1
        return out


def are_names_of_classes(texts: Sequence[str]) -> bool:
    """True if text that is not called a label may be one: names of classes are short, and come again and again.

    Captions are long, or each is there once.
    """
    different = set(texts)
    short = all(len(text.split()) <= _WORDS_OF_A_NAME for text in different)
    return 2 * len(different) <= len(texts) or (short and len(different) < len(texts))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names in natural order: digits count as numbers, so "9" and "a9" come before "10" and "a10"."""
    return tuple(sorted(names, key=_natural))


def _natural(name: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """Text and numbers take turns, beginning with text. A number is compared by its length, then by its digits."""
    parts = re.split(r"(\d+)", name, flags=re.ASCII)
    key = tuple((len(part.lstrip("0")), part.lstrip("0")) if place % 2 else part for place, part in enumerate(parts))
    return key, name  # "01" and "1" are two names


def _check_count(classes: int, where: str) -> None:
    if not 1 <= classes <= MOST_CLASSES:
        raise ValueError(
            f"{where}: the labels are {classes:,} different classes, but must be 1 to {MOST_CLASSES:,}: save numbers "
            "to be trained on as such as floating point"
        )
