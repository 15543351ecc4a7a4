"""Long work on the command line: bars and lines, notes on standard error, an end that Ctrl-C or SIGTERM ask for."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichBar

from elucidiff.launch.interrupt import Bar, Interrupt, Watch


class Progress(Bar):
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
        self._said = time.monotonic()
        self._base: tuple[float, float] | None = None  # when this session began, and how much was done then
        self._bar: RichBar | None = None
        if sys.stderr.isatty():
            self._bar = RichBar(
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

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar:
            self._bar.console.print(text)
        else:
            print(f"{self._what}: {text}", file=sys.stderr)

    def advance(self, amount: float) -> None:
        """Report ``amount`` more units of work, the first of them begun when this object was made."""
        self._base = self._base or (self._said, 0.0)
        self.reach(self._done + amount)

    def reach(self, done: float, note: str = "", fraction: float | None = None) -> None:
        """Report that ``done`` units are finished in all. The first report sets where this session began.

        Args:
            done: units of work, those of earlier sessions included.
            note: shown beside them, such as the current loss.
            fraction: the share of the work that this is, where something else than ``total`` may end it.
        """
        now = time.monotonic()
        began, before = self._base = self._base or (now, done)
        self._done, self._note = done, note or self._note
        if fraction:
            self._total = done / fraction
        speed = (done - before) / (now - began) if now > began else 0.0
        rate = f"{speed:,.1f} {self._unit}/s"
        if self._bar:
            self._bar.update(self._task, completed=done, total=self._total, rate=rate, note=self._note)
        elif now - self._said >= self._every and speed:
            self._said = now
            left = f"{(self._total - done) / speed:,.0f} s left"
            print(
                f"{self._what}: {done:,.0f}/{self._total:,.0f} {self._unit}, {rate}, {left} {self._note}".rstrip(),
                file=sys.stderr,
            )


class Telling(Watch):
    """Shows how far work has come."""

    def bar(self, what: str, total: float, unit: str) -> AbstractContextManager[Bar]:
        """See :class:`.Watch`."""
        return Progress(what, total, unit)

    def note(self, text: str) -> None:
        """See :class:`.Watch`."""
        print(text, file=sys.stderr, flush=True)

    def result(self, text: str) -> None:
        """See :class:`.Watch`."""
        print(text)


class Watching(Telling):
    """Shows how far work has come; the first signal ends it at the next place where nothing is lost."""

    def __init__(self) -> None:
        self._interrupt = Interrupt()

    def __enter__(self) -> Self:
        self._interrupt.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interrupt.__exit__(kind, error, trace)

    @property
    def received(self) -> str | None:
        """The signal that has come, if any."""
        return self._interrupt.received

    def stop_if_asked(self) -> None:
        """See :class:`.Watch`."""
        self._interrupt.stop_if_asked()


def code_after(signal: str | None) -> int:
    """The exit code of a verb that a signal ended early: 130 after Ctrl-C, as in shells, and 0 after SIGTERM."""
    return 130 if signal == "SIGINT" else 0
