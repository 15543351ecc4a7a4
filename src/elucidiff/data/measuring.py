"""Read all of a data set once, and add up what is found."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.data.duplicates import digest, thumbnails
from elucidiff.data.scaling import to_unit
from elucidiff.data.subject import Subject

Progress = Callable[[str, int, int], None]

_CHUNK = 256
_CHUNK_VALUES = 1 << 22
# For what needs many images at once: distances, spectrum, posterior.
_SAMPLE = 2048
_SAMPLE_VALUES = 1 << 25


@dataclass
class Measurements:
    """Sums over the images that were read so far.

    Attributes:
        subject: what is measured.
        seed: of the draw of :attr:`sample`.
        lowest, highest: value.
        places: positions of the images that could be read.
        broken: what is wrong with the others.
        digests: of each image that could be read, equal for equal images.
        thumbnails: of each image, in pieces; none for data that are not images.
        sample: some of the images, in pieces, evenly drawn.
    """

    subject: Subject
    seed: int
    lowest: float = math.inf
    highest: float = -math.inf
    places: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    thumbnails: list[npt.NDArray[np.float32]] = field(default_factory=list)
    sample: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        dataset = self.subject.dataset
        self.sums = torch.zeros(dataset.shape[0], dtype=torch.float64)
        self.squares = torch.zeros(dataset.shape[0], dtype=torch.float64)
        self.values = math.prod(dataset.shape[1:])
        self.generator = torch.Generator().manual_seed(self.seed)
        size = min(_SAMPLE, max(2, _SAMPLE_VALUES // math.prod(dataset.shape)))
        self._wanted = torch.zeros(len(dataset), dtype=torch.bool)
        self._wanted[torch.randperm(len(dataset), generator=self.generator)[:size]] = True

    def measure(self, progress: Progress | None) -> None:
        """Read every image. Those that cannot be read count as broken."""
        dataset = self.subject.dataset
        size = min(_CHUNK, max(1, _CHUNK_VALUES // math.prod(dataset.shape)))
        for start in range(0, len(dataset), size):
            places = list(range(start, min(start + size, len(dataset))))
            try:
                self._add(places, dataset.images(places))
            except ValueError:
                for place in places:
                    try:
                        self._add([place], dataset.images([place]))
                    except ValueError as error:
                        self.broken.append(str(error))
            if progress is not None:
                progress("measuring", places[-1] + 1, len(dataset))

    def _add(self, places: list[int], stored: Tensor) -> None:
        images = to_unit(stored)
        flat = images.flatten(2) if images.ndim > 2 else images[..., None]
        wide = flat.double()
        self.sums += wide.sum((0, 2))
        self.squares += wide.square().sum((0, 2))
        self.lowest = min(self.lowest, float(images.min()))
        self.highest = max(self.highest, float(images.max()))
        self.places += places
        self.digests += [digest(image) for image in stored]
        if images.ndim == 4:
            self.thumbnails.append(thumbnails(images))
        self.sample.append(images[self._wanted[places]])

    def shuffled_sample(self) -> Tensor:
        """The sample ``(N, C, *spatial)``, in units of the noise levels."""
        sample = torch.cat(self.sample)
        return sample[torch.randperm(len(sample), generator=self.generator)]

    def norm(self) -> float:
        """Root of the mean square of an image's Euclidean norm."""
        return math.sqrt(float(self.squares.sum()) / len(self.places))

    def global_moments(self) -> tuple[float, float]:
        """Mean and standard deviation of all values."""
        values = len(self.places) * self.values * len(self.sums)
        mean = float(self.sums.sum()) / values
        return mean, math.sqrt(max(float(self.squares.sum()) / values - mean**2, 0.0))

    def channel_moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and standard deviations of the values of each channel."""
        means = self.sums / (len(self.places) * self.values)
        variances = self.squares / (len(self.places) * self.values) - means.square()
        return tuple(means.tolist()), tuple(variances.clamp_min(0).sqrt().tolist())
