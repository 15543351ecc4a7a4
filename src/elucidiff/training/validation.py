"""The weighted loss on images that were held out of the training."""

from __future__ import annotations

import torch

from elucidiff.data import Dataset, to_unit
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.training.draws import draw, mix
from elucidiff.training.metrics import LossMeter, LossSummary
from elucidiff.training.state import TrainingState


@torch.no_grad()
def validate(state: TrainingState, model: Denoiser, held_out: Dataset, passes: int = 4) -> LossSummary:
    """Measure a model's loss under p_train, overall and by noise level.

    Noise levels and noise are the same in every call and every run, so what differs is the model. Nothing is
    augmented.

    Args:
        state: the training state.
        model: the denoiser with the averaged weights; every process has it.
        held_out: the images.
        passes: how often each image is used, each time at another noise level.
    """
    processes, noise = state.processes, state.objective.noise
    meter = LossMeter(state.device, processes)
    images, labels = to_unit(held_out.images()), held_out.labels()
    size = state.config.device_batch_size or state.images
    for number in range(passes):
        draws = draw(mix(0, "validation"), number, images.shape, noise)
        # Every process takes its turn with a part.
        for start in range(processes.rank * size, len(images), processes.count * size):
            part = slice(start, start + size)
            drawn = draws.part(part)
            sigma = noise.from_base(drawn.level).to(state.device)
            clean, unit_noise = images[part].to(state.device), drawn.noise.to(state.device)
            rows = None if labels is None else labels[part].to(state.device)
            with state.arithmetic.forward():
                loss = state.objective.loss(model, clean, sigma, unit_noise, rows)
            meter.add(loss, sigma)
    return meter.summary()
