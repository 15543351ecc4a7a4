"""Every random number of a training step, as a function of the seed and the step alone.

No random state is carried from step to step, so there is none to save: a resumed run, or one that splits its batches
otherwise, draws the same numbers for the same images.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.augment import Augmentation
from elucidiff.augment.placing import place
from elucidiff.design.training_noise import TrainingNoise


@dataclass(frozen=True)
class Draws:
    """What is drawn for a batch of B images in one optimiser step.

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
