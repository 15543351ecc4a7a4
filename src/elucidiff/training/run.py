"""A run folder while it is being written: settings, metrics, checkpoints and the model."""

from __future__ import annotations

import importlib.metadata
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from elucidiff.training.batches import TrainingData
from elucidiff.training.callbacks import Callbacks, Progress
from elucidiff.training.checkpoint import Checkpoint, CheckpointFolder
from elucidiff.training.metrics import LossSummary, MetricsLog
from elucidiff.training.plain_data import first_difference, to_dict
from elucidiff.training.snapshots import save_snapshot
from elucidiff.training.state import MAIN_AVERAGE, TrainingState
from elucidiff.training.validation import validate

# What may change when a run is resumed: how long, how often, where. With a decaying learning rate the length matters
# to the steps, too: a run that is made longer goes on with the rate of the longer run.
_MAY_CHANGE = (
    "data", "duration_images", "max_minutes", "device_batch_size", "log_images", "checkpoint_images",
    "keep_checkpoints", "device", "channels_last", "data_workers",
)  # fmt: skip


class Run:
    """Starts or resumes a run, and after every step does what is due: log, checkpoint, model, callbacks.

    Args:
        path: the run folder.
        state: the training state, new; it is restored when the run is resumed.
        data: what is trained on.
        resume: go on from the newest undamaged checkpoint.
        callbacks: who is told.

    Raises:
        ValueError: the folder holds a run already and ``resume`` is not asked for, or that run had other settings or
            other data.
        FileNotFoundError: ``resume`` is asked for, but there is no run.

    Attributes:
        path: the run folder.
        loss: mean weighted loss in the last line of the log; None before the first.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        state: TrainingState,
        data: TrainingData,
        resume: bool,
        callbacks: Callbacks,
    ) -> None:
        self.path = Path(path)
        self.loss: float | None = None
        self._config, self._state, self._data, self._callbacks = state.config, state, data, callbacks
        self._checkpoints = CheckpointFolder(self.path / "checkpoints", self._config.keep_checkpoints)
        self._saved_at: int | None = None
        if resume:
            if not (self.path / "config.yaml").exists():
                raise FileNotFoundError(f"there is no run to resume in {self.path}: it has no config.yaml")
            self._checkpoints.clean()
            self._restore(self._checkpoints.newest())
        elif any(self._checkpoints.path.glob("*")):
            raise ValueError(f"{self.path} holds a run already: resume it, or choose another folder")
        self._config.save(self.path / "config.yaml")
        self._log = MetricsLog(self.path, state.images_seen)
        self._begun = time.monotonic() - state.seconds
        self._logged_at = (state.images_seen, state.seconds)
        self._images_per_second: float | None = None

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()

    @property
    def progress(self) -> float:
        """The share of the run that is done, in [0, 1]: by images or by minutes, whichever is further."""
        images = self._state.images_seen / self._config.duration_images
        minutes = self._config.max_minutes
        return min(1.0, images if minutes is None else max(images, self._state.seconds / (60 * minutes)))

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.progress >= 1

    def after_step(self) -> None:
        """Do what is due after an optimiser step."""
        state, config = self._state, self._config
        state.seconds = time.monotonic() - self._begun
        if self._due(config.log_images):
            self._write_log()
        if self._due(config.checkpoint_images):
            self.save()
        self._callbacks.on_progress(
            Progress(state.step, state.images_seen, self.progress, state.seconds, self.loss, self._images_per_second)
        )

    def save(self) -> None:
        """Write the model and a checkpoint, unless that was done after this very step.

        The checkpoint comes last: if the process is killed in between, everything here is done again.
        """
        state = self._state
        if self._saved_at == state.images_seen:
            return
        self._finite_losses()
        if self._data.held_out is not None:
            losses = validate(state, self._data.held_out)
            self._log.write(
                state.images_seen,
                {"step": state.step, "validation_loss": losses.mean, "validation_loss_by_sigma": losses.by_sigma},
            )
        model = state.model
        model.facts = {
            "data": dict(self._data.facts),
            "provenance": {
                "program": f"elucidiff {importlib.metadata.version('elucidiff')}",
                "images_seen": state.images_seen,
                "training": to_dict(self._config),
            },
        }
        model.save(self.path / "model")
        for average in state.averages.values():
            save_snapshot(self.path, average, state.images_seen)
        self._checkpoints.save(state.checkpoint(config=to_dict(self._config), data=self._data.identity))
        self._saved_at = state.images_seen
        self._callbacks.on_checkpoint(model, state.images_seen, self.path)

    def _due(self, every: int) -> bool:
        """Whether the last step passed a multiple of ``every`` images."""
        images = self._state.images_seen
        return images // every > (images - self._config.batch_size) // every

    def _write_log(self) -> None:
        state = self._state
        losses = self._finite_losses()
        state.meter.reset()
        images, seconds = self._logged_at
        self._images_per_second = (state.images_seen - images) / max(state.seconds - seconds, 1e-9)
        self._logged_at = (state.images_seen, state.seconds)
        self.loss = losses.mean
        self._log.write(
            state.images_seen,
            {
                "step": state.step,
                "seconds": round(state.seconds, 3),
                "images_per_second": round(self._images_per_second, 3),
                "loss": losses.mean,
                "not_finite": losses.not_finite,
                "lr": state.optimiser.param_groups[0]["lr"],
                "ema_beta": state.averages[MAIN_AVERAGE].beta,
                "loss_by_sigma": losses.by_sigma,
            },
        )

    def _finite_losses(self) -> LossSummary:
        """The losses since the last line of the log; refuses to go on if all of them are NaN or infinite."""
        losses = self._state.meter.summary()
        if losses.not_finite and not losses.images:
            raise ValueError(
                f"the loss is no longer finite after {self._state.images_seen} images: train with a lower lr than "
                f"{self._config.lr:g}, with gradient_clip, or in fp32"
            )
        return losses

    def _restore(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            return
        try:
            self._refuse_changes("data set", checkpoint.state["data"], self._data.identity)
            self._refuse_changes("settings", checkpoint.state["config"], to_dict(self._config), _MAY_CHANGE)
            self._state.restore(checkpoint)
        except (KeyError, RuntimeError):
            raise ValueError(
                f"cannot resume {self.path}: its checkpoint is from another version of this program"
            ) from None
        self._saved_at = checkpoint.images_seen

    def _refuse_changes(
        self, what: str, before: Mapping[str, Any], now: Mapping[str, Any], ignore: tuple[str, ...] = ()
    ) -> None:
        if difference := first_difference(before, now, ignore):
            name, old, new = difference
            raise ValueError(
                f"cannot resume {self.path}: its {what} had {name} {old}, now it is {new}; "
                "change it back, or start another run folder"
            )
