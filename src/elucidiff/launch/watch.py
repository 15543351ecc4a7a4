"""Who is told how long work goes, and may end it: silent in the library, bars and signals on the command line."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext


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
