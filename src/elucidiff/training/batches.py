"""The data set as a run sees it, served in batches from any position; and all random numbers of a step.

These are a function of the seed and the step alone. No random state is carried from step to step, so there is none to
save: a resumed run, or one that splits its batches otherwise, draws the same numbers for the same images.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from elucidiff import data, parts
from elucidiff.augment import Augmentation
from elucidiff.augment.base import place
from elucidiff.data import Dataset, InfiniteOrder, Scaling
from elucidiff.data.gaps import measured_scaling
from elucidiff.data.given import ConditionScaling, told
from elucidiff.data.scaling import moments_of
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.shapes import LabelKind
from elucidiff.design.training_noise import TrainingNoise
from elucidiff.training.config import TrainingConfig


@dataclass(frozen=True)
class Draws:
    """Random draws for a batch of B images in one optimiser step.

    Attributes:
        level: base draws of the noise levels, ``(B,)``; ``Objective.noise.from_base`` makes them sigma.
        augmentation: parameters of each augmentation, ``(B,)`` or ``(2, B)``, on the CPU; empty without augmentation.
        noise: unit Gaussian noise, ``(B, C, *spatial)``.
    """

    level: Tensor
    augmentation: Mapping[str, Tensor]
    noise: Tensor

    def part(self, images: slice) -> Draws:
        """The draws of some of the images."""
        augmentation = {name: values[..., images] for name, values in self.augmentation.items()}
        return Draws(self.level[images], augmentation, self.noise[images])


def draw(
    seed: int,
    step: int,
    shape: tuple[int, ...],
    noise_levels: TrainingNoise,
    augment: Augmentation | None = None,
    device: torch.device | str = "cpu",
) -> Draws:
    """Draw for the whole batch of optimiser step ``step``.

    Levels, augmentations and noise have a generator each, so a run without augmentation sees the same noise as one
    with it. The first two are drawn on the CPU and are the same on every device; the noise is drawn on ``device``,
    because so many numbers would keep an accelerator waiting.

    Args:
        seed: the run's seed.
        step: number of the optimiser step.
        shape: shape of the batch, ``(B, C, *spatial)``.
        noise_levels: the distribution of noise levels, p_train.
        augment: the augmentation pipeline, or None.
        device: where the draws are wanted.
    """
    device = torch.device(device)
    count = shape[0]
    return Draws(
        level=place(noise_levels.base((count,), _generator(seed, "level", step)), device),
        augmentation=augment.draw(count, _generator(seed, "augmentation", step)) if augment else {},
        noise=torch.randn(shape, generator=_generator(seed, "noise", step, device), device=device),
    )


def mix(seed: int, *place: int | str) -> int:
    """A seed for one ``place`` of a run (a purpose, a step, an image), unrelated to the seeds of all other places."""
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch wants 63 bits


@contextlib.contextmanager
def seeded_layers(seed: int, step: int, first: int, device: torch.device) -> Iterator[None]:
    """Make what layers draw for themselves (dropout, label dropout) a function of seed, step and place in the batch.

    Layers draw from torch's global generators, which are put back as they were on leaving.

    Args:
        seed: the run's seed.
        step: number of the optimiser step.
        first: place, in the whole batch, of the first image that goes through the layers.
        device: where the layers are.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(mix(seed, "layers", step, first))
        yield


