"""A run folder while it is being written: settings, metrics, checkpoints and the model."""

from __future__ import annotations

import importlib.metadata
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.plain_data import first_difference, to_dict
from elucidiff.training.agreement import Agreement
from elucidiff.training.batches import TrainingData
from elucidiff.training.callbacks import Callbacks, Progress
from elucidiff.training.checkpoint import Checkpoint, CheckpointFolder
from elucidiff.training.checks import Checks
from elucidiff.training.metrics import LossSummary, MetricsLog
from elucidiff.training.snapshots import save_snapshot
from elucidiff.training.state import MAIN_AVERAGE, TrainingState, below

# What may change when a run is resumed: how long, how often, where. With a decaying learning rate the length matters
# to the steps, too: a run that is made longer goes on with the rate of the longer run.
_MAY_CHANGE = (
    "data", "duration_images", "max_minutes", "device_batch_size", "log_images", "checkpoint_images",
    "keep_checkpoints", "device", "channels_last", "compile", "sharding", "data_workers", "memorisation_samples",
)  # fmt: skip


class Run:
    """Starts or resumes a run, and after every step does what is due: log, checkpoint, model, callbacks.

    With many processes each has its own, and calls the same methods. All of them read the run folder; the first alone
    writes and calls back, while the others wait.

    Args:
        path: the run folder.
        state: the training state, new; it is restored when the run is resumed.
        data: what is trained on.
        resume: go on from the newest undamaged checkpoint, or start if there is none yet. That is also done where
            torchrun has restarted what it had started here.
        callbacks: who is told; None for nobody.

    Raises:
        ValueError: the folder holds a run already and ``resume`` is not asked for, or that run had other settings or
            other data; or the processes have not all the same of these.
        FileNotFoundError: ``resume`` is asked for, but there is no run folder.

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
        callbacks: Callbacks | None,
    ) -> None:
        self.path = Path(path)
        self.loss: float | None = None
        self._config, self._state, self._data = state.config, state, data
        self._processes = processes = state.processes
        self._callbacks = callbacks if callbacks is not None and processes.main else Callbacks()
        self._checkpoints = CheckpointFolder(self.path / "checkpoints", self._config.keep_checkpoints)
        self._saved_at: int | None = None
        restarted = processes.has_begun(self.path)
        if resume or restarted:
            if not restarted:
                self._refuse_strangers()
            self._restore(self._checkpoints.newest())
        elif any(self._checkpoints.path.glob("*")):
            raise ValueError(f"{self.path} holds a run already: resume it, or choose another folder")
        processes.refuse_differences(
            {"data": data.identity, "settings": self._shared_settings(), "newest checkpoint": self._saved_at}
        )
        processes.meet()  # nothing is written before all have found everything right
        self._log: MetricsLog | None = None
        if processes.main:
            self._checkpoints.clean()
            self._config.save(self.path / "config.yaml")
            processes.note_begun(self.path)
            self._log = MetricsLog(self.path, state.images_seen)
        self._agreement = Agreement(processes, state.seconds)
        self._checks = Checks(state, data)
        self._begun = time.monotonic() - state.seconds
        self._logged_at = (state.images_seen, state.seconds)
        self._images_per_second: float | None = None

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._log is not None:
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

    def stopped_by(self, received: str | None) -> str | None:
        """The signal that ends the run now, if any, given what this process has received."""
        return self._agreement.stopped_by(received)

    def say(self, text: str) -> None:
        """Tell whoever listens, in one line."""
        self._callbacks.on_note(text)

    def after_step(self, received: str | None = None) -> None:
        """Do what is due after an optimiser step, by when this process has ``received`` a signal or not."""
        state, config = self._state, self._config
        state.seconds = self._agreement.exchange(received, time.monotonic() - self._begun)
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
        model = state.model
        # Not where a signal stopped the run: a resumed run is to write what an unbroken one does.
        checked = self._check(model) if self.finished or self._due(self._config.checkpoint_images) else {}
        model.facts = {
            "data": dict(self._data.facts),
            "provenance": {
                "program": f"elucidiff {importlib.metadata.version('elucidiff')}",
                "images_seen": state.images_seen,
                "training": to_dict(self._config),
            },
        }
        checkpoint = state.checkpoint(config=to_dict(self._config), data=self._data.identity)
        if self._processes.main:
            model.save(self.path / "model")
            if checked.get("validation_best_images") == state.images_seen:
                model.save(self.path / "best")
            for name, average in state.averages.items():
                save_snapshot(self.path, average, below(name, checkpoint.tensors), state.images_seen)
            self._checkpoints.save(checkpoint)
        self._saved_at = state.images_seen
        self._callbacks.on_checkpoint(model, state.images_seen, self.path)
        self._processes.wait_for_main()

    def _due(self, every: int) -> bool:
        """Whether the last step passed a multiple of ``every`` images."""
        images = self._state.images_seen
        return images // every > (images - self._config.batch_size) // every

    def _check(self, model: Denoiser) -> Mapping[str, Any]:
        """Write the checks of this checkpoint into the log, and say what is worth a warning."""
        values, warnings = self._checks.run(model, [] if self._log is None else self._log.lines())
        if values:
            self._write({"step": self._state.step, **values})
        for warning in warnings:
            self.say(warning)
        return values

    def _write_log(self) -> None:
        state = self._state
        losses = self._finite_losses()
        state.meter.reset()
        images, seconds = self._logged_at
        self._images_per_second = (state.images_seen - images) / max(state.seconds - seconds, 1e-9)
        self._logged_at = (state.images_seen, state.seconds)
        self.loss = losses.mean
        self._write(
            {
                "step": state.step,
                "seconds": round(state.seconds, 3),
                "images_per_second": round(self._images_per_second, 3),
                "loss": losses.mean,
                "not_finite": losses.not_finite,
                "lr": state.optimiser.param_groups[0]["lr"],
                "ema_beta": state.averages[MAIN_AVERAGE].beta,
                "loss_by_sigma": losses.by_sigma,
            }
        )

    def _write(self, values: Mapping[str, Any]) -> None:
        if self._log is not None:
            self._log.write(self._state.images_seen, values)

    def _finite_losses(self) -> LossSummary:
        """The losses since the last line of the log; refuses to go on if all of them are NaN or infinite."""
        losses = self._state.meter.summary()
        if losses.not_finite and not losses.images:
            raise ValueError(
                f"the loss is no longer finite after {self._state.images_seen} images: train with a lower lr than "
                f"{self._config.lr:g}, with gradient_clip, or in fp32"
            )
        return losses

    def _refuse_strangers(self) -> None:
        """What is resumed was begun here; a killed process may have left no more than an empty folder."""
        if not self.path.is_dir():
            raise FileNotFoundError(f"there is no run to resume in {self.path}: no such folder")
        begun = (self.path / "config.yaml").exists()
        if not begun and any(not file.name.startswith(".") for file in self.path.iterdir()):
            raise FileNotFoundError(f"there is no run to resume in {self.path}: it has no config.yaml")

    def _shared_settings(self) -> dict[str, Any]:
        """The settings that have to be the same in all processes: all but where the data are and who reads them."""
        settings = to_dict(self._config)
        return {name: settings[name] for name in settings if name not in ("data", "data_workers")}

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
