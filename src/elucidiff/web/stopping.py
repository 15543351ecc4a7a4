"""An end that somebody else can ask for, in the midst of a network's evaluations."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class StoppedError(Exception):
    """The work was stopped; nothing came of it."""


class Stop:
    """Ends work that looks at it: :meth:`ask` may be called by any thread.

    >>> stop = Stop()
    >>> stop.ask()
    >>> stop.look()
    Traceback (most recent call last):
        ...
    elucidiff.web.stopping.StoppedError
    """

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Have the work end soon."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """True if it is to end."""
        return self._asked.is_set()

    def look(self) -> None:
        """Raise :class:`StoppedError` if it is to end."""
        if self._asked.is_set():
            raise StoppedError


class Guard:
    """Looks at every call of a module, whoever made it: work ends within one evaluation, and has a budget of calls.

    A callback after each step would not do, as an adaptive solver may evaluate a thousand times in one.

    Args:
        modules: whose calls are looked at, for good.
    """

    def __init__(self, *modules: nn.Module) -> None:
        self._here = threading.local()
        for module in modules:
            module.register_forward_pre_hook(self._called)

    @contextmanager
    def watching(self, stop: Stop, most: int) -> Iterator[None]:
        """Within this block, calls that this thread makes look at ``stop``, and are ``most`` at most.

        Raises:
            ValueError: there were more.
        """
        self._here.stop, self._here.left = stop, most
        try:
            yield
        finally:
            self._here.stop = None

    def _called(self, module: nn.Module, inputs: Any) -> None:
        stop: Stop | None = getattr(self._here, "stop", None)
        if stop is None:
            return
        stop.look()
        self._here.left -= 1
        if self._here.left < 0:
            raise ValueError("this takes more evaluations than a request may: ask for larger tolerances")
