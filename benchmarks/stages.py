"""Putting down the time of a program to its stages."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

Timed = Callable[[str, Callable[..., Any]], Callable[..., Any]]


@contextlib.contextmanager
def watched(timed: Timed, watch: Sequence[tuple[object, str, str]]) -> Iterator[None]:
    """While this is active, functions are replaced by ``timed(stage, function)``.

    Args:
        timed: makes a function whose time is put down to a stage.
        watch: owner, name and stage of each function.
    """
    with contextlib.ExitStack() as stack:
        for owner, name, stage in watch:
            function = timed(stage, getattr(owner, name))
            # A plain function, so that it becomes a method again.
            stack.enter_context(mock.patch.object(owner, name, lambda *a, _f=function, **k: _f(*a, **k)))
        yield
