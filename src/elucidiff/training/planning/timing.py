"""How fast this machine trains a network: a few timed steps, as the loop takes them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from elucidiff.devices import wait_for
from elucidiff.training.batches import draw
from elucidiff.training.config import TrainingConfig
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.state import TrainingState

_WARM, _TIMED = 1, 3
_LONG_S = 2.0
"""A step that takes longer than this is timed once, and is its own warm-up."""


@dataclass(frozen=True)
class Speed:
    """How fast a training goes.

    Attributes:
        images_per_second: of the fastest of the timed steps: what the machine can do.
        weights: how many numbers the network learns.
        undisturbed: share of the time of all timed steps that they would have taken at that speed; the rest went to
            other work on the machine.
    """

    images_per_second: float
    weights: int
    undisturbed: float = 1.0


def speed_of(config: TrainingConfig, shape: tuple[int, ...], label_dim: int, device: torch.device) -> Speed:
    """Time optimiser steps with these settings on grey images.

    Nothing of it reaches the training that follows: networks and random numbers are its own.

    Args:
        config: the settings.
        shape: of an image, ``(C, *spatial)``.
        label_dim: width of the labels, 0 without.
        device: where to train.
    """
    state = TrainingState(config, shape, label_dim, device, begin=False)
    images = torch.zeros(config.batch_size, *shape, device=device)
    labels = torch.zeros(config.batch_size, label_dim, device=device) if label_dim else None
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
