"""Processes of any number of machines that share a job, started by torchrun or ``accelerate launch``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from elucidiff.launch.interrupt import Interrupt, StoppedError
from elucidiff.launch.notices import NoticeBoard
from elucidiff.sampling.jobs.task import Task
from elucidiff.sampling.jobs.work import Event, work

_LOOK_S = 0.5


def work_launched(
    board: NoticeBoard, task: Task, path: Path, tell: Callable[[Event], object], interrupt: Interrupt
) -> str | None:
    """Do this process's part of a job, and end when all are done.

    Shards are handed out by a number that all share, so that faster processes do more. Process 0 hears what the
    others do; a signal that any of them receives stops all.

    Args:
        board: where they leave each other notices.
        task: what to do.
        path: folder of the job, the same for all.
        tell: is told what happens, in process 0.
        interrupt: what this process has received.

    Returns:
        The signal that stopped the work, if one did.

    Raises:
        ValueError: as :func:`.work`.
        OSError: likewise; ConnectionAbortedError: another process has failed.
    """
    post = Posts(board, tell)

    def pause() -> None:
        if interrupt.received:
            board.stop(interrupt.received)
        if (interrupt.received or post.look()) and board.stopped():
            raise StoppedError

    try:
        work(task, task.folder(path), lambda: board.count_up("shards") - 1, post, pause)
        while board.rank == 0 and board.count_up("done", 0) < board.count - 1:
            pause()
            time.sleep(_LOOK_S / 5)
    except StoppedError:
        pass
    board.count_up("done")
    board.meet()
    post.look(at_once=True)
    return board.stopped()


class Posts:
    """Brings what happens to process 0.

    Args:
        board: for all of them.
        tell: is told there.
    """

    def __init__(self, board: NoticeBoard, tell: Callable[[Event], object]) -> None:
        self._board, self._tell = board, tell
        self._samples = 0
        self._looked = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Something happened here."""
        if event.kind == "samples":
            # A number, rather than a notice: there are too many of these for one process to read.
            self._board.count_up("samples", event.samples)
        elif self._board.rank == 0:
            self._tell(event)
        else:
            self._board.post(json.dumps(asdict(event)))

    def look(self, *, at_once: bool = False) -> bool:
        """See what is new, if the last look is long ago; whether it was."""
        if not at_once and time.monotonic() - self._looked < _LOOK_S:
            return False
        self._looked = time.monotonic()
        if self._board.rank == 0:
            new = self._board.count_up("samples", 0) - self._samples
            self._samples += new
            if new:
                self._tell(Event("samples", -1, new))
            for text in self._board.posted():
                self._tell(Event(**json.loads(text)))
        return True
