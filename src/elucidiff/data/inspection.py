"""Read all of a data set once, and add up what is found.

What grows with the number of images is a few dozen bytes each, and lies in arrays made beforehand: small objects that
stay, made between pieces that go, would keep the allocator from giving those back.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from elucidiff.data.dataset import Dataset
from elucidiff.data.finding import find
from elucidiff.data.fitting import Conversion
from elucidiff.data.images import ImageFiles
from elucidiff.data.latents import as_seen
from elucidiff.data.moments import Moments
from elucidiff.data.reading import AS_USUAL, Reading
from elucidiff.data.recommending import recommend_resolution
from elucidiff.data.scaling import Scaling, to_unit
from elucidiff.data.sources import Images, Rows
from elucidiff.data.subsets import Places, evenly_spread
from elucidiff.untrusted import printable

DIGEST, THUMBNAIL = 16, 64
"""Bytes of a digest, values of a thumbnail."""
_SIDE = 8
# Two images are nearly the same if their thumbnails differ by this much, root mean square in 8-bit levels:
# re-encoding or resizing an image changes its thumbnail by less.
_LEVELS_APART = 2.0
_DIRECTIONS = 8
_CANDIDATES = 4
_AT_ONCE = 1 << 16


def thumbnails(images: Tensor) -> npt.NDArray[np.float32]:
    """Grey pictures of 8 x 8 in 8-bit levels, ``(N, 64)``: what is left of an image after it was resized or
    re-encoded. 8-bit pictures with alpha are laid on white, as they are seen.

    Args:
        images: as they are stored, ``(N, C, H, W)``.
    """
    wide = to_unit(images)
    if images.dtype == torch.uint8 and images.shape[1] in (2, 4):
        opacity = (wide[:, -1:] + 1) / 2
        wide = wide[:, :-1] * opacity + (1 - opacity)
    grey = wide.mean(1, keepdim=True)
    small = torch.nn.functional.adaptive_avg_pool2d(grey, _SIDE).flatten(1)
    return (small * 127.5).numpy()


def digest(image: Tensor) -> bytes:
    """A checksum of a stored image: equal for equal images alone."""
    return hashlib.blake2b(image.numpy().data, digest_size=DIGEST).digest()


def exact_groups(digests: npt.NDArray[np.uint8]) -> list[list[int]]:
    """Groups of two and more equal digests ``(N, DIGEST)``, as positions, in the order of their first members."""
    words = np.ascontiguousarray(digests).view(np.uint64)
    order = np.lexsort(words.T)
    alike = (words[order[1:]] == words[order[:-1]]).all(1)
    # Where a run of equal ones begins and ends.
    edges = np.flatnonzero(np.diff(alike.astype(np.int8), prepend=0, append=0))
    return sorted(sorted(order[start : end + 1].tolist()) for start, end in edges.reshape(-1, 2))


def near_pairs(small: npt.NDArray[np.floating]) -> list[tuple[int, int]]:
    """Pairs of thumbnails that are nearly the same: for each the nearest one before it, as (earlier, later).

    Neighbours are searched for along the directions in which the thumbnails differ most, where they cannot be further
    apart than in all; of many that are close there only four are looked at.
    """
    if len(small) < 2:
        return []
    radius = _LEVELS_APART * np.sqrt(small.shape[1])
    pieces = np.array_split(small, len(small) // _AT_ONCE + 1)
    mean = sum(piece.sum(0, dtype=np.float64) for piece in pieces) / len(small)
    moments = sum((piece - mean).T @ (piece - mean) for piece in pieces)
    directions = np.linalg.eigh(moments)[1][:, -_DIRECTIONS:]
    projected = np.concatenate([(piece - mean) @ directions for piece in pieces])
    tree = cKDTree(projected)
    pairs = []
    for start in range(0, len(small), _AT_ONCE):
        query = projected[start : start + _AT_ONCE]
        neighbours = np.asarray(tree.query(query, k=_CANDIDATES + 1, distance_upper_bound=radius)[1])
        # Most have no other within reach: those that have are looked at one by one.
        for row in np.flatnonzero((neighbours < start + np.arange(len(query))[:, None]).any(1)):
            later = start + int(row)
            earlier = neighbours[row][neighbours[row] < later]
            distances = np.linalg.norm(small[earlier].astype(np.float32) - small[later].astype(np.float32), axis=1)
            if distances.min() <= radius:
                pairs.append((int(earlier[distances.argmin()]), later))
    return pairs


@dataclass(frozen=True)
class Subject:
    """A data set that is inspected; :func:`open_subject` makes it.

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
        """The name of the image at a position: its file, or its number."""
        return self.files[place] if self.files else f"image {place}"


def open_subject(source: Dataset | str | os.PathLike[str], reading: Reading = AS_USUAL) -> Subject:
    """Open a data set without refusing it for what inspecting is meant to find.

    Args:
        source: a data set, or its name or path as for :func:`elucidiff.data.open`. Latents are inspected as a
            denoiser sees them.
        reading: which reading to take where several are possible.

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError: it is damaged as a whole, or every image in it is broken.
    """
    if isinstance(source, Dataset):
        return Subject(as_seen(source), Counter({source.shape: len(source)}))
    contents = find(source, alike=False, reading=reading)
    files, labels = contents.source, contents.labels
    if not isinstance(files, ImageFiles):
        dataset = Dataset(
            contents.name,
            files,
            labels,
            expected=contents.sha256,
            notes=contents.notes,
            originals=contents.originals,
        )
        return Subject(as_seen(dataset), Counter({files.shape: len(files)}))
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


