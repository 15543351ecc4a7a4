"""How long an evaluation or a training image takes on this machine, measured in a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from elucidiff.denoisers.base import DenoiserLike, as_denoiser, ask
from elucidiff.devices import choose_device, wait_for
from elucidiff.training.batches import TrainingData
from elucidiff.training.config import TrainingConfig
from elucidiff.training.draws import draw
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.state import TrainingState

# A batch that takes longer than this is not timed again for the sake of a better figure.
_ENOUGH_S = 0.5
_BATCH = 64


@torch.no_grad()
def seconds_per_evaluation(denoiser: DenoiserLike, batch_size: int) -> float:
    """Time of one evaluation of the network for one sample, in batches of ``batch_size``."""
    described = as_denoiser(denoiser)
    device, width = described.device, described.known_labels.dim
    x = torch.zeros(batch_size, *described.sample_shape, device=device)
    labels = torch.eye(width, device=device)[torch.arange(batch_size) % width] if width else None

    def evaluate() -> None:
        ask(described, x, torch.ones(()), labels)

    return _seconds(evaluate, device) / batch_size


def seconds_per_training_image(config: TrainingConfig, data: TrainingData) -> float:
    """Time of one image of a training: augmentation, forward, backward, and its share of the optimiser's step."""
    device = choose_device(config.device)
    size = min(config.batch_size, _BATCH)
    small = replace(config, batch_size=size, device_batch_size=None)
    state = TrainingState(small, data.shape, data.label_dim, device, label_kind=data.label_kind)
    images, _, labels, _ = state.blank(size)

    def step() -> None:
        draws = draw(small.seed, state.step, images.shape, state.objective.noise, state.augment, device)
        update(state, noisy_batches(state, images, labels, draws))

    return _seconds(step, device) / size


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The time that ``work`` takes once it is warm, or the first time, if that is long."""
    took = 0.0
    for _ in range(3):
        begun = time.monotonic()
        work()
        wait_for(device)
        took = time.monotonic() - begun
        if took > _ENOUGH_S:
            break
    return took
