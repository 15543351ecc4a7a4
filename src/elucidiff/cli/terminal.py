"""The world that a command meets: streams that may be closed, full or narrow, and signals at any moment."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells give it: 128 and the number of SIGINT."""


class Streams:
    """Standard output and error that end no work: what cannot be written is dropped.

    What a command prints is not what it is for: a training does not die because nobody reads its notes any more. A
    character that the encoding lacks is escaped.

    Attributes:
        failure: what was wrong with standard output first, other than that its reader went away; None if nothing.
    """

    def __init__(self) -> None:
        _fill_closed()
        self._out, self._error = _Lasting(1), _Lasting(2)

    def __enter__(self) -> Streams:
        sys.stdout, sys.stderr = (
            _text(raw, was) for raw, was in ((self._out, sys.stdout), (self._error, sys.stderr))
        )
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()

    @property
    def failure(self) -> OSError | None:
        found = self._out.failure
        return None if isinstance(found, BrokenPipeError) else found


class _Lasting(io.FileIO):
    """A descriptor that takes all that is written to it, and drops it once it has failed."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        while self.failure is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.failure = error
                break
            if written is not None:
                return written
            select.select([], [self.fileno()], [])  # somebody has set it not to block, and it is full
        return memoryview(data).nbytes


def _text(raw: _Lasting, before: TextIO | None) -> TextIO:
    """A text stream on ``raw`` that is otherwise as the one before."""
    encoding = getattr(before, "encoding", None) or "utf-8"
    lines = raw.fileno() == 2 or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=lines)


def _fill_closed() -> None:
    """Open the null device in place of standard streams that are closed: or the next file that is opened, a
    checkpoint, say, would get their number, and what is printed."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)


class Signals:
    """The effect of Ctrl-C in a command: an end at once while it is starting or ending, else KeyboardInterrupt.

    In the midst of importing, an exception can be turned into another one, or be lost, by whatever is being imported.
    SIGTERM is left as it is. Nothing is done where Ctrl-C is ignored (nohup, a job in the background), and outside
    the main thread.

    Attributes:
        received: whether one has come.
    """

    def __init__(self) -> None:
        self.received = False
        self._at_once = False
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._note)

    @contextlib.contextmanager
    def ending_at_once(self) -> Iterator[None]:
        """While active, Ctrl-C ends the process: there is nothing yet that could be lost."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def no_more(self) -> None:
        """From now on Ctrl-C ends the process: all is done, and the interpreter is shutting down."""
        self._at_once = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        if self._at_once:
            with contextlib.suppress(OSError):
                os.write(2, b"elucidiff: interrupted\n")
            os._exit(INTERRUPTED)
        raise KeyboardInterrupt
