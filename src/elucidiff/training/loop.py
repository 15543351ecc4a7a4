"""The training loop: data -> augment -> noise -> denoiser -> weighted loss -> optimiser -> EMA -> checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from elucidiff.devices import choose_device
from elucidiff.training.batches import TrainingData
from elucidiff.training.callbacks import Callbacks
from elucidiff.training.config import TrainingConfig
from elucidiff.training.draws import Draws, draw, seeded_layers
from elucidiff.training.interrupt import Interrupt
from elucidiff.training.learning_rate import learning_rate
from elucidiff.training.run import Run
from elucidiff.training.state import TrainingState


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    Attributes:
        run_dir: the run folder; the trained model is in its sub-folder ``model``.
        images_seen: training images.
        step: optimiser steps.
        seconds: time spent, over all sessions of the run.
        loss: mean weighted loss per element in the last line of the log; None if this session wrote none.
        interrupted: ``"SIGINT"`` or ``"SIGTERM"`` if that ended the run before its time; it can be resumed.
    """

    run_dir: Path
    images_seen: int
    step: int
    seconds: float
    loss: float | None
    interrupted: str | None


@dataclass(frozen=True)
class NoisyBatch:
    """Images that are ready for the loss: augmented, with their noise levels and noise.

    Attributes:
        images: clean images y, ``(B, C, *spatial)``.
        sigma: noise levels, ``(B,)``.
        noise: unit noise; the denoiser sees ``images + sigma * noise``.
        labels: rows ``(B, label_dim)``, or None.
        augment_labels: rows ``(B, augment_dim)``, or None.
    """

    images: Tensor
    sigma: Tensor
    noise: Tensor
    labels: Tensor | None = None
    augment_labels: Tensor | None = None


def train(
    config: TrainingConfig,
    run_dir: str | os.PathLike[str],
    *,
    resume: bool = False,
    callbacks: Callbacks | None = None,
) -> TrainingResult:
    """Train a denoiser with the recipe of Karras et al. 2022, App. F, or the variation of it in ``config``.

    Everything random in a step depends on ``config.seed`` and the number of the step alone, so a run that was killed
    and resumed ends with the same bits as one that was not (on a CPU, with the same number of threads, and without
    ``max_minutes``: how far a minute goes is up to the machine; and with the same length, which a decaying learning
    rate depends on). The first SIGINT or SIGTERM finishes the step, saves
    a checkpoint and returns; a second one acts at once.

    Args:
        config: the settings; :mod:`elucidiff.training.presets` has some that work.
        run_dir: the run folder, made if missing. It gets ``config.yaml``, ``metrics.jsonl``, TensorBoard events,
            ``checkpoints/`` and ``model/``, the newest averaged weights as a model folder for :func:`elucidiff.load`;
            with ``ema_widths`` also ``averages/`` for :func:`elucidiff.training.reconstruct`.
        resume: go on from the newest undamaged checkpoint in ``run_dir``; from the start if there is none yet.
        callbacks: who is told about progress and checkpoints.

    Raises:
        ValueError: settings that do not fit the data or the machine, data that are not finite, a run folder that
            holds another run, or a loss that is no longer finite.
        OSError: the data cannot be read, or the run folder cannot be written; its last good checkpoint is intact.
    """
    data = TrainingData.open(config)
    state = TrainingState(config, data.shape, data.label_dim, choose_device(config.device))
    with Run(run_dir, state, data, resume, callbacks or Callbacks()) as run, Interrupt() as interrupt:
        batches = data.batches(config, state.images_seen, state.device)
        while not (run.finished or interrupt.received):
            images, labels = next(batches)
            draws = draw(config.seed, state.step, images.shape, state.objective.noise, state.augment, state.device)
            update(state, noisy_batches(state, images, labels, draws), run.progress)
            run.after_step()
        run.save()
        # A signal that came too late to stop anything did not interrupt the run.
        interrupted = None if run.finished else interrupt.received
    return TrainingResult(run.path, state.images_seen, state.step, state.seconds, run.loss, interrupted)


def noisy_batches(state: TrainingState, images: Tensor, labels: Tensor | None, draws: Draws) -> Iterator[NoisyBatch]:
    """Augment the images and give them noise, as many at a time as go through the network together."""
    size = state.config.device_batch_size or len(images)
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        drawn, clean, augment_labels = draws.part(part), images[part], None
        if state.augment:
            clean, augment_labels = state.augment.apply(clean, drawn.augmentation)
        sigma = state.objective.noise.from_base(drawn.level)
        yield NoisyBatch(clean, sigma, drawn.noise, None if labels is None else labels[part], augment_labels)


def update(state: TrainingState, batches: Iterable[NoisyBatch], progress: float = 0.0) -> None:
    """One optimiser step on the batch whose parts are ``batches``: gradients, Adam, averages.

    Learning rate and averages go by the images seen before the step. The loss is summed over the elements of an image
    and averaged over the images of the batch.

    Args:
        state: what is updated.
        batches: the parts of the batch; together ``config.batch_size`` images.
        progress: the share of the run that is done, for the learning rate.
    """
    config = state.config
    lr = learning_rate(
        state.images_seen,
        peak=config.lr,
        ramp_images=config.lr_ramp_images,
        decay=config.lr_decay,
        progress=progress,
        decay_images=config.lr_decay_images,
    )
    for group in state.optimiser.param_groups:
        group["lr"] = lr
    state.optimiser.zero_grad(set_to_none=True)
    with seeded_layers(config.seed, state.step, rank=0, device=state.device):
        for batch in batches:
            with state.precision():
                loss = state.objective.loss(
                    state.denoiser, batch.images, batch.sigma, batch.noise, batch.labels, batch.augment_labels
                )
            torch.autograd.backward(loss.sum() * (config.loss_scale / config.batch_size))
            state.meter.add(loss, batch.sigma)
    tame_gradients(state.denoiser.parameters(), config.loss_scale, config.gradient_clip)
    state.optimiser.step()
    for average in state.averages.values():
        average.update(state.images_seen, config.batch_size)
    state.step += 1
    state.images_seen += config.batch_size


def tame_gradients(parameters: Iterable[nn.Parameter], loss_scale: float, clip: float | None) -> None:
    """Undo the loss scale, replace NaN by 0 and infinities by +-1e5, then scale the norm down to ``clip``.

    Nothing here waits for the device. (The reference keeps the loss scale in the gradients; Adam divides it out, so
    the updates differ by the scale of its epsilon alone.)
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if loss_scale != 1:
        torch._foreach_div_(gradients, loss_scale)
    for gradient in gradients:
        torch.nan_to_num(gradient, nan=0.0, posinf=1e5, neginf=-1e5, out=gradient)
    if clip is not None:
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        torch._foreach_mul_(gradients, clip / norm.clamp(min=clip))
