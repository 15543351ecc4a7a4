"""A data set: images, labels, and which of them are in it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.autoencoders.kept import KeptAutoencoder, kept_by
from elucidiff.data.arrays import from_memory
from elucidiff.data.conditions import Condition, Derived, Remembered, described
from elucidiff.data.imported import is_imported, open_imported, read_meta
from elucidiff.data.labels import Labels
from elucidiff.data.pairing import matched
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.sources import ArraySource, Images, Originals, Rows, Source, rows_at_once

if TYPE_CHECKING:
    from elucidiff.denoisers.shapes import LabelKind

Indices = Sequence[int] | Tensor | npt.NDArray[np.integer]

_BYTES_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Fingerprint:
    """The identity of a data set, by which a later one is found to be the same.

    Attributes:
        name: of the data set.
        shape: of an image.
        dtype: of the images, as NumPy names it.
        count: number of images.
        label_dim: of the labels, 0 without.
        sha256: of all images in order (C order, little-endian), then of all labels (classes as int64, or vectors as
            float32), then of all conditions. The same images in a folder, a zip or an imported set have the same one.
        condition_shape: of a condition, empty without.

    >>> import elucidiff as ed
    >>> dataset = ed.data.Dataset.from_arrays(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1, 1]))
    >>> fingerprint = dataset.verify()
    >>> fingerprint.count, fingerprint.shape, fingerprint.dtype, fingerprint.label_dim
    (3, (1, 4, 4), 'uint8', 2)
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    label_dim: int
    sha256: str
    condition_shape: tuple[int, ...] = ()


