"""Measure a data set, and say what it means for training."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.data.dataset import Dataset
from elucidiff.data.inspection import Measurements, Progress, Subject, exact_groups, near_pairs, open_subject
from elucidiff.data.normalisation import Automatic, choose_scaling
from elucidiff.data.recommending import (
    Recommendation,
    recommend_resolution,
    recommend_sigma_data,
    recommend_sigma_max,
    recommend_sigma_min,
    recommend_training_noise,
)
from elucidiff.data.scaling import Pixels, Scaling
from elucidiff.data.spectrum import ErrorCurve, error_curve, frequency_variances
from elucidiff.data.subsets import Places, evenly_spread

# A single odd sample decides nothing.
_FAR = 0.99
_KNOWN_BY = 64


@dataclass(frozen=True)
class Report:
    """Statistics of a data set.

    Means, standard deviations of channels and ranges are in the units of the data, 8-bit images in [-1, 1]; what
    noise levels go by (sigma_data, distances, recommendations) is in those of a denoiser, which sees the data scaled.

    Attributes:
        name: of the data set.
        count: number of images that could be read.
        shape: ``(C, *spatial)`` of the images that were measured; where they differ in size, after a centre crop to
            the recommended resolution.
        dtype: of the stored images.
        sizes: number of images of each shape.
        broken: images that cannot be read, with what is wrong.
        unreadable: positions of those of them whose header is sound.
        label_dim: of the labels, 0 without.
        label_length: root mean square length of the label rows: 1 for classes, and best about 1 for vectors.
        class_names: where they have names.
        class_counts: number of images of each class; empty without classes.
        hidden: number of 8-bit images with alpha that have colours where they are wholly transparent.
        normalise: how to scale them for a denoiser, not measured, and
        normalise_reason: why.
        mean: of all values.
        sigma_data: standard deviation of the scaled data, about each channel's mean:
            :attr:`~elucidiff.data.moments.Moments.sigma_data`.
        channel_means, channel_sigmas: mean and standard deviation of each channel.
        lowest, highest: value.
        missing: share of the values that are missing (NaN).
        norm: root of the mean square of an image's Euclidean distance from the channels' means.
        nearest_distance: median distance of an image in a sample of the data to the nearest other one.
        largest_distance: between two images of that sample.
        duplicates: groups of equal images, as positions.
        near_duplicates: pairs of images whose thumbnails hardly differ, (earlier, later), equal ones left out; empty
            for data that are not images.
        compared: how many images were searched for such pairs, evenly spread over the data.
        curve: how well denoisers that need no training do at each noise level.
        recommendations: settings, each with its reason.
        fingerprint: :func:`fingerprint_of` the images that could be read.

    >>> import elucidiff as ed
    >>> report = ed.data.inspect(ed.data.Dataset.from_arrays(torch.arange(64, dtype=torch.uint8).reshape(4, 1, 4, 4)))
    >>> report.count, report.shape, report.duplicates
    (4, (1, 4, 4), ())
    """

    name: str
    count: int
    shape: tuple[int, ...]
    dtype: str
    sizes: dict[tuple[int, ...], int]
    broken: tuple[str, ...]
    unreadable: tuple[int, ...]
    label_dim: int
    label_length: float
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    hidden: int
    normalise: str
    normalise_reason: str
    mean: float
    sigma_data: float
    channel_means: tuple[float, ...]
    channel_sigmas: tuple[float, ...]
    lowest: float
    highest: float
    missing: float
    norm: float
    nearest_distance: float
    largest_distance: float
    duplicates: tuple[tuple[int, ...], ...]
    near_duplicates: tuple[tuple[int, int], ...]
    compared: int
    curve: ErrorCurve
    recommendations: tuple[Recommendation, ...]
    fingerprint: str

    @property
    def readable(self) -> Places:
        """Positions of the images that could be read."""
        return np.setdiff1d(np.arange(self.count + len(self.unreadable)), self.unreadable)

    def recommended(self, setting: str) -> float:
        """The value recommended for a setting: sigma_data, sigma_min, sigma_max, p_mean, p_std or resolution."""
        return next(found.value for found in self.recommendations if found.setting == setting)


def inspect(
    source: Subject | Dataset | str | os.PathLike[str],
    *,
    seed: int = 0,
    progress: Progress | None = None,
    normalise: Scaling = Automatic(),  # noqa: B008 (frozen)
) -> Report:
    """Read all of a data set once, measure it, and recommend settings for training.

    Images that are broken are listed, and those of a folder or archive may differ in size.

    Args:
        source: a data set, or its name or path as for :func:`elucidiff.data.open`, or what
            :func:`~elucidiff.data.inspection.open_subject` made of them.
        seed: of the sample for distances and the error curve.
        progress: called as ``progress("measuring", done, total)``.
        normalise: how floating-point data are to be scaled for a denoiser.

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError: it is damaged as a whole, fewer than two images can be read, all their values are the same, or
            they cannot be scaled as it was asked for.

    >>> import elucidiff as ed
    >>> report = ed.data.inspect("digits")
    >>> report.count, report.shape, report.label_dim, round(report.sigma_data, 2)
    (1797, (1, 8, 8), 10, 0.75)
    """
    subject = source if isinstance(source, Subject) else open_subject(source)
    chosen, reason = _scaling(subject.dataset, normalise)
    found = Measurements(subject, seed, chosen.measured(subject.dataset))
    found.measure(progress)
    dataset, stored, moments, places = subject.dataset, found.stored, found.moments, found.places
    count = len(places)
    if count < 2:
        raise ValueError(f"{dataset.name} holds {count} images that can be read; at least 2 are needed")
    if stored.lowest == stored.highest:
        raise ValueError(f"every value in {dataset.name} is {stored.lowest:g}: there is nothing to learn")
    sigma = moments.sigma_data
    if sigma == 0:
        raise ValueError(f"every channel of {dataset.name} has one value everywhere: there is nothing to learn")
    sample = found.shuffled_sample()
    nearest, far, largest = _distances(sample)
    curve = error_curve(sample, found.generator)
    is_8_bit = dataset.dtype == torch.uint8
    spectrum = frequency_variances(sample) if is_8_bit and sample.ndim == 4 else None
    recommendations = [
        recommend_sigma_data(moments, is_8_bit),
        recommend_sigma_min(sigma, is_8_bit),
        recommend_sigma_max(moments.norm, far),
        *recommend_training_noise(curve, sigma),
    ]
    resolution = recommend_resolution(subject.sizes, spectrum) if is_8_bit else None
    equal = exact_groups(found.digests)
    again = {place for group in equal for place in group[1:]}
    compared, small = found.compared
    return Report(
        name=dataset.name,
        count=count,
        shape=dataset.shape,
        dtype=str(dataset.dtype).removeprefix("torch."),
        sizes=dict(subject.sizes),
        broken=(*subject.broken, *found.broken),
        unreadable=tuple(np.setdiff1d(np.arange(len(dataset)), places).tolist()),
        label_dim=dataset.label_dim,
        label_length=dataset.label_length,
        class_names=dataset.class_names,
        class_counts=_class_counts(dataset, places),
        hidden=found.hidden,
        normalise=parts.to_text(chosen),
        normalise_reason=reason,
        mean=stored.mean,
        sigma_data=sigma,
        channel_means=tuple(stored.means.tolist()),
        channel_sigmas=tuple(stored.channel_stds.tolist()),
        lowest=stored.lowest,
        highest=stored.highest,
        missing=stored.missing,
        norm=moments.norm,
        nearest_distance=nearest,
        largest_distance=largest,
        duplicates=tuple(tuple(int(places[row]) for row in group) for group in equal),
        near_duplicates=tuple(
            (int(compared[first]), int(compared[second]))
            for first, second in near_pairs(small)
            if int(np.searchsorted(places, compared[second])) not in again
        ),
        compared=len(compared),
        curve=curve,
        recommendations=tuple(recommendations if resolution is None else [*recommendations, resolution]),
        fingerprint=fingerprint_of(dataset, places),
    )


def _scaling(dataset: Dataset, asked: Scaling) -> tuple[Scaling, str]:
    """The scaling that was asked for, or that suits the data, and why."""
    if isinstance(asked, Automatic) or (dataset.dtype == torch.uint8 and not isinstance(asked, Pixels)):
        return choose_scaling(dataset)
    return asked, "as it was given"


def report_file(name: str) -> Path:
    """The file in which ``elucidiff data inspect`` keeps what it found about a data set of this name, by default."""
    return Path("inspected") / (Path(name).name or "data") / "report.json"


def fingerprint_of(dataset: Dataset, places: Places | None = None) -> str:
    """A checksum that tells a data set from another of the same size without reading all of it: of 64 spread images.

    Args:
        dataset: the images.
        places: those that can be read; None for all.

    Returns:
        the sha256 of these images and their labels.
    """
    known = evenly_spread(np.arange(len(dataset)) if places is None else places, _KNOWN_BY)
    return dataset.select(known).verify().sha256


def _class_counts(dataset: Dataset, places: Places) -> tuple[int, ...]:
    classes = dataset.classes
    return () if classes is None else tuple(classes[places].bincount(minlength=dataset.label_dim).tolist())


def _distances(sample: Tensor) -> tuple[float, float, float]:
    """Median distance to the nearest other sample, the distance that 1% of the pairs exceed, and the largest."""
    flat = sample.flatten(1)
    distances = torch.cdist(flat, flat)
    pairs = distances[tuple(torch.triu_indices(len(flat), len(flat), 1))].numpy()
    far = float(np.quantile(pairs, _FAR, method="higher"))
    return float(distances.fill_diagonal_(math.inf).amin(1).median()), far, float(pairs.max())
