"""The line before the explorer: how many work at once, who is next, and who has to come again."""

from __future__ import annotations

import itertools
import threading
from types import TracebackType
from typing import Self

MOST_WAITING = 19
"""So many may wait; who comes then is asked to come again."""


class FullError(Exception):
    """Too many are waiting already."""


class Ticket:
    """A place in the line, or at work. As a context manager it is given back at the end of the block."""

    def __init__(self, line: Line, who: str, number: int) -> None:
        self.who, self.number = who, number
        self._line = line

    @property
    def ahead(self) -> int:
        """How many others are served before this one; 0 if it is next, or at work."""
        return self._line.ahead(self)

    @property
    def at_work(self) -> bool:
        """True once it is this one's turn."""
        return self._line.is_at_work(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the turn; returns whether it has come."""
        return self._line.wait(self, timeout)

    def leave(self) -> None:
        """Give the place back; twice does no harm."""
        self._line.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


class Line:
    """Lets requests of several browsers work, in turn: the one that was served least comes first.

    Of one browser one request works at a time, and its requests keep their order; one that asks for ten things at
    once does not keep the others waiting for all ten.

    Args:
        lanes: requests that work at once.
        most: requests that may wait.

    >>> line = Line(lanes=1, most=3)
    >>> first, second, other = line.join("ann"), line.join("ann"), line.join("bob")
    >>> first.at_work, second.ahead, other.ahead
    (True, 1, 0)
    >>> first.leave()
    >>> other.at_work, second.at_work
    (True, False)
    """

    def __init__(self, lanes: int = 1, most: int = MOST_WAITING) -> None:
        self.lanes, self.most = lanes, most
        self._numbers = itertools.count()
        self._turn = threading.Condition()
        self._waiting: list[Ticket] = []
        self._working: list[Ticket] = []
        self._served: dict[str, int] = {}

    def join(self, who: str) -> Ticket:
        """A ticket for one more request of a browser.

        Raises:
            FullError: ``most`` are waiting.
        """
        with self._turn:
            if len(self._waiting) >= self.most:
                raise FullError(f"{len(self._waiting)} requests are waiting already: please try again in a minute")
            ticket = Ticket(self, who, next(self._numbers))
            self._waiting.append(ticket)
            # A newcomer is next, but does not catch up with all that others were given before it came.
            others = {each.who for each in (*self._waiting, *self._working)} - {who}
            least = min((self._served.get(each, 0) for each in others), default=0)
            self._served[who] = max(self._served.get(who, 0), least - 1)
            self._admit()
            return ticket

    def leave(self, ticket: Ticket) -> None:
        """Take a ticket out, wherever it is."""
        with self._turn:
            for places in (self._waiting, self._working):
                if ticket in places:
                    places.remove(ticket)
            present = {each.who for each in (*self._waiting, *self._working)}
            self._served = {who: count for who, count in self._served.items() if who in present}
            self._admit()

    def ahead(self, ticket: Ticket) -> int:
        """How many are served before this one."""
        with self._turn:
            order = self._order()
            return order.index(ticket) if ticket in order else 0

    def is_at_work(self, ticket: Ticket) -> bool:
        """True once it is its turn."""
        with self._turn:
            return ticket in self._working

    def wait(self, ticket: Ticket, timeout: float | None) -> bool:
        """Wait for its turn."""
        with self._turn:
            self._turn.wait_for(lambda: ticket in self._working or ticket not in self._waiting, timeout)
            return ticket in self._working

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._turn:
            return len(self._waiting)

    def _order(self) -> list[Ticket]:
        """Who waits, in the order in which they will be served, as far as is known now."""
        served, left, order = dict(self._served), list(self._waiting), []
        while left:
            following = min(left, key=lambda each: (served.get(each.who, 0), each.number))
            served[following.who] = served.get(following.who, 0) + 1
            left.remove(following)
            order.append(following)
        return order

    def _admit(self) -> None:
        for ticket in self._order():
            if len(self._working) >= self.lanes:
                break
            if ticket.who not in {each.who for each in self._working}:
                self._waiting.remove(ticket)
                self._working.append(ticket)
                self._served[ticket.who] = self._served.get(ticket.who, 0) + 1
        self._turn.notify_all()
