"""The training loop: data -> augment -> noise -> denoiser -> weighted loss -> optimiser -> EMA -> checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from elucidiff.augment import Augmentation
from elucidiff.data import Dataset
from elucidiff.data.gaps import filled
from elucidiff.denoisers.conditions import Conditions, each, is_named
from elucidiff.design.objectives import Objective
from elucidiff.launch.coordination import failing_once
from elucidiff.launch.interrupt import Interrupt
from elucidiff.networks import NetworkPart, blueprint_of, normalise_weights, resampled
from elucidiff.networks.fields import FIELD
from elucidiff.training.batches import Draws, TrainingData, draw, seeded_layers
from elucidiff.training.callbacks import Callbacks
from elucidiff.training.compilation import compile_if_wanted
from elucidiff.training.config import TrainingConfig, rate_at
from elucidiff.training.precision import cuda_products
from elucidiff.training.processes import joined
from elucidiff.training.run import Run
from elucidiff.training.state import TrainingState


@dataclass(frozen=True)
class TrainingResult:
    """The end of a run.

    Attributes:
        run_dir: the run folder; the trained model is in its sub-folder ``model``.
        images_seen: training images.
        step: optimiser steps.
        seconds: time spent, over all sessions of the run.
        loss: mean weighted loss per element in the last line of the log; None if this session wrote none.
        interrupted: ``"SIGINT"`` or ``"SIGTERM"`` if that ended the run before its time; it can be resumed.

    >>> import elucidiff as ed
    >>> result = ed.training.TrainingResult("run", images_seen=640, step=10, seconds=3.2, loss=0.4, interrupted=None)
    >>> result.images_seen // result.step  # the batch size
    64
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
        labels: rows ``(B, label_dim)``, or conditions of B rows, or None.
        augment_labels: rows ``(B, augment_dim)``, or None.
        first: place of the first image in the whole batch, that of all processes.
        present: which values were there, shaped like ``images``, where 0 stands for the others; None for all.
        last: whether it is this process's last part of the batch: gradients are complete then.
    """

    images: Tensor
    sigma: Tensor
    noise: Tensor
    labels: Conditions | None = None
    augment_labels: Tensor | None = None
    first: int = 0
    last: bool = True
    present: Tensor | None = None


def train(
    config: TrainingConfig,
    run_dir: str | os.PathLike[str],
    *,
    dataset: Dataset | None = None,
    network: NetworkPart | nn.Module | str | None = None,
    objective: Objective | str | None = None,
    augment: Augmentation | str | None = None,
    resume: bool = False,
    callbacks: Callbacks | None = None,
) -> TrainingResult:
    """Train a denoiser with the recipe of Karras et al. 2022, App. F, or the variation of it in ``config``.

    Everything random in a step depends on ``config.seed`` and the number of the step alone, so a run that was killed
    and resumed ends with the same bits as one that was not (on a CPU, with the same number of threads, and without
    ``max_minutes``: how far a minute goes is up to the machine; and with the same length, which a decaying learning
    rate depends on; where that makes the rate leap, it is said first). The first SIGINT or SIGTERM finishes the step,
    saves a checkpoint and returns; a second one acts at once.

    Args:
        config: the settings; :mod:`elucidiff.training.presets` has some that work.
        run_dir: the run folder, made if missing. It gets ``config.yaml``, ``metrics.jsonl``, TensorBoard events,
            ``checkpoints/`` and ``model/``, the newest averaged weights as a model folder for :func:`elucidiff.load`;
            with ``ema_widths`` also ``averages/`` for :func:`elucidiff.training.reconstruct`;
            with ``validation_images`` also ``best/``, the model with the lowest held-out loss.
        dataset: what to train on, in place of what ``config.data`` names.
        network: the network to train, in place of ``config.network``: a part, or a module, which is trained in place,
            from the weights that it has. Of a module that no part has built the run keeps the weights alone:
            ``ed.load(path, network=...)`` reads them.
        objective: in place of ``config.objective``.
        augment: in place of ``config.augment``.
        resume: go on from the newest undamaged checkpoint in ``run_dir``; from the start if there is none yet. What
            is given must be what was given before: the same data and settings, a network of the same shapes.
        callbacks: who is told about progress and checkpoints. Without, warnings are Python's.

    Raises:
        ValueError: settings that do not fit the data or the machine, data that are not finite, a run folder that
            holds another run or that another process is writing to, or a loss that is no longer finite.
        OSError: the data cannot be read, or the run folder cannot be written; its last good checkpoint is intact.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> from dataclasses import replace
    >>> config = replace(ed.training.preset("digits"), batch_size=8, duration_images=16)
    >>> small = "ddpmpp:base_channels=8,channel_multipliers=1,blocks_per_level=1"
    >>> with tempfile.TemporaryDirectory() as run:
    ...     result = ed.training.train(config, run, network=small)
    ...     denoiser = ed.load(f"{run}/model")
    ...
    >>> result.step, result.images_seen, denoiser.sample_shape
    (2, 16, (1, 8, 8))
    """
    with failing_once(), joined(config.device) as (processes, device), cuda_products(config.tf32):
        module = network if isinstance(network, nn.Module) else None
        config = _with_objects(config, network=network, objective=objective, augment=augment)
        data = TrainingData.open(config, dataset)
        begin = not any((Path(run_dir) / "checkpoints").glob("*"))
        state = TrainingState(
            config, data.shape, data.label_dim, device, processes, data.label_kind, module, data.condition_shape,
            begin=begin,
        )  # fmt: skip
        with Run(run_dir, state, data, resume, callbacks) as run, Interrupt(processes.launched) as interrupt:
            for note in data.notes:
                run.say(note)
            if state.taken is not None:
                run.say(state.taken.text)
            run.catch_up()
            if not run.finished:
                compile_if_wanted(state, run.say)
            batches = data.batches(config, state.images_seen, device, state.share)
            shape = (config.batch_size, *data.shape)
            while not (run.finished or run.stopped_by(interrupt.received)):
                images, labels = next(batches)
                draws = draw(config.seed, state.step, shape, state.objective.noise, state.augment, device)
                batches_of_part = noisy_batches(state, images, labels, draws.part(state.share), gaps=data.gaps)
                update(state, batches_of_part, run.progress)
                if run.after_step(interrupt.received):
                    batches = data.batches(config, state.images_seen, device, state.share)
            run.save()
            # A signal that came too late to stop anything did not interrupt the run.
            interrupted = None if run.finished else run.stopped_by(interrupt.received)
    return TrainingResult(run.path, state.images_seen, state.step, state.seconds, run.loss, interrupted)


def _with_objects(config: TrainingConfig, **given: Any) -> TrainingConfig:
    """The settings with the parts that were given."""
    if isinstance(network := given["network"], nn.Module):
        blueprint = blueprint_of(network)
        given["network"] = None if blueprint is None else blueprint.part
    return replace(config, **{name: value for name, value in given.items() if value is not None})


def noisy_batches(
    state: TrainingState, images: Tensor, labels: Conditions | None, draws: Draws, *, gaps: bool = False
) -> Iterator[NoisyBatch]:
    """Augment this process's images and give them noise, as many at a time as go through the network together.

    A condition is augmented along with its image, brought to the same size first. With ``gaps`` values that are
    missing (NaN) become 0, and are told from the others.
    """
    size = state.config.device_batch_size or len(images)
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        drawn, clean, augment_labels = draws.part(part), images[part], None
        given = None if labels is None else each(labels, lambda value, part=part: value[part])  # type: ignore[misc]
        if state.augment:
            if is_named(given):
                field = resampled(given[FIELD], clean.shape[2:])
                moved = state.augment.apply_to_condition(field, drawn.augmentation, clean.shape[1])
                given = {**given, FIELD: moved}
            clean, augment_labels = state.augment.apply(clean, drawn.augmentation)
        present: Tensor | None = None
        if gaps:
            clean, present = filled(clean)
        sigma = state.objective.noise.from_base(drawn.level)
        first, last = state.share.start + start, start + size >= len(images)
        yield NoisyBatch(clean, sigma, drawn.noise, given, augment_labels, first, last, present)


def update(state: TrainingState, batches: Iterable[NoisyBatch], progress: float = 0.0) -> None:
    """One optimiser step on the batch whose parts are ``batches``: gradients, Adam, averages.

    Learning rate and averages go by the images seen before the step. The loss is summed over the elements of an image
    and averaged over the images of the batch, those of all processes. Elements that are missing count for nothing, in
    it as in the learned weighting of noise levels.

    Args:
        state: what is updated.
        batches: the parts of this process's share of the batch; together ``state.images`` images.
        progress: the share of the run that is done, for the learning rate and the objective.
    """
    config = state.config
    lr = rate_at(config, state.images_seen, progress) * 0.5**state.halvings
    objective = state.objective.at(progress)
    for group in state.optimiser.param_groups:
        group["lr"] = lr * group["share"]
    state.optimiser.zero_grad(set_to_none=True)
    for batch in batches:
        layers = seeded_layers(config.seed, state.step, batch.first, state.device)
        with layers, state.gradients_meet(now=batch.last):
            with state.arithmetic.forward():
                known: dict[str, Any] = {} if batch.present is None else {"present": batch.present}
                loss = objective.loss(
                    state.replica, batch.images, batch.sigma, batch.noise, batch.labels, batch.augment_labels, **known
                )
            state.meter.add(loss, batch.sigma, batch.present)
            if state.loss_weighting is not None:
                loss = state.loss_weighting(loss, batch.sigma)
            if batch.present is not None:
                loss = loss * batch.present
            state.arithmetic.backward(loss.sum() / state.images)
    state.arithmetic.step(state.optimiser)
    normalise_weights(state.denoiser)
    for average in state.averages.values():
        average.update(state.images_seen, config.batch_size)
    state.step += 1
    state.images_seen += config.batch_size
