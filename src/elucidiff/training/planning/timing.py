"""The networks that a plan chooses from, and how fast this machine trains each: a few timed steps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from elucidiff.devices import wait_for
from elucidiff.networks import MPUNetSettings
from elucidiff.training.batches import draw
from elucidiff.training.config import TrainingConfig
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.state import TrainingState

WIDTHS: tuple[tuple[int, int], ...] = ((16, 1), (24, 1), (32, 1), (48, 1), (64, 2), (96, 2), (128, 3), (192, 3))
"""Channels at the highest resolution, and residual blocks a level, from the cheapest network to the dearest."""
MULTIPLIERS = (1, 2, 4, 4, 4, 4)
"""Channels of each level over those of the first."""

_SMALLEST_SIDE = 4
_ATTENDING = 64
"""Levels of so many positions attend; the lowest does with up to 16 times as many."""
_COARSEST = 1024
_LONG_ENOUGH = 8
_WIDE_ENOUGH = 64
_FEWEST_PATCHES, _LARGEST_PATCH = 32, 4


def patch_side_of(shape: Sequence[int]) -> int:
    """Side of the patches that a network for samples ``(C, *spatial)`` takes for its positions: 1, 2 or 4.

    The largest that leaves at least 32 along every side, and in one dimension 1: more positions than that take most
    of the time of a training. See docs/results/emoji.md.
    """
    side = 1
    while (
        len(shape) > 2
        and side < _LARGEST_PATCH
        and all(length % (2 * side) == 0 and length // (2 * side) >= _FEWEST_PATCHES for length in shape[1:])
    ):
        side *= 2
    return side


def levels_of(shape: Sequence[int]) -> int:
    """Number of levels that a network for samples ``(C, *spatial)`` has.

    The sides are halved while all of them are even, until the longest is 8, or the shortest 4.
    """
    sides, levels = list(shape[1:]), 1
    while (
        levels < len(MULTIPLIERS)
        and all(side % 2 == 0 and side // 2 >= min(_SMALLEST_SIDE, *shape[1:]) for side in sides)
        and (max(sides) > _LONG_ENOUGH or levels == 1)
    ):
        sides, levels = [side // 2 for side in sides], levels + 1
    return levels


def attention_of(shape: Sequence[int], levels: int) -> tuple[int, ...]:
    """The resolutions that attend, as the larger side at each; none where even the lowest has too many positions."""
    found = []
    for level in range(levels):
        sides = [side >> level for side in shape[1:]]
        most = _COARSEST if level == levels - 1 else _ATTENDING
        if math.prod(sides) <= most:
            found.append(max(shape[1:]) >> level)
    return tuple(found)


def networks_for(shape: Sequence[int]) -> Iterator[MPUNetSettings]:
    """Magnitude-preserving U-Nets for samples ``(C, *spatial)``, from the cheapest to the dearest.

    From a side of 64 on they take patches for positions. None is narrower than these, up to 64 channels: its first
    layer would lose some of their values, as of latents.

    >>> from elucidiff.training.planning.timing import networks_for
    >>> network = next(networks_for((3, 32, 32)))
    >>> network.channel_multipliers, network.attention_resolutions
    ((1, 2, 4), (8,))
    >>> network.base_channels, next(networks_for((32, 32, 32))).base_channels
    (16, 32)
    """
    patch = patch_side_of(shape)
    values = shape[0] * patch ** (len(shape) - 1)
    grid = (values, *(side // patch for side in shape[1:]))
    levels = levels_of(grid)
    for channels, blocks in WIDTHS:
        if channels < min(values, _WIDE_ENOUGH):
            continue
        yield MPUNetSettings(
            base_channels=channels,
            channel_multipliers=MULTIPLIERS[:levels],
            blocks_per_level=blocks,
            attention_resolutions=attention_of(grid, levels),
            dropout=0.0,
            patch_side=patch,
        )


_WARM, _TIMED = 1, 3
_LONG_S = 2.0
"""A step that takes longer than this is timed once, and is its own warm-up."""


@dataclass(frozen=True)
class Speed:
    """The speed of a training.

    Attributes:
        images_per_second: of the fastest of the timed steps: what the machine can do.
        weights: how many numbers the network learns.
        undisturbed: share of the time of all timed steps that they would have taken at that speed; the rest went to
            other work on the machine.
    """

    images_per_second: float
    weights: int
    undisturbed: float = 1.0


def speed_of(
    config: TrainingConfig,
    shape: tuple[int, ...],
    label_dim: int,
    device: torch.device,
    condition_shape: tuple[int, ...] = (),
) -> Speed:
    """Time optimiser steps with these settings on grey images.

    Nothing of it reaches the training that follows: networks and random numbers are its own.

    Args:
        config: the settings.
        shape: of an image, ``(C, *spatial)``.
        label_dim: width of the labels, 0 without.
        device: where to train.
        condition_shape: of a condition, empty without.
    """
    state = TrainingState(config, shape, label_dim, device, condition_shape=condition_shape, begin=False)
    images, _, labels, _ = state.blank(config.batch_size)
    taken: list[float] = []
    for number in range(_WARM + _TIMED):
        begun = time.perf_counter()
        draws = draw(config.seed, state.step, images.shape, state.objective.noise, state.augment, device)
        update(state, noisy_batches(state, images, labels, draws))
        wait_for(device)
        seconds = time.perf_counter() - begun
        if number >= _WARM or seconds > _LONG_S:
            taken.append(seconds)
        if seconds > _LONG_S:
            break
    weights = sum(weight.numel() for weight in state.denoiser.network.parameters())
    return Speed(config.batch_size / min(taken), weights, min(taken) * len(taken) / sum(taken))