Progress = Callable[[str, int, int], None]

_CHUNK = 256
_CHUNK_VALUES = 1 << 20
# For what needs many images at once: distances, spectrum, posterior.
_SAMPLE = 2048
_SAMPLE_VALUES = 1 << 24
# Of more images, evenly spread ones are searched for those that are nearly equal.
_THUMBNAILS = 1 << 19


class Measurements:
    """Sums over the images that were read so far.

    Args:
        subject: what is measured.
        seed: of the draw of the sample.
        scaling: from the data to what a denoiser would see, measured.

    Attributes:
        stored: moments of all values, as they are stored (8-bit ones in [-1, 1]).
        moments: of all values as a denoiser would see them.
        broken: what is wrong with the images that could not be read.
        hidden: number of images with colours under wholly transparent pixels.
    """

    def __init__(self, subject: Subject, seed: int, scaling: Scaling) -> None:
        self.subject, self._scaling = subject, scaling
        self.stored, self.moments, self.broken, self.hidden = Moments(), Moments(), list[str](), 0
        self.generator = torch.Generator().manual_seed(seed)
        dataset = subject.dataset
        count = len(dataset)
        size = min(_SAMPLE, max(2, _SAMPLE_VALUES // math.prod(dataset.shape)), count)
        self._wanted = np.zeros(count, bool)
        self._wanted[torch.randperm(count, generator=self.generator)[:size].numpy()] = True
        self._sample, self._sampled = torch.empty(size, *dataset.shape), 0
        self._readable = np.zeros(count, bool)
        self._digests = np.empty((count, DIGEST), np.uint8)
        pictures = len(dataset.shape) == 3
        self._compared: Places = evenly_spread(np.arange(count), _THUMBNAILS if pictures else 0)
        self._thumbnails = np.empty((len(self._compared), THUMBNAIL), np.float16)

    @property
    def places(self) -> Places:
        """Positions of the images that could be read."""
        return np.flatnonzero(self._readable)

    @property
    def digests(self) -> npt.NDArray[np.uint8]:
        """Of each of them, equal for equal images, ``(N, DIGEST)``."""
        return self._digests[self._readable]

    @property
    def compared(self) -> tuple[Places, npt.NDArray[np.float16]]:
        """Positions of images that are searched for nearly equal ones, and their thumbnails."""
        sound = self._readable[self._compared]
        return self._compared[sound], self._thumbnails[sound]

    def measure(self, progress: Progress | None) -> None:
        """Read every image. Those that cannot be read count as broken."""
        dataset = self.subject.dataset
        size = min(_CHUNK, max(1, _CHUNK_VALUES // math.prod(dataset.shape)))
        for start in range(0, len(dataset), size):
            places = np.arange(start, min(start + size, len(dataset)))
            try:
                self._add(places, dataset.images(places))
            except ValueError:
                for place in np.split(places, len(places)):
                    try:
                        self._add(place, dataset.images(place))
                    except ValueError as error:
                        self.broken.append(str(error))
            if progress is not None:
                progress("measuring", int(places[-1]) + 1, len(dataset))

    def _add(self, places: Places, stored: Tensor) -> None:
        images = self._scaling.to_model(stored)
        self.stored.add(to_unit(stored) if self._scaling.eight_bits else stored)
        self.moments.add(images)
        self._readable[places] = True
        for place, image in zip(places, stored, strict=True):
            self._digests[place] = np.frombuffer(digest(image), np.uint8)
        first, end = np.searchsorted(self._compared, [places[0], places[-1] + 1])
        if first < end:
            own = torch.from_numpy(self._compared[first:end] - places[0])
            shown = stored if self._scaling.eight_bits else images.nan_to_num(0.0)
            self._thumbnails[first:end] = thumbnails(shown[own])
        self.hidden += _with_hidden_colours(stored)
        chosen = images.nan_to_num(0.0)[torch.from_numpy(self._wanted[places])]
        self._sample[self._sampled : self._sampled + len(chosen)] = chosen
        self._sampled += len(chosen)

    def shuffled_sample(self) -> Tensor:
        """The sample ``(N, C, *spatial)``, as a denoiser would see it."""
        return self._sample[torch.randperm(self._sampled, generator=self.generator)]


def _with_hidden_colours(stored: Tensor) -> int:
    """Number of 8-bit images with alpha and more than one colour where they are wholly transparent."""
    if stored.dtype != torch.uint8 or stored.ndim != 4 or stored.shape[1] not in (2, 4):
        return 0
    colours, unseen = stored[:, :-1], stored[:, -1:] == 0
    highest = colours.masked_fill(~unseen, 0).flatten(2).amax(2)
    lowest = colours.masked_fill(~unseen, 255).flatten(2).amin(2)
    return int((highest > lowest).any(1).sum())
