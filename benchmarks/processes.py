"""Processes as one side of a comparison: started beforehand, and told when to work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any


class Side:
    """Processes that work whenever they are told to, and are waited for; so the other side has the machine meanwhile.

    Args:
        work: called in each process with its end of a pipe and its arguments. It works once for every ``end.recv()``
            that is true, and says so by sending something; it returns when that is false.
        arguments: those of each process.
    """

    def __init__(self, work: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> None:
        context = get_context("spawn")
        self._ends: list[Connection] = []
        self._processes: list[SpawnProcess] = []
        for given in arguments:
            ours, theirs = context.Pipe()
            self._processes.append(context.Process(target=work, args=(theirs, *given), daemon=True))
            self._processes[-1].start()
            self._ends.append(ours)

    def __call__(self) -> list[Any]:
        """Have them work once; what each of them sends."""
        for end in self._ends:
            end.send("go")
        return [end.recv() for end in self._ends]

    def end(self) -> None:
        """Let them go."""
        for end in self._ends:
            end.send("")
        for process in self._processes:
            process.join()
