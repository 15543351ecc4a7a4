"""Callbacks: whoever is told how a training goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elucidiff.data.dataset import Dataset
from elucidiff.denoisers.preconditioned import Denoiser


@dataclass(frozen=True)
class Progress:
    """The state of a run after an optimiser step.

    Attributes:
        step: optimiser steps so far.
        images_seen: training images so far.
        fraction: share of the run that is done, in [0, 1].
        seconds: time spent so far, over all sessions of the run.
        loss: mean weighted loss in the last line of the log; None before the first.
        images_per_second: speed in the last line of the log; None before the first.

    >>> import elucidiff as ed
    >>> progress = ed.training.Progress(10, 640, 0.5, seconds=3.2, loss=None, images_per_second=None)
    >>> progress.images_seen / progress.seconds
    200.0
    """

    step: int
    images_seen: int
    fraction: float
    seconds: float
    loss: float | None
    images_per_second: float | None


class Callbacks:
    """Callbacks of a run; each does nothing here. Override what is of interest.

    >>> import elucidiff as ed
    >>> class Printing(ed.training.Callbacks):
    ...     def on_progress(self, progress):
    ...         print(f"{progress.fraction:.0%}")
    ...
    >>> Printing().on_progress(ed.training.Progress(10, 640, 0.5, 3.0, None, None))
    50%
    """

    def on_note(self, text: str) -> None:
        """Something worth knowing, in one line: what is done that takes time, or why something is not done."""

    def on_progress(self, progress: Progress) -> None:
        """After every optimiser step. Make it quick: training waits."""

    def on_checkpoint(self, model: Denoiser, images_seen: int, run_dir: Path) -> None:
        """After every checkpoint and its checks, with the averaged weights; what they found is in metrics.jsonl."""

    def on_preview(self, model: Denoiser, images_seen: int, run_dir: Path, pairs: Dataset | None = None) -> None:
        """The moment to draw samples into ``run_dir/samples``, with the averaged weights.

        That is after every checkpoint, or with ``preview_images`` at growing intervals and at the end.
        """
