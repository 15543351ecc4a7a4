"""Measure a data set, and say what it means for training."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from elucidiff.data.conversion import Conversion
from elucidiff.data.dataset import Dataset
from elucidiff.data.duplicates import exact_groups, near_pairs, thumbnails
from elucidiff.data.finding import find
from elucidiff.data.images import ImageFiles
from elucidiff.data.recommending import (
    Recommendation,
    recommend_resolution,
    recommend_sigma_data,
    recommend_sigma_max,
    recommend_sigma_min,
    recommend_training_noise,
)
from elucidiff.data.scaling import to_unit
from elucidiff.data.sources import Images, Rows
from elucidiff.data.spectrum import ErrorCurve, error_curve, frequency_variances

Progress = Callable[[str, int, int], None]

_CHUNK = 256
_CHUNK_VALUES = 1 << 22
# For what needs many images at once: distances, spectrum, posterior.
_SAMPLE = 2048
_SAMPLE_VALUES = 1 << 25


@dataclass(frozen=True)
class Report:
    """What a data set is like. Values are in the units of the noise levels: 8-bit images in [-1, 1].

    Attributes:
        name: of the data set.
        count: number of images that could be read.
        shape: ``(C, *spatial)`` of the images that were measured; where they differ in size, after a centre crop to
            the recommended resolution.
        dtype: of the stored images.
        sizes: number of images of each shape.
        broken: images that cannot be read, with what is wrong.
        label_dim: of the labels, 0 without.
        class_names: where they have names.
        class_counts: number of images of each class; empty without classes.
        mean: of all values.
        sigma_data: standard deviation of all values about their mean.
        channel_means, channel_sigmas: the same for each channel by itself.
        lowest, highest: value.
        norm: root of the mean square of an image's Euclidean norm.
        nearest_distance: median distance of an image in a sample of the data to the nearest other one.
        largest_distance: between two images of that sample.
        duplicates: groups of equal images, as positions.
        near_duplicates: pairs of images whose thumbnails hardly differ, (earlier, later), equal ones left out; empty
            for data that are not images.
        curve: how well denoisers that need no training do at each noise level.
        recommendations: settings, each with its reason.
    """

    name: str
    count: int
    shape: tuple[int, ...]
    dtype: str
    sizes: dict[tuple[int, ...], int]
    broken: tuple[str, ...]
    label_dim: int
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    mean: float
    sigma_data: float
    channel_means: tuple[float, ...]
    channel_sigmas: tuple[float, ...]
    lowest: float
    highest: float
    norm: float
    nearest_distance: float
    largest_distance: float
    duplicates: tuple[tuple[int, ...], ...]
    near_duplicates: tuple[tuple[int, int], ...]
    curve: ErrorCurve
    recommendations: tuple[Recommendation, ...]

    def recommended(self, setting: str) -> float:
        """The value recommended for a setting: sigma_data, sigma_min, sigma_max, p_mean, p_std or resolution."""
        return next(found.value for found in self.recommendations if found.setting == setting)


def inspect(source: Dataset | str | os.PathLike[str], *, seed: int = 0, progress: Progress | None = None) -> Report:
    """Read all of a data set once, measure it, and recommend settings for training.

    Images that are broken are listed, and those of a folder or archive may differ in size.

    Args:
        source: a data set, or its name or path as for :func:`elucidiff.data.open`.
        seed: of the sample for distances and the error curve.
        progress: called as ``progress("measuring", done, total)``.

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError: it is damaged as a whole, or fewer than two images can be read.
    """
    subject = _subject(source)
    found = _Measurements(subject.dataset, seed)
    _measure(subject, found, progress)
    if found.count < 2:
        raise ValueError(f"{subject.dataset.name} holds {found.count} images that can be read; at least 2 are needed")
    dataset = subject.dataset
    mean, sigma = found.global_moments()
    means, sigmas = found.channel_moments()
    norm = math.sqrt(float(found.squares.sum()) / found.count)
    sample = torch.cat(found.sample)[torch.randperm(found.sampled, generator=found.generator)]
    nearest, largest = _distances(sample)
    curve = error_curve(sample, found.generator)
    is_8_bit = dataset.dtype == torch.uint8
    spectrum = frequency_variances(sample) if is_8_bit and sample.ndim == 4 else None
    recommendations = [
        recommend_sigma_data(sigma, mean),
        recommend_sigma_min(sigma, is_8_bit),
        recommend_sigma_max(norm, largest),
        *recommend_training_noise(curve, sigma),
    ]
    resolution = recommend_resolution(subject.sizes, spectrum)
    equal = exact_groups(found.digests)
    again = {place for group in equal for place in group[1:]}
    return Report(
        name=dataset.name,
        count=found.count,
        shape=dataset.shape,
        dtype=str(dataset.dtype).removeprefix("torch."),
        sizes=dict(subject.sizes),
        broken=tuple(subject.broken),
        label_dim=dataset.label_dim,
        class_names=dataset.class_names,
        class_counts=_class_counts(dataset, found.places),
        mean=mean,
        sigma_data=sigma,
        channel_means=means,
        channel_sigmas=sigmas,
        lowest=found.lowest,
        highest=found.highest,
        norm=norm,
        nearest_distance=nearest,
        largest_distance=largest,
        duplicates=tuple(tuple(found.places[place] for place in group) for group in equal),
        near_duplicates=_near_duplicates(found, again),
        curve=curve,
        recommendations=tuple(recommendations if resolution is None else [*recommendations, resolution]),
    )


@dataclass(frozen=True)
class _Subject:
    dataset: Dataset
    sizes: Counter[tuple[int, ...]]
    broken: list[str]


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


def _subject(source: Dataset | str | os.PathLike[str]) -> _Subject:
    """The data set to measure, with all images that have a sound header brought to one size."""
    if isinstance(source, Dataset):
        return _Subject(source, Counter({source.shape: len(source)}), [])
    contents = find(source, alike=False)
    files, labels = contents.source, contents.labels
    if not isinstance(files, ImageFiles):
        dataset = Dataset(contents.name, files, labels, expected=contents.sha256)
        return _Subject(dataset, Counter({files.shape: len(files)}), [])
    sizes: Counter[tuple[int, ...]] = Counter()
    broken, rows = [], []
    for row in range(len(files)):
        try:
            sizes[files.header(row)] += 1
            rows.append(row)
        except ValueError as error:
            broken.append(str(error))
    if not rows:
        raise ValueError(f"{contents.name} holds no image that is not broken")
    files = ImageFiles(files.tree, [files.names[row] for row in rows])
    labels = None if labels is None else labels.select(np.array(rows))
    if len(sizes) == 1:
        return _Subject(Dataset(contents.name, files, labels), sizes, broken)
    resolution = recommend_resolution(sizes, None)
    side = int(resolution.value) if resolution else 0
    channels = Counter({shape[0]: 0 for shape in sizes})
    for shape, count in sizes.items():
        channels[shape[0]] += count
    conversion = Conversion((side, side), "centre", channels.most_common(1)[0][0])
    return _Subject(Dataset(contents.name, _Converted(files, conversion), labels), sizes, broken)


@dataclass
class _Measurements:
    """Sums over the images that were read so far."""

    dataset: Dataset
    seed: int
    count: int = 0
    lowest: float = math.inf
    highest: float = -math.inf
    places: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    thumbnails: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = field(default_factory=list)
    sample: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        channels = self.dataset.shape[0]
        self.sums = torch.zeros(channels, dtype=torch.float64)
        self.squares = torch.zeros(channels, dtype=torch.float64)
        self.values = math.prod(self.dataset.shape[1:])
        self.generator = torch.Generator().manual_seed(self.seed)
        size = min(_SAMPLE, max(2, _SAMPLE_VALUES // math.prod(self.dataset.shape)))
        self._wanted = torch.zeros(len(self.dataset), dtype=torch.bool)
        self._wanted[torch.randperm(len(self.dataset), generator=self.generator)[:size]] = True

    @property
    def sampled(self) -> int:
        return sum(map(len, self.sample))

    def add(self, places: list[int], stored: Tensor) -> None:
        images = to_unit(stored)
        flat = images.flatten(2) if images.ndim > 2 else images[..., None]
        wide = flat.double()
        self.sums += wide.sum((0, 2))
        self.squares += wide.square().sum((0, 2))
        self.lowest = min(self.lowest, float(images.min()))
        self.highest = max(self.highest, float(images.max()))
        self.count += len(places)
        self.places += places
        self.digests += [hashlib.blake2b(image.numpy().data, digest_size=16).digest() for image in stored]
        if images.ndim == 4:
            self.thumbnails.append(thumbnails(images))
        self.sample.append(images[self._wanted[places]])

    def global_moments(self) -> tuple[float, float]:
        values = self.count * self.values * len(self.sums)
        mean = float(self.sums.sum()) / values
        return mean, math.sqrt(max(float(self.squares.sum()) / values - mean**2, 0.0))

    def channel_moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        means = self.sums / (self.count * self.values)
        variances = self.squares / (self.count * self.values) - means.square()
        return tuple(means.tolist()), tuple(variances.clamp_min(0).sqrt().tolist())


def _measure(subject: _Subject, found: _Measurements, progress: Progress | None) -> None:
    dataset = subject.dataset
    size = min(_CHUNK, max(1, _CHUNK_VALUES // math.prod(dataset.shape)))
    for start in range(0, len(dataset), size):
        places = list(range(start, min(start + size, len(dataset))))
        try:
            found.add(places, dataset.images(places))
        except ValueError:
            for place in places:
                try:
                    image = dataset.images([place])
                except ValueError as error:
                    subject.broken.append(str(error))
                else:
                    found.add([place], image)
        if progress is not None:
            progress("measuring", places[-1] + 1, len(dataset))


def _class_counts(dataset: Dataset, places: list[int]) -> tuple[int, ...]:
    classes = dataset.classes
    return () if classes is None else tuple(classes[places].bincount(minlength=dataset.label_dim).tolist())


def _near_duplicates(found: _Measurements, again: set[int]) -> tuple[tuple[int, int], ...]:
    """Pairs of images that are nearly the same, without those that are equal to an earlier one."""
    if not found.thumbnails:
        return ()
    pairs = near_pairs(np.concatenate(found.thumbnails))
    return tuple((found.places[first], found.places[second]) for first, second in pairs if second not in again)


def _distances(sample: Tensor) -> tuple[float, float]:
    """Median distance to the nearest other sample, and the largest distance."""
    flat = sample.flatten(1)
    distances = torch.cdist(flat, flat)
    largest = float(distances.max())
    return float(distances.fill_diagonal_(math.inf).amin(1).median()), largest
