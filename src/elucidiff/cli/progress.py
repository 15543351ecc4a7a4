"""Progress of long work: a bar with rate and time left on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """A context manager that shows how far work has come.

    Args:
        what: the work, such as "sampling".
        total: units of work in all.
        unit: their name, such as "images".
        every_s: without a terminal, a line is printed at most this often.
    """

    def __init__(self, what: str, total: float, unit: str, *, every_s: float = 30.0) -> None:
        self._what, self._total, self._unit, self._every = what, total, unit, every_s
        self._done, self._note = 0.0, ""
        self._started = self._said = time.monotonic()
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(what, total=total, unit=unit, rate="", note="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, amount: float, note: str = "") -> None:
        """Report ``amount`` more units of work, with an optional note such as the current loss."""
        self.reach(self._done + amount, note)

    def reach(self, done: float, note: str = "", fraction: float | None = None) -> None:
        """Report that ``done`` units are finished in all.

        Args:
            done: units of work.
            note: shown beside them.
            fraction: the share of the work that this is, where something else than ``total`` may end it.
        """
        self._done, self._note = done, note or self._note
        if fraction:
            self._total = done / fraction
        now = time.monotonic()
        rate = f"{done / max(now - self._started, 1e-9):,.1f} {self._unit}/s"
        if self._bar:
            self._bar.update(self._task, completed=done, total=self._total, rate=rate, note=self._note)
        elif now - self._said >= self._every:
            self._said = now
            left = (self._total - done) * (now - self._started) / max(done, 1e-9)
            print(
                f"{self._what}: {done:,.0f}/{self._total:,.0f} {self._unit}, {rate}, {left:,.0f} s left {self._note}",
                file=sys.stderr,
            )
