"""A run folder while it is being written: settings, metrics, checkpoints and the model."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from elucidiff.denoisers import tuned
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.launch.output_folder import held
from elucidiff.networks import blueprint_of
from elucidiff.plain_data import first_difference, to_dict
from elucidiff.training.batches import TrainingData
from elucidiff.training.callbacks import Callbacks, Progress
from elucidiff.training.checkpoint import Checkpoint, CheckpointFolder
from elucidiff.training.checks import Checks, has_checks
from elucidiff.training.config import leap_of_rate, progress_of
from elucidiff.training.ema import save_snapshot
from elucidiff.training.metrics import LossSummary, MetricsLog
from elucidiff.training.previews import preview_due
from elucidiff.training.processes import Agreement
from elucidiff.training.state import MAIN_AVERAGE, TrainingState, below

# What may change when a run is resumed: how long, how often, where. With a decaying learning rate the length matters
# to the steps, too: a run that is made longer goes on with the rate of the longer run, and says so.
_MAY_CHANGE = (
    "data", "condition", "duration_images", "max_minutes", "device_batch_size", "log_images", "checkpoint_images",
    "keep_checkpoints", "device", "channels_last", "compile", "sharding", "data_workers", "memorisation_samples",
    "preview_images", "start_from", "lr_halvings",
)  # fmt: skip

# A loss of so many times the lowest before: a mean over a few hundred images varies by a third.
_EXPLODED = 4.0


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
        ValueError: another process is writing to the folder; or it holds a run already and ``resume`` is not asked
            for, or that run had other settings or other data; or the processes have not all the same of these.
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
        self._heard = callbacks is not None and processes.main
        self._callbacks = callbacks if callbacks is not None and processes.main else Callbacks()
        self._checkpoints = CheckpointFolder(self.path / "checkpoints", self._config.keep_checkpoints)
        self._saved_at: int | None = None
        self._back_at: int | None = None  # the checkpoint that an explosion led back to
        self._leap: str | None = None
        self._log: MetricsLog | None = None
        self._checks = Checks(state, data)
        with contextlib.ExitStack() as holding:
            self._begin(resume, holding)
            self._holding = holding.pop_all()
        self._agreement = Agreement(processes, state.seconds)
        self._begun = time.monotonic() - state.seconds
        self._logged_at = (state.images_seen, state.seconds)
        self._images_per_second: float | None = None

    def _begin(self, resume: bool, holding: contextlib.ExitStack) -> None:
        """Take the folder, restore what is in it, and make it ready to write to."""
        processes = self._processes
        restarted = processes.has_begun(self.path)
        there = self.path.is_dir()
        if processes.main and there:
            holding.enter_context(held(self.path))
        if resume or restarted:
            if not restarted:
                self._check_run_folder()
            self._restore(self._checkpoints.newest())
        else:
            self._refuse_others()
        # Of a run that was killed between a checkpoint and its checks. All processes see the same of it.
        self._unchecked = (
            self._saved_at is not None and self._is_checked and not has_checks(self.path, self._saved_at)
        )
        processes.refuse_differences(
            {
                "data": self._data.identity,
                "settings": self._shared_settings(),
                "network": self._state.network_fingerprint,
                "newest checkpoint": self._saved_at,
            }
        )
        processes.meet()  # nothing is written before all have found everything right
        beginning = self._checkpoint() if self._config.lr_halvings and self._saved_at is None else None
        if processes.main:
            if not there:
                holding.enter_context(held(self.path))
                self._refuse_others()  # another process may have been faster
            self._checkpoints.clean()
            self._config.save(self.path / "config.yaml", self._note())
            processes.note_begun(self.path)
            self._log = MetricsLog(self.path, self._state.images_seen)
            if beginning is not None:
                self._checkpoints.save(beginning)
        processes.wait_for_main()

    def _refuse_others(self) -> None:
        if any(self._checkpoints.path.glob("*")):
            raise ValueError(f"{self.path} holds a run already: resume it, or choose another folder")

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._holding:
            if self._log is not None:
                self._log.close()

    @property
    def progress(self) -> float:
        """The share of the run that is done, in [0, 1]: by images or by minutes, whichever is further."""
        return progress_of(self._config, self._state.images_seen, self._state.seconds)

    @property
    def finished(self) -> bool:
        """True if the run has come to its end."""
        return self.progress >= 1

    def stopped_by(self, received: str | None) -> str | None:
        """The signal that ends the run now, if any, given what this process has received."""
        return self._agreement.stopped_by(received)

    def say(self, text: str) -> None:
        """Tell whoever listens, in one line."""
        self._callbacks.on_note(text)

    def _warn(self, text: str) -> None:
        """Tell of something that may be wrong; where nobody listens, in Python's way."""
        if self._heard:
            self.say(f"warning: {text}")
        elif self._processes.main:
            warnings.warn(text, stacklevel=4)

    def catch_up(self) -> None:
        """Before the first step: say what may be wrong, and make up for killed checks.

        That is data that do not fit the settings, and a new length that changes the learning rate.
        """
        if not self.finished:
            for doubt in self._data.doubts:
                self._warn(doubt)
        if self._leap is not None:
            self._warn(self._leap)
        if self._unchecked:
            self._look_at(self._model())

    def after_step(self, received: str | None = None) -> bool:
        """Do what is due after an optimiser step, by when this process has ``received`` a signal or not.

        Returns:
            True if the loss has exploded and the state is that of an earlier checkpoint now.
        """
        state, config = self._state, self._config
        state.seconds = self._agreement.exchange(received, time.monotonic() - self._begun)
        if self._due(config.log_images):
            losses = self._finite_losses()
            if self._exploded(losses):
                self._go_back(losses.mean)
                return True
            self._write_log(losses)
        if self._due(config.checkpoint_images) and not self._exploded(state.meter.summary()):
            self.save()
        first = config.preview_images
        seen = state.images_seen
        if first is not None and not self.finished and preview_due(first, seen - config.batch_size, seen):
            self._preview_between(self._model())
        self._callbacks.on_progress(
            Progress(state.step, state.images_seen, self.progress, state.seconds, self.loss, self._images_per_second)
        )
        return False

    def _exploded(self, losses: LossSummary) -> bool:
        """True if the losses since the last line of the log are no longer those of a training that learns.

        Only where the run may go back, and where there are any.
        """
        counted = losses.images + losses.not_finite
        return bool(self._config.lr_halvings and counted and not losses.mean <= _EXPLODED * self._state.lowest_loss)

    def _go_back(self, loss: float) -> None:
        """Take up an earlier checkpoint with half the learning rate; not the one that led straight here before."""
        state, images, lowest = self._state, self._state.images_seen, self._state.lowest_loss
        halvings, seconds = state.halvings + 1, state.seconds
        checkpoint = None
        if self._back_at is not None and self._back_at == self._saved_at:
            checkpoint = self._checkpoints.newest(before=self._back_at)
        checkpoint = checkpoint or self._checkpoints.newest()
        if halvings > self._config.lr_halvings or checkpoint is None:
            raise ValueError(
                f"the loss has grown from {lowest:.3g} to {loss:.3g} after {images:,} images, with {state.halvings} "
                f"halvings of the learning rate: train with a lower lr than {self._config.lr:g}"
            )
        state.restore(checkpoint)
        state.halvings, state.seconds = halvings, seconds
        self._saved_at = self._back_at = checkpoint.images_seen
        self._logged_at = (state.images_seen, seconds)
        if self._log is not None:
            self._log.close()
            self._log = MetricsLog(self.path, state.images_seen)
        rate = self._config.lr * 0.5**halvings
        self._warn(
            f"the loss has grown from {lowest:.3g} to {loss:.3g} after {images:,} images: the run goes on from "
            f"{state.images_seen:,} images with half the learning rate, {rate:.2g} at its highest"
        )

    def save(self) -> None:
        """Write the model and a checkpoint, unless that was done after this very step; then look at the model.

        The checkpoint comes after the model: if the process is killed in between, both are written again. What looks
        at the model comes last, when nothing can be lost any more; if it was killed, it is made up for on resumption.
        """
        state = self._state
        if self._saved_at == state.images_seen:
            return
        self._finite_losses()
        model, checkpoint = self._model(), self._checkpoint()
        if self._processes.main:
            self._save_model(model, "model")
            for name, average in state.averages.items():
                save_snapshot(self.path, average, below(name, checkpoint.tensors), state.images_seen)
            self._checkpoints.save(checkpoint)
        self._saved_at = state.images_seen
        self._look_at(model)

    def _checkpoint(self) -> Checkpoint:
        return self._state.checkpoint(
            config=to_dict(self._config), data=self._data.identity, network=self._state.network_fingerprint
        )

    def _save_model(self, model: Denoiser, name: str) -> None:
        """A network that was given as a module may be one that no part builds: then of that, the weights alone."""
        model.save(self.path / name, weights_only=blueprint_of(model.network) is None)

    def _note(self) -> str:
        """Say what the settings do not."""
        network = self._state.denoiser.network
        return f"network: not the one below, but a {type(network).__name__} that was given" * (
            blueprint_of(network) is None
        )

    def _model(self) -> Denoiser:
        """The denoiser with the averaged weights, and all that is known of it."""
        model = self._state.model
        model.facts = {
            "data": dict(self._data.facts),
            "provenance": {
                "program": f"elucidiff {importlib.metadata.version('elucidiff')}",
                "images_seen": self._state.images_seen,
                "training": to_dict(self._config),
            },
            **({} if self._config.objective.has_ode else tuned.told(self._config.start_from)),
        }
        return model

    def _look_at(self, model: Denoiser) -> None:
        """Check a model that was saved, keep it if it is the best so far, and show it to whoever listens."""
        if self._is_checked:
            values, doubts = self._checks.run(model, [] if self._log is None else self._log.lines())
            # The line comes last: it tells a resumed run that all this was done.
            if self._processes.main and values.get("validation_best_images") == self._state.images_seen:
                self._save_model(model, "best")
            if values:
                self._write({"step": self._state.step, **values})
            for doubt in doubts:
                self._warn(doubt)
        self._callbacks.on_checkpoint(model, self._state.images_seen, self.path)
        if self._config.preview_images is None or self.finished:
            self._preview(model)
        self._processes.wait_for_main()

    def _preview_between(self, model: Denoiser) -> None:
        """Between checkpoints. The other processes wait meanwhile."""
        self._preview(model)
        self._processes.wait_for_main()

    def _preview(self, model: Denoiser) -> None:
        self._callbacks.on_preview(model, self._state.images_seen, self.path, self._data.preview_pairs)

    @property
    def _is_checked(self) -> bool:
        """True if a model that is saved now is one to check.

        Not where a signal stopped the run: a resumed run is to write what an unbroken one does.
        """
        return self._checks.wanted and (self.finished or self._due(self._config.checkpoint_images))

    def _due(self, every: int) -> bool:
        """True if the last step passed a multiple of ``every`` images."""
        images = self._state.images_seen
        return images // every > (images - self._config.batch_size) // every

    def _write_log(self, losses: LossSummary) -> None:
        state = self._state
        state.meter.reset()
        state.lowest_loss = min(state.lowest_loss, losses.mean)
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
        """The losses since the last line of the log; refuses to go on if all of them are NaN or infinite.

        Where the run may go back to an earlier checkpoint, it does that instead.
        """
        losses = self._state.meter.summary()
        if losses.not_finite and not losses.images and not self._config.lr_halvings:
            raise ValueError(
                f"the loss is no longer finite after {self._state.images_seen} images: train with a lower lr than "
                f"{self._config.lr:g}, with gradient_clip, or in fp32"
            )
        return losses

    def _check_run_folder(self) -> None:
        """Refuse to resume what was not begun here; a killed process may have left no more than an empty folder."""
        if not self.path.is_dir():
            raise FileNotFoundError(f"there is no run to resume in {self.path}: no such folder")
        begun = (self.path / "config.yaml").exists()
        if not begun and any(not file.name.startswith(".") for file in self.path.iterdir()):
            raise FileNotFoundError(f"there is no run to resume in {self.path}: it has no config.yaml")

    def _shared_settings(self) -> dict[str, Any]:
        """The settings that have to be the same in all processes: all but where the data are and who reads them."""
        settings = to_dict(self._config)
        return {name: settings[name] for name in settings if name not in ("data", "condition", "data_workers")}

    def _restore(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            return
        try:
            self._refuse_changes("data set", checkpoint.state["data"], self._data.identity)
            self._refuse_changes("settings", checkpoint.state["config"], to_dict(self._config), _MAY_CHANGE)
            self._refuse_changes("network", checkpoint.state["network"], self._state.network_fingerprint)
            self._state.restore(checkpoint)
        except (KeyError, RuntimeError):
            raise ValueError(
                f"cannot resume {self.path}: its checkpoint is from another version of this program"
            ) from None
        self._saved_at = checkpoint.images_seen
        before = checkpoint.state["config"]
        self._leap = leap_of_rate(
            self._config,
            before["duration_images"],
            before["max_minutes"],
            checkpoint.images_seen,
            self._state.seconds,
        )

    def _refuse_changes(
        self, what: str, before: Mapping[str, Any], now: Mapping[str, Any], ignore: tuple[str, ...] = ()
    ) -> None:
        if difference := first_difference(before, now, ignore):
            name, old, new = difference
            raise ValueError(
                f"cannot resume {self.path}: its {what} had {name} {old}, now it is {new}; "
                "change it back, or start another run folder, from these weights with --from "
                f"{self.path / 'model'}"
            )
