"""Work that takes long: who is told how it goes, and Ctrl-C and SIGTERM as a wish to end it soon, or at once."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from types import FrameType, TracebackType
from typing import Any


class Bar:
    """Progress of one stage of the work; this one shows nothing."""

    def advance(self, amount: float) -> None:
        """Report ``amount`` more units of work."""

    def reach(self, done: float, note: str = "") -> None:
        """Report that ``done`` units are finished in all, and what is being done."""

    def say(self, text: str) -> None:
        """Report something that is worth a line."""


class Watch:
    """Watches work that takes long; this one is silent and lets it go on. Override what you need.

    Example: a bar of one's own for an evaluation.

    >>> from contextlib import nullcontext
    >>> class Printed(Watch):
    ...     def bar(self, what, total, unit):
    ...         print(f"{what}: {total} {unit}")
    ...         return nullcontext(Bar())
    >>> with Printed().bar("reference", 100, "images") as bar:
    ...     bar.advance(100)
    reference: 100 images
    """

    def bar(self, what: str, total: float, unit: str) -> AbstractContextManager[Bar]:
        """Open the progress of a stage, such as ``bar("sampling", 1000, "images")``."""
        return nullcontext(Bar())

    def note(self, text: str) -> None:
        """Take note of something that is worth a line, such as a warning."""

    def result(self, text: str) -> None:
        """Take note of something that was found, which is what the work is for."""

    def stop_if_asked(self) -> None:
        """Raise :class:`.StoppedError` to end the work at the next place where that loses nothing."""

    def asks_to_stop(self) -> bool:
        """True once :meth:`stop_if_asked` raises, for work that ends by itself."""
        try:
            self.stop_if_asked()
        except StoppedError:
            return True
        return False


_ECHO_S = 10.0


class StoppedError(Exception):
    """Somebody asked for an end before the work was done.

    Args:
        signal: ``"SIGINT"`` or ``"SIGTERM"``; None if the word came from elsewhere.
    """

    def __init__(self, signal: str | None = None) -> None:
        super().__init__(signal)
        self.signal = signal


class Interrupt:
    """While active, the first SIGINT or SIGTERM is noted in :attr:`received`, and a second one acts as usual.

    Outside the main thread, where Python takes no signal handlers, this does nothing.

    Args:
        echoes: whether what follows the first within 10 seconds is its echo, and nothing new: Ctrl-C on a terminal
            reaches a process once by itself, and once more through the launcher that started it.

    Attributes:
        received: ``"SIGINT"`` or ``"SIGTERM"`` once one has come, else None.
    """

    def __init__(self, echoes: bool = False) -> None:
        self.received: str | None = None
        self._echo_s, self._echo_until = _ECHO_S if echoes else 0.0, math.inf
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def stop_if_asked(self) -> None:
        """Raise :class:`StoppedError` once a signal has come."""
        if self.received is not None:
            raise StoppedError(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._echo_until = signal.Signals(number).name, now + self._echo_s
        elif now >= self._echo_until:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            # None stands for a handler that was not set by Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}


class Terminated(KeyboardInterrupt):
    """The exception that SIGTERM raises within :func:`sigterm_raises`."""


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Have SIGTERM raise :class:`Terminated`, as Ctrl-C raises KeyboardInterrupt: for work that keeps what it has.

    Outside the main thread, where Python takes no signal handlers, this does nothing.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