class Dataset(torch.utils.data.Dataset[tuple[Tensor, Tensor | None]]):
    """Images of one shape, with or without labels and conditions; ``elucidiff.data.open`` makes them.

    ``dataset[i]`` is ``(image, label)``: the image uint8 or floating point ``(C, *spatial)``, its label float32
    ``(label_dim,)``, one-hot for a class, or None without labels. ``dataset.images(indices)``,
    ``dataset.labels(indices)`` and ``dataset.conditions(indices)`` give whole batches and are much faster.

    Args:
        name: what to call it.
        source: where the images are read from.
        labels: one for each image of ``source``.
        rows: the images of ``source`` that are in the data set, in order; None for all.
        mirrored: which of ``rows`` are mirrored left-right; None for none.
        expected: the sha256 of all images that :meth:`verify` must find; None if nobody wrote it down.
        notes: how the data were read, where they could have been read in another way.
        conditions: fields that images are to be made for, one for each image of ``source``.
        originals: of latents, the pictures that ``source`` was made of.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        labels: Labels | None = None,
        *,
        rows: Rows | None = None,
        mirrored: npt.NDArray[np.bool_] | None = None,
        expected: str | None = None,
        notes: tuple[str, ...] = (),
        conditions: Source | None = None,
        originals: Originals | None = None,
    ) -> None:
        self.name = name
        self.notes = notes
        self._originals = originals
        self._source = source
        self._source_labels = labels
        self._source_conditions = conditions
        self._rows = np.arange(len(source)) if rows is None else rows
        self._mirrored = mirrored
        self._expected = expected

    @classmethod
    def from_arrays(
        cls,
        images: npt.ArrayLike | Tensor,
        labels: npt.ArrayLike | Tensor | None = None,
        *,
        conditions: npt.ArrayLike | Tensor | Condition | str | None = None,
        name: str = "arrays",
        reading: Reading = AS_USUAL,
    ) -> Dataset:
        """A data set of images that are in memory.

        ::

            >>> import numpy as np
            >>> dataset = Dataset.from_arrays(np.zeros((5, 3, 8, 8), np.uint8), labels=[0, 1, 2, 1, 0])
            >>> len(dataset), dataset.shape, dataset.label_dim
            (5, (3, 8, 8), 3)
            >>> Dataset.from_arrays(np.zeros((5, 3, 8, 8)), conditions=np.ones((5, 3, 2, 2))).conditions([4]).shape
            torch.Size([1, 3, 2, 2])

        Args:
            images: ``(N, C, *spatial)``, uint8 (0..255) or floating point, which keeps its values. Arrays of other
                shapes and types are read as from a ``.npy`` file; see :func:`elucidiff.data.open`.
            labels: classes, ``(N,)`` integers or text, or vectors, ``(N, label_dim)``.
            conditions: fields that images are to be made for, ``(N, C, *spatial)``, like ``images``, on a grid of any
                size; or what makes them of the images, such as ``"downsample:4"``.
            name: what to call it.
            reading: which reading to take where several are possible.

        Raises:
            ValueError: no images, values that are not finite, or labels or conditions that do not fit.
        """
        contents = from_memory(name, _array(images), None if labels is None else _array(labels), reading)
        notes = contents.notes
        fields: Source | None = None
        if isinstance(conditions, str | Condition):
            made: Condition = parts.resolve("condition", conditions)
            made.shape(contents.source.shape)  # refuses images of which it cannot be made
            fields = Derived(contents.source, made)
        elif conditions is not None:
            given = from_memory(f"conditions of {name}", _array(conditions), None, reading)
            notes, fields = (*notes, *given.notes), matched(contents, given)[0]
        for note in notes:
            warnings.warn(note, stacklevel=2)
        return cls(name, contents.source, contents.labels, notes=notes, conditions=fields)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image, ``(C, *spatial)``."""
        return self._source.shape

    @property
    def dtype(self) -> torch.dtype:
        """Type of the images: uint8 or floating point."""
        return torch.from_numpy(np.empty(0, self._source.dtype)).dtype

    @property
    def label_dim(self) -> int:
        """Number of classes, or of numbers in a label vector; 0 without labels."""
        return 0 if self._source_labels is None else self._source_labels.dim

    @property
    def label_kind(self) -> LabelKind | None:
        """Kind of the labels, ``"classes"`` or ``"vectors"``; None without labels."""
        return None if self._source_labels is None else self._source_labels.kind

    @property
    def label_length(self) -> float:
        """Root mean square length of the label rows: 1 for classes, whose rows are one-hot; 0 without labels.

        Networks are started for labels of about that length (1), whatever the number of classes.
        """
        return 0.0 if self._source_labels is None else self._source_labels.select(self._rows).length

    @property
    def classes(self) -> Tensor | None:
        """Class of each image, int64 ``(N,)``; None if there are no labels, or vectors."""
        if self._source_labels is None or self._source_labels.kind == "vectors":
            return None
        return torch.from_numpy(self._source_labels.values[self._rows])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty where they have none."""
        return () if self._source_labels is None else self._source_labels.names

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of images of each class, ``label_dim`` numbers; empty if there are no labels, or vectors."""
        classes = self.classes
        return () if classes is None else tuple(classes.bincount(minlength=self.label_dim).tolist())

    @property
    def condition_shape(self) -> tuple[int, ...]:
        """Shape ``(C, *spatial)`` of a condition; empty without."""
        return () if self._source_conditions is None else self._source_conditions.shape

    @property
    def condition_dtype(self) -> torch.dtype | None:
        """Type of the conditions, uint8 or floating point; None without."""
        if self._source_conditions is None:
            return None
        return torch.from_numpy(np.empty(0, self._source_conditions.dtype)).dtype

    @property
    def condition_made(self) -> str:
        """The maker of conditions from their images, such as ``downsample:factor=4``; empty if they are not."""
        return "" if self._source_conditions is None else described(self._source_conditions)

    @property
    def source_rows(self) -> Tensor:
        """The number of each image in its source, int64 ``(N,)``; an image and its mirror image share one."""
        return torch.from_numpy(self._rows)

    @property
    def mirrored(self) -> Tensor:
        """True for each image that is mirrored left-right, bool ``(N,)``."""
        if self._mirrored is None:
            return torch.zeros(len(self), dtype=torch.bool)
        return torch.from_numpy(self._mirrored)

    @property
    def autoencoder(self) -> KeptAutoencoder | None:
        """Of latents, what made them of pictures and makes pictures of them; None for other data.

        Raises:
            ValueError: what the set says of it is damaged, or it is a part that is not known.
        """
        if self._originals is None:
            return None
        return kept_by(self._originals.folder, self._originals.autoencoder)

    @property
    def pictures(self) -> Dataset | None:
        """Of latents, the pictures that they were made of, one by one; None for other data.

        Raises:
            OSError: they are not where they were.
            ValueError: other pictures are there now.
        """
        if self._originals is None:
            return None
        made = self._originals
        if not is_imported(made.place):
            raise FileNotFoundError(
                f"the pictures of the latents {self.name} are not at {made.place}: put them there, or encode them "
                "again"
            )
        if read_meta(made.place)["sha256"] != made.sha256:
            raise ValueError(f"{made.place} holds other pictures than the latents {self.name} were made of")
        contents = open_imported(made.place)
        return Dataset(
            contents.name, contents.source, contents.labels, rows=made.of(self._rows).rows, mirrored=self._mirrored
        )

    @property
    def nbytes(self) -> int:
        """Bytes that all images and conditions take in memory."""
        held = [each for each in (self._source, self._source_conditions) if each is not None]
        return len(self) * sum(int(np.prod(each.shape)) * each.dtype.itemsize for each in held)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | None]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Indices) -> list[tuple[Tensor, Tensor | None]]:
        """Several items at once; PyTorch's loaders call it with the indices of a batch."""
        images, labels = self.images(indices), self.labels(indices)
        return list(zip(images, [None] * len(images) if labels is None else labels, strict=True))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        return (self[index] for index in range(len(self)))

    def images(self, indices: Indices | None = None) -> Tensor:
        """A batch of images.

        Args:
            indices: which, ``(B,)``; negative ones count from the end. None: all.

        Returns:
            uint8 or floating point ``(B, C, *spatial)``.

        Raises:
            IndexError: an index out of range.
            OSError: a file cannot be read.
            ValueError: a file is damaged; the message names it.
        """
        return torch.from_numpy(self._read(self._source, self._places(indices)))

    def conditions(self, indices: Indices | None = None) -> Tensor | None:
        """A batch of conditions, uint8 or floating point ``(B, *condition_shape)``; None without.

        Those of mirrored images are mirrored, too.

        Args:
            indices: as for :meth:`images`.

        Raises:
            IndexError, OSError, ValueError: as :meth:`images`.
        """
        if self._source_conditions is None:
            return None
        return torch.from_numpy(self._read(self._source_conditions, self._places(indices)))

    def labels(self, indices: Indices | None = None) -> Tensor | None:
        """A batch of labels, float32 ``(B, label_dim)``, one-hot for classes; None without labels.

        Args:
            indices: as for :meth:`images`. With many classes, all rows together take much memory: see
                :attr:`classes`.
        """
        if self._source_labels is None:
            return None
        return torch.from_numpy(self._source_labels.rows(self._rows[self._places(indices)]))

    def select(self, indices: Indices) -> Dataset:
        """A data set of some of the images, in the order given."""
        places = self._places(indices)
        mirrored = None if self._mirrored is None else self._mirrored[places]
        return self._changed(rows=self._rows[places], mirrored=mirrored, expected=None)

    def without_labels(self) -> Dataset:
        """The same images, without their labels."""
        return self._changed(labels=None)

    def without_conditions(self) -> Dataset:
        """The same images, without their conditions."""
        return self._changed(conditions=None)

    def of_conditions(self) -> Dataset:
        """The conditions, as images of a data set of their own.

        Raises:
            ValueError: there are none.
        """
        if self._source_conditions is None:
            raise ValueError(f"{self.name} has no conditions")
        source, name = self._source_conditions, f"conditions of {self.name}"
        return Dataset(name, source, rows=self._rows, mirrored=self._mirrored, notes=self.notes)

    def with_mirror_images(self) -> Dataset:
        """The data set followed by all of it mirrored left-right, conditions as well."""
        mirrored = np.asarray(self.mirrored)
        return self._changed(
            rows=np.tile(self._rows, 2), mirrored=np.concatenate([mirrored, ~mirrored]), expected=None
        )

    def in_memory(self) -> Dataset:
        """The same data set with all it has (:attr:`nbytes`) read into memory, where every access is fast."""
        labels = None if self._source_labels is None else self._source_labels.select(self._rows)
        fields = self._source_conditions
        held: Source | None = None
        if fields is not None:
            held = self._held(fields)
            if described(fields):
                held = Remembered(held, fields)
        return self._changed(
            source=self._held(self._source),
            labels=labels,
            conditions=held,
            rows=None,
            mirrored=None,
            originals=None if self._originals is None else self._originals.of(self._rows),
        )

    def read_from(self, change: Callable[[Source], Source]) -> Dataset:
        """The data set with its images read through what ``change`` makes of their source, row by row the same."""
        return self._changed(source=change(self._source), expected=None)

    def _changed(self, **changes: Any) -> Dataset:
        """A data set like this but for some of the arguments that it was made of."""
        mine = {
            "source": self._source,
            "labels": self._source_labels,
            "conditions": self._source_conditions,
            "rows": self._rows,
            "mirrored": self._mirrored,
            "expected": self._expected,
            "notes": self.notes,
            "originals": self._originals,
        }
        return Dataset(self.name, **(mine | changes))

    def verify(self) -> Fingerprint:
        """Read every image, so that a damaged one is found before work starts.

        Returns:
            the data set's fingerprint.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file is damaged, or an imported set is no longer what was imported.
        """
        digest = hashlib.sha256()
        for _, chunk in self._chunks(self._source):
            digest.update(chunk.astype(chunk.dtype.newbyteorder("<"), copy=False).data)
        if self._expected not in (None, digest.hexdigest()):
            raise ValueError(f"{self.name} has changed since it was imported (checksums differ): import it again")
        if self._source_labels is not None:
            values = self._source_labels.values[self._rows]
            digest.update(values.astype(values.dtype.newbyteorder("<"), copy=False).data)
        if self._source_conditions is not None:
            for _, chunk in self._chunks(self._source_conditions):
                digest.update(chunk.astype(chunk.dtype.newbyteorder("<"), copy=False).data)
        dtype, about = str(self._source.dtype), self.condition_shape
        return Fingerprint(self.name, self.shape, dtype, len(self), self.label_dim, digest.hexdigest(), about)

    def _read(self, source: Source, places: Rows) -> Images:
        images = source.read(self._rows[places])
        if self._mirrored is not None:
            flip = self._mirrored[places]
            images[flip] = images[flip][..., ::-1]
        return images

    def _held(self, source: Source) -> ArraySource:
        """All that this data set has of a source, in memory."""
        images = np.empty((len(self), *source.shape), source.dtype)
        for places, chunk in self._chunks(source):
            images[places] = chunk
        return ArraySource(images)

    def _chunks(self, source: Source) -> Iterator[tuple[slice, Images]]:
        size = rows_at_once(source, _BYTES_AT_ONCE)
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield slice(start, stop), self._read(source, np.arange(start, stop))

    def _places(self, indices: Indices | None) -> Rows:
        if indices is None:
            return np.arange(len(self))
        places = np.asarray(indices, dtype=np.int64).reshape(-1)
        outside = (places < -len(self)) | (places >= len(self))
        if outside.any():
            raise IndexError(
                f"index {places[outside][0]} is out of range for {self.name}, which has {len(self)} images"
            )
        return np.where(places < 0, places + len(self), places)


def _array(values: npt.ArrayLike | Tensor) -> npt.NDArray[Any]:
    """NumPy has no bfloat16; float32 holds all its values."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)