def _generator(seed: int, purpose: str, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(mix(seed, purpose, step))


# Larger sets stay where they are, and are checked and measured by a sample.
_MEMORY_BYTES = 2 << 30
_SAMPLE_IMAGES = 1024
# Of label vectors, a model keeps so many examples, or as many as make so many numbers.
_EXAMPLES, _EXAMPLE_NUMBERS = 256, 1 << 14
_PREVIEWED = 8

Batch = tuple[Tensor, Conditions | None]
Stored = tuple[Tensor, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class TrainingData:
    """A data set, checked and split; :meth:`open` makes it.

    Attributes:
        train: what is trained on.
        held_out: the images held out, or None.
        scaling: from their values to what the network sees, measured.
        identity: what must stay the same when a run is resumed.
        facts: what the trained model tells about its data.
        notes: lines for whoever starts the training.
        doubts: ways in which the data do not fit the settings, in a line each.
        condition_scaling: from conditions to what the network sees, measured; None without.
    """

    train: Dataset
    held_out: Dataset | None
    scaling: Scaling
    identity: Mapping[str, Any]
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    condition_scaling: ConditionScaling | None = None

    @classmethod
    def open(cls, config: TrainingConfig, dataset: Dataset | None = None) -> TrainingData:
        """Open what ``config.data`` names, or take ``dataset``.

        A set of up to 2 GiB is read into memory and checked as a whole. Of a larger one 1024 images, evenly spread,
        are checked now, and each batch when its turn comes. What is held out is the same for every seed.

        Raises:
            OSError: the data cannot be read.
            ValueError: they are damaged, not finite, lack channels, or are too few.
        """
        notes: list[str] = []
        if dataset is None:
            if not config.data:
                raise ValueError("there is nothing to train on: name a data set in data, or give a dataset")
            dataset = data.open(config.data, condition=config.condition)
            name = config.data
        else:
            name = dataset.name
        if len(dataset.shape) < 2:
            raise ValueError(
                f"the samples of {name} have shape {dataset.shape}, but must have channels and at least one "
                "spatial dimension: save signals as (N, C, length), volumes as (N, C, depth, height, width)"
            )
        if not config.conditional:
            dataset = dataset.without_labels()
        elif not dataset.label_dim and not dataset.condition_shape:
            notes.append(f"{name} has no labels, so it is trained on without labels (--no-conditional)")
        if _fits(dataset):
            sample = dataset = dataset.in_memory()
        else:
            sample = dataset.select(torch.linspace(0, len(dataset) - 1, _SAMPLE_IMAGES).long())
        fingerprint = sample.verify()
        scaling = measured_scaling(sample, config.normalise)
        moments = moments_of(sample, scaling.to_model)
        fields = ConditionScaling.measured(sample) if sample.condition_shape else None
        identity = {
            "shape": list(dataset.shape),
            "count": len(dataset),
            "label_dim": dataset.label_dim,
            **({"condition_shape": list(dataset.condition_shape)} if dataset.condition_shape else {}),
            "sha256": fingerprint.sha256,
        }
        held_out = None
        if config.validation_images:
            dataset, held_out = data.split(dataset, config.validation_images)
        facts = {
            "name": dataset.name,
            **identity,
            "dtype": str(dataset.dtype).removeprefix("torch."),
            "class_names": list(dataset.class_names),
            "class_counts": list(dataset.class_counts),
            "label_kind": dataset.label_kind,
            **({"label_examples": _label_examples(dataset)} if dataset.label_kind == "vectors" else {}),
            "scaling": parts.to_plain(scaling),
            **({"missing": moments.missing} if moments.missing else {}),
            **_facts_of_conditions(dataset, fields),
            "mean": moments.mean,
            "sigma_data": moments.sigma_data,
        }
        doubts = moments.misfits(dataset.name, config.sigma_data, scaling.eight_bits)
        return cls(dataset, held_out, scaling, identity, facts, tuple(notes), doubts, fields)

    @property
    def gaps(self) -> bool:
        """True if values may be missing: of a large set only a sample was looked at."""
        return "missing" in self.facts or (self.train.dtype != torch.uint8 and not _fits(self.train))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (C, *spatial) of an image."""
        return self.train.shape

    @property
    def label_dim(self) -> int:
        """Width of the labels to train with, 0 for none."""
        return self.train.label_dim

    @property
    def label_kind(self) -> LabelKind | None:
        """The kind of the labels; None for none."""
        return self.train.label_kind

    @property
    def condition_shape(self) -> tuple[int, ...]:
        """Shape (C, *spatial) of a condition; empty for none."""
        return self.train.condition_shape

    @property
    def preview_pairs(self) -> Dataset | None:
        """The pairs that previews are drawn for: of those held out, or trained on where none are; None without."""
        if not self.condition_shape:
            return None
        pairs = self.held_out or self.train
        return pairs.select(torch.linspace(0, len(pairs) - 1, min(len(pairs), _PREVIEWED)).long())

    def batches(
        self, config: TrainingConfig, images_seen: int, device: torch.device, share: slice = slice(None)
    ) -> Iterator[Batch]:
        """Batches of ``config.batch_size`` images without end, from position ``images_seen`` of the endless order.

        Args:
            config: the settings.
            images_seen: training images so far.
            device: where the batches are wanted.
            share: which images of every batch are wanted.

        Yields:
            images in units of the noise levels, float32 ``(B, C, *spatial)`` with NaN for missing values, and label
            rows float32
            ``(B, label_dim)``, conditions as :func:`.given_with` has them, or None, on ``device``.
        """
        order = InfiniteOrder(len(self.train), seed=config.seed % 2**32, start=images_seen)
        loader = DataLoader(
            _Reader(self.train),
            batch_size=None,  # a batch is read at once
            sampler=_places(order, config.batch_size, share),
            num_workers=0 if _fits(self.train) else config.data_workers,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # leaves the global one alone
            worker_init_fn=_ignore_interrupts,
        )
        for batch in loader:
            if isinstance(batch, Exception):
                raise batch
            images, *others = batch
            labels, fields = (None if value is None else place(value, device) for value in others)
            yield self.scaling.to_model(place(images, device)), told(labels, fields, self.condition_scaling)


class _Reader(torch.utils.data.Dataset["Stored | Exception"]):
    """Reads whole batches. Failures are returned, not raised, so that messages survive the way between processes."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __getitem__(self, indices: Tensor) -> Stored | Exception:
        try:
            dataset = self._dataset
            return dataset.images(indices), dataset.labels(indices), dataset.conditions(indices)
        except (OSError, ValueError) as error:
            return error


def _facts_of_conditions(dataset: Dataset, scaling: ConditionScaling | None) -> dict[str, Any]:
    """Facts that a model tells of its conditions."""
    if scaling is None:
        return {}
    return {
        "condition_dtype": str(dataset.condition_dtype).removeprefix("torch."),
        "condition_made": dataset.condition_made,
        "condition_scaling": parts.to_plain(scaling.scaling),
    }


def _fits(dataset: Dataset) -> bool:
    return dataset.nbytes <= _MEMORY_BYTES


def _places(order: InfiniteOrder, batch_size: int, share: slice) -> Iterator[Tensor]:
    while True:
        yield torch.from_numpy(order.take(batch_size))[share]


def _ignore_interrupts(worker: int) -> None:
    # Ctrl-C reaches every process of a terminal; the training process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _label_examples(dataset: Dataset) -> list[list[float]]:
    """Label vectors, evenly spread over the data set."""
    count = min(len(dataset), _EXAMPLES, max(1, _EXAMPLE_NUMBERS // dataset.label_dim))
    rows = dataset.labels(torch.linspace(0, len(dataset) - 1, count).long())
    if rows is None:
        return []
    # The shortest text that gives back the same float32.
    return [[float(str(value)) for value in row] for row in rows.numpy()]
