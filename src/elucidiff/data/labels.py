"""Labels of a data set: a class for each image, or a vector of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from elucidiff.denoisers.shapes import LabelKind

# One-hot rows of more classes than this would not fit a network, let alone memory; it is a sign of wrong numbers.
MOST_CLASSES = 1 << 16


@dataclass(frozen=True, eq=False)
class Labels:
    """A label for each image.

    Attributes:
        values: classes, int64 ``(N,)``, or vectors, float32 ``(N, dim)``.
        dim: number of classes, or of numbers in a vector.
        names: of the classes; empty where they have none.
    """

    values: npt.NDArray[Any]
    dim: int
    names: tuple[str, ...] = ()

    @classmethod
    def from_array(cls, values: npt.ArrayLike, count: int, where: str, names: tuple[str, ...] = ()) -> Labels:
        """Check labels that came from a file.

        Args:
            values: classes as integers ``(N,)`` or one-hot rows of any type ``(N, dim)``; or vectors, in floating
                point, ``(N, dim)`` or, of one number, ``(N,)``. What could be either is refused: floating-point
                ``(N,)`` that are all whole numbers, and integers ``(N, dim)`` that are not one-hot.
            count: N, the number of images.
            where: the file, for the message.
            names: of the classes.

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
        if values.ndim == 1 and values.dtype.kind != "f":
            return cls._classes(values, where, names)
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
    def _classes(cls, values: npt.NDArray[Any], where: str, names: tuple[str, ...]) -> Labels:
        most = len(names) or MOST_CLASSES
        outside = np.flatnonzero((values < 0) | (values >= most))
        if len(outside):
            row = int(outside[0])
            raise ValueError(f"{where}: the label of image {row} is {values[row]}, out of range 0..{most - 1}")
        return cls(values.astype(np.int64), len(names) or int(values.max()) + 1, names)

    @property
    def kind(self) -> LabelKind:
        """Whether each image has one of some classes, or a vector."""
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
