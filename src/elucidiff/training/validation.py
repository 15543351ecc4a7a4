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

    Raises:
        ValueError: another process could not measure its part. What one of them raises comes after all have met, so
            that whoever goes on without this loss goes on with the others.
    """
    meter = LossMeter(state.device, state.processes)
    failure: Exception | None = None
    try:
        _measure(state, model, held_out, passes, meter)
    except Exception as error:
        failure = error
    failed = state.processes.gather(torch.tensor([failure is not None]))
    if failure is not None:
        raise failure
    if failed.any():
        raise ValueError("another process could not measure the loss on held-out images")
    return meter.summary()


def _measure(state: TrainingState, model: Denoiser, held_out: Dataset, passes: int, meter: LossMeter) -> None:
    """This process's part; the processes take turns."""
    processes, noise = state.processes, state.objective.noise
    images, labels = to_unit(held_out.images()), held_out.labels()
    size = state.config.device_batch_size or state.images
    for number in range(passes):
        draws = draw(mix(0, "validation"), number, images.shape, noise)
        for start in range(processes.rank * size, len(images), processes.count * size):
            part = slice(start, start + size)
            drawn = draws.part(part)
            sigma = noise.from_base(drawn.level).to(state.device)
            clean, unit_noise = images[part].to(state.device), drawn.noise.to(state.device)
            rows = None if labels is None else labels[part].to(state.device)
            with state.arithmetic.forward():
                loss = state.objective.loss(model, clean, sigma, unit_noise, rows)
            meter.add(loss, sigma)
