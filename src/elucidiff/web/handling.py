"""What happens when somebody asks the page for samples: checked, in line, drawn, shown, stopped."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from elucidiff.untrusted import clipped, printable
from elucidiff.web import fragments
from elucidiff.web.engine import Explorer, State
from elucidiff.web.fragments import Side
from elucidiff.web.line import FullError, Line
from elucidiff.web.request import Request
from elucidiff.web.stopping import Stop, StoppedError

_POLL = 0.05  # seconds
_BROWSERS = 32  # whose last samples are kept


@dataclass(frozen=True)
class Shown:
    """The parts of a page that tell about samples, as HTML; None leaves one as it is."""

    said: str | None = None
    sides: str | None = None
    strip: str | None = None
    plots: str | None = None
    recipes: str | None = None

    @property
    def parts(self) -> tuple[str | None, ...]:
        """In the order of the fields."""
        return self.said, self.sides, self.strip, self.plots, self.recipes


@dataclass(frozen=True)
class Progress:
    """How far a request has come.

    Attributes:
        asked: the settings, by name.
        sides: those whose samples are there.
        state: of the one that is being drawn; None before its first step.
        comparing: whether exact solutions are being computed.
    """

    asked: Sequence[tuple[str, Request]]
    sides: tuple[Side, ...] = ()
    state: State | None = None
    comparing: bool = False


class Desk:
    """Serves all browsers.

    Args:
        explorer: draws.
        line: lets them in.
    """

    def __init__(self, explorer: Explorer, line: Line) -> None:
        self.explorer, self.line = explorer, line
        self._stops: dict[str, set[Stop]] = {}
        self._last: OrderedDict[str, tuple[Side, ...]] = OrderedDict()

    async def serve(self, who: str, asked: Sequence[tuple[str, Request]], *, compare: bool) -> AsyncIterator[Shown]:
        """Draw, and tell how it goes; closing the iterator ends the work.

        Args:
            who: the browser.
            asked: one or two settings by name, found right.
            compare: with the exact solutions, where there are any.
        """
        try:
            ticket = self.line.join(who)
        except FullError as error:
            yield Shown(fragments.said(f"{error}.", "wrong"))
            return
        stop = Stop()
        self._stops.setdefault(who, set()).add(stop)
        begun = False
        try:
            ahead = -1
            while stop.asked or not ticket.at_work:
                if stop.asked:
                    yield Shown(fragments.said("Stopped while waiting."))
                    return
                if ticket.ahead != ahead:
                    ahead = ticket.ahead
                    text = f"Waiting: {ahead} before you." if ahead else "Waiting: you are next."
                    yield Shown(fragments.said(text, "wait"))
                await asyncio.sleep(_POLL)
            work = _Work(self.explorer, asked, stop, ticket.leave, compare=compare)
            begun = True
            async for progress in work.watched():
                yield await asyncio.to_thread(self._shown, progress)
            if work.failure is not None:
                yield Shown(fragments.said(*_told(work.failure)))
                return
            self._keep(who, work.progress.sides)
            yield await asyncio.to_thread(self._finished, work.progress.sides)
        finally:
            stop.ask()
            self._stops.get(who, set()).discard(stop)
            if not begun:
                ticket.leave()

    def stop(self, who: str) -> None:
        """End all that a browser has asked for."""
        for stop in list(self._stops.get(who, ())):
            stop.ask()

    def left(self, who: str) -> None:
        """A browser has gone: nothing is done for it any more, and nothing kept."""
        self.stop(who)
        self._stops.pop(who, None)
        self._last.pop(who, None)

    def last(self, who: str) -> tuple[Side, ...]:
        """The samples that a browser was shown last."""
        return self._last.get(who, ())

    def picked(self, who: str, row: int) -> Shown:
        """The way of one of the samples that a browser was shown last."""
        shown = self.last(who)
        if not shown or not 0 <= row < len(shown[0].outcome.seeds):
            return Shown()
        return self._ways(shown, row)

    def _keep(self, who: str, shown: tuple[Side, ...]) -> None:
        if who in self._stops:  # it has not gone meanwhile
            self._last[who] = shown
            self._last.move_to_end(who)
        while len(self._last) > _BROWSERS:
            self._last.popitem(last=False)

    def _shown(self, progress: Progress) -> Shown:
        sides = [fragments.done(side, 0, comparing=progress.comparing) for side in progress.sides]
        if len(sides) < len(progress.asked):
            name, request = progress.asked[len(sides)]
            if progress.state is not None:
                sides.append(fragments.under_way(name, fragments.words(request), progress.state))
            text = f"Drawing {name}."
        else:
            text = "Solving the ODE exactly from the same seeds." if progress.comparing else "Drawn."
        return Shown(fragments.said(text), fragments.sides(sides) if sides else None)

    def _finished(self, shown: tuple[Side, ...]) -> Shown:
        traced = any(side.outcome.trace is not None for side in shown)
        hint = " Click a picture to see its way." if traced else ""
        return replace(
            self._ways(shown, 0),
            said=fragments.said(f"Done.{hint}", "done"),
            recipes=fragments.recipes(shown, self.explorer.model),
        )

    def _ways(self, shown: tuple[Side, ...], row: int) -> Shown:
        std = self.explorer.loaded.sigma_data
        return Shown(
            sides=fragments.sides([fragments.done(side, row) for side in shown]),
            strip=fragments.strip(shown, row, std, self.explorer.scaling.to_data),
            plots=fragments.drawn(shown, row, std),
        )


class _Work:
    """The work of one request, in a thread of its own, which tells how far it is."""

    def __init__(
        self,
        explorer: Explorer,
        asked: Sequence[tuple[str, Request]],
        stop: Stop,
        end: Callable[[], object],
        *,
        compare: bool,
    ) -> None:
        self.progress = Progress(asked)
        self.failure: BaseException | None = None
        self._explorer, self._stop, self._end, self._compare = explorer, stop, end, compare
        self._thread = threading.Thread(target=self._run, daemon=True)

    async def watched(self) -> AsyncIterator[Progress]:
        """Begin, and give every state that there is time to look at."""
        self._thread.start()
        seen = self.progress
        while self._thread.is_alive():
            await asyncio.sleep(_POLL)
            if self.progress is not seen and self._thread.is_alive():
                seen = self.progress
                yield seen

    def _run(self) -> None:
        try:
            sides: tuple[Side, ...] = ()
            for name, request in self.progress.asked:
                self.progress = Progress(self.progress.asked, sides)
                outcome = self._explorer.draw(request, self._note, self._stop)
                sides = (*sides, Side(name, outcome, inexact=self._explorer.why_inexact(request)))
            if self._compare and any(side.inexact is None for side in sides):
                self.progress = Progress(self.progress.asked, sides, comparing=True)
                sides = tuple(side if side.inexact else self._compared(side) for side in sides)
            self.progress = Progress(self.progress.asked, sides)
        except BaseException as error:  # a thread's own end: it is told by whoever watches
            self.failure = error
        finally:
            self._end()

    def _compared(self, side: Side) -> Side:
        return replace(side, exact=self._explorer.exactness(side.outcome, self._stop))

    def _note(self, state: State) -> None:
        self.progress = Progress(self.progress.asked, self.progress.sides, state)


def _told(error: BaseException) -> tuple[str, str]:
    if isinstance(error, StoppedError):
        return "Stopped.", "status"
    text = clipped(printable(" ".join(str(error).split())), 400)
    if isinstance(error, (ValueError, OSError)):
        return f"{text}.", "wrong"
    return f"A fault in the program: {type(error).__name__}: {text}", "wrong"
