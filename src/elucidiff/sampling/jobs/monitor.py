"""How far a job is: counted, logged, and told to whoever listens."""

from __future__ import annotations

from elucidiff.sampling.jobs.folder import JobFolder
from elucidiff.sampling.jobs.work import Event


class Callbacks:
    """Who is told how a job goes; these do nothing, override what you need."""

    def on_progress(self, done: int, total: int) -> None:
        """So many of all samples are drawn, those of earlier sessions included."""

    def on_note(self, text: str) -> None:
        """Something is worth a line."""


class Monitor:
    """Keeps count of a job, its log, and its listeners.

    Args:
        folder: of the job, for its log.
        before: samples of earlier sessions.
        callbacks: the listeners.

    Attributes:
        drawn: samples drawn in this session.
    """

    def __init__(self, folder: JobFolder, before: int, callbacks: Callbacks) -> None:
        self.drawn = 0
        self._folder, self._before, self._callbacks = folder, before, callbacks
        self.progress()

    def __call__(self, event: Event) -> None:
        """Something happened."""
        shard = f"shard {event.shard} ({event.samples} samples)"
        if event.kind == "samples":
            self.drawn += event.samples
            self.progress()
        elif event.kind == "written":
            self._folder.log(f"{shard} written: {event.text}")
        elif event.kind == "damaged":
            self._before -= event.samples
            self._folder.log(f"{shard} is drawn again: {event.text}")
            self._callbacks.on_note(f"shard {event.shard} is drawn again: {event.text}")

    def progress(self) -> None:
        """Tell how far the job is."""
        self._callbacks.on_progress(self._before + self.drawn, len(self._folder.job.seeds))
