"""Long work on the command line: bars, notes on standard error, and an end that Ctrl-C or SIGTERM ask for."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from elucidiff.cli.common.progress import Progress
from elucidiff.launch.interrupt import Bar, Interrupt, Watch


class Watching(Watch):
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

    def bar(self, what: str, total: float, unit: str) -> AbstractContextManager[Bar]:
        """See :class:`.Watch`."""
        return Progress(what, total, unit)

    def note(self, text: str) -> None:
        """See :class:`.Watch`."""
        print(text, file=sys.stderr, flush=True)

    def result(self, text: str) -> None:
        """See :class:`.Watch`."""
        print(text)

    def stop_if_asked(self) -> None:
        """See :class:`.Watch`."""
        self._interrupt.stop_if_asked()


def code_after(signal: str | None) -> int:
    """The exit code of a verb that a signal ended early: 130 after Ctrl-C, as in shells, and 0 after SIGTERM."""
    return 130 if signal == "SIGINT" else 0
