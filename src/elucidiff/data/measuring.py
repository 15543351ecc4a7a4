"""Read all of a data set once, and add up what is found.

What grows with the number of images is a few dozen bytes each, and lies in arrays made beforehand: small objects that
stay, made between pieces that go, would keep the allocator from giving those back.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.data.choosing import Places, evenly_spread
from elucidiff.data.duplicates import DIGEST, THUMBNAIL, digest, thumbnails
from elucidiff.data.moments import Moments
from elucidiff.data.scaling import to_unit
from elucidiff.data.subject import Subject

Progress = Callable[[str, int, int], None]

_CHUNK = 256
_CHUNK_VALUES = 1 << 20
# For what needs many images at once: distances, spectrum, posterior.
_SAMPLE = 2048
_SAMPLE_VALUES = 1 << 24
# Of more images, evenly spread ones are searched for those that are nearly equal.
_THUMBNAILS = 1 << 19


class Measurements:
    """What is known of the images that were read so far.

    Args:
        subject: what is measured.
        seed: of the draw of the sample.

    Attributes:
        moments: of all values.
        broken: what is wrong with the images that could not be read.
        hidden: number of images with colours under wholly transparent pixels.
    """

    def __init__(self, subject: Subject, seed: int) -> None:
        self.subject = subject
        self.moments, self.broken, self.hidden = Moments(), list[str](), 0
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
        images = to_unit(stored)
        self.moments.add(images)
        self._readable[places] = True
        for place, image in zip(places, stored, strict=True):
            self._digests[place] = np.frombuffer(digest(image), np.uint8)
        first, end = np.searchsorted(self._compared, [places[0], places[-1] + 1])
        if first < end:
            own = torch.from_numpy(self._compared[first:end] - places[0])
            self._thumbnails[first:end] = thumbnails(stored[own])
        self.hidden += _with_hidden_colours(stored)
        chosen = images[torch.from_numpy(self._wanted[places])]
        self._sample[self._sampled : self._sampled + len(chosen)] = chosen
        self._sampled += len(chosen)

    def shuffled_sample(self) -> Tensor:
        """The sample ``(N, C, *spatial)``, in units of the noise levels."""
        return self._sample[torch.randperm(self._sampled, generator=self.generator)]


def _with_hidden_colours(stored: Tensor) -> int:
    """How many of 8-bit images with alpha have more than one colour where they are wholly transparent."""
    if stored.dtype != torch.uint8 or stored.ndim != 4 or stored.shape[1] not in (2, 4):
        return 0
    colours, unseen = stored[:, :-1], stored[:, -1:] == 0
    highest = colours.masked_fill(~unseen, 0).flatten(2).amax(2)
    lowest = colours.masked_fill(~unseen, 255).flatten(2).amin(2)
    return int((highest > lowest).any(1).sum())
