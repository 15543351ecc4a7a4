"""A sampling job from beginning to end, in one process or many, on one machine or many."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from elucidiff.launch.coordination import NoticeBoard, notice_board
from elucidiff.launch.interrupt import Interrupt, StoppedError
from elucidiff.launch.lock import held
from elucidiff.sampling.jobs.batch_size import processes_worthwhile
from elucidiff.sampling.jobs.folder import JobFolder
from elucidiff.sampling.jobs.process_pool import work_in_crew, work_launched
from elucidiff.sampling.jobs.worker import Event, Task, work


class Callbacks:
    """Who is told how a job goes; these do nothing, override what you need."""

    def on_progress(self, done: int, total: int) -> None:
        """So many of all samples are drawn, those of earlier sessions included."""

    def on_note(self, text: str) -> None:
        """Something is worth a line."""

    def on_drawn(self, outcome: Outcome) -> None:
        """All samples are there; what is written now belongs to the job, which is not finished if this fails."""


class Monitor:
    """Keeps count of a job, its log, and its listeners.

    Args:
        folder: of the job, for its log.
        before: samples of earlier sessions.
        callbacks: the listeners.

    Attributes:
        drawn: samples drawn in this session.
    """

    def __init__(self, folder: JobFolder, before: int, callbacks: Callbacks) -> None:
        self.drawn = 0
        self._folder, self._before, self._callbacks = folder, before, callbacks
        self.progress()

    def __call__(self, event: Event) -> None:
        """Something happened."""
        shard = f"shard {event.shard} ({event.samples} samples)"
        if event.kind == "samples":
            self.drawn += event.samples
            self.progress()
        elif event.kind == "written":
            self._folder.log(f"{shard} written: {event.text}")
        elif event.kind == "damaged":
            self._before -= event.samples
            self._folder.log(f"{shard} is drawn again: {event.text}")
            self._callbacks.on_note(f"shard {event.shard} is drawn again: {event.text}")

    def progress(self) -> None:
        """Tell how far the job is."""
        self._callbacks.on_progress(self._before + self.drawn, len(self._folder.job.seeds))


Prepare = Callable[[int | None], Task]


@dataclass(frozen=True)
class Outcome:
    """How a job ended, as the process knows that was asked to do it (process 0, if a launcher started many).

    Attributes:
        folder: of the job.
        done: samples that are there, whole and recorded.
        drawn: samples drawn in this session.
        seconds: time that this session took.
        interrupted: ``"SIGINT"`` or ``"SIGTERM"`` if that ended it before all was done.
        nfe: network evaluations of a sample, on average; NaN if it was ended early.
    """

    folder: JobFolder
    done: int
    drawn: int
    seconds: float
    interrupted: str | None
    nfe: float = float("nan")


def run_job(
    prepare: Prepare,
    path: str | os.PathLike[str],
    *,
    processes: int | None = None,
    overwrite: bool = False,
    callbacks: Callbacks | None = None,
) -> Outcome | None:
    """Draw the samples of a job that are not there yet.

    The same job can be begun, stopped (by the first SIGINT or SIGTERM, or by a kill) and gone on with in any number
    of processes, as long as the folder is the same: the files are the same to the bit. Where a launcher has started
    the processes, all of them call this.

    Args:
        prepare: makes the task; called once in every process, with the number of the process on its machine if there
            are several, else with None. With more than one process it has to be importable by the others.
        path: folder of the job. It gets ``job.json``, ``log.txt``, ``records/`` and the samples; see
            :class:`.JobFolder` and :mod:`.outputs`.
        processes: how many to start on this machine; None starts what is worthwhile, see
            :func:`.processes_worthwhile`. Not where a launcher has started some.
        overwrite: forget what is in the folder.
        callbacks: who is told how it goes.

    Returns:
        How it ended; None in a process that is not the first.

    Raises:
        ValueError: the folder holds something else, a sample is not finite, ``prepare`` refuses; or the processes do
            not have all the same job.
        OSError: something could not be written. What was written before is intact, and the same call goes on.
    """
    board, task, folder = _ready(prepare, Path(path), processes, overwrite)
    callbacks = callbacks or Callbacks()
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt(echoes=board is not None))
        stack.enter_context(task.computing())
        if board is not None and board.rank > 0:
            board.from_main()
            work_launched(board, task, folder.path, lambda event: None, interrupt)
            return None
        stack.enter_context(held(folder.path))
        started = time.monotonic()
        monitor, count = _begin(board, task, folder, processes, overwrite, callbacks)
        shards, stopped = itertools.count(), None
        try:
            if board is not None:
                stopped = work_launched(board, task, folder.path, monitor, interrupt)
            elif count > 1:
                work_in_crew(prepare, folder.path, count, lambda: next(shards), monitor, interrupt.stop_if_asked)
            else:
                work(task, folder, lambda: next(shards), monitor, interrupt.stop_if_asked)
        except StoppedError as error:
            stopped = error.signal
        except (ValueError, OSError) as error:
            with contextlib.suppress(OSError):  # the disk may be full
                folder.log(f"failed: {error}")
            raise
        return _end(folder, monitor.drawn, time.monotonic() - started, stopped)


def _ready(
    prepare: Prepare, path: Path, processes: int | None, overwrite: bool
) -> tuple[NoticeBoard | None, Task, JobFolder]:
    """The task, and what else is known before anything is written; everything that can be wrong is found here."""
    if processes is not None and processes < 1:
        raise ValueError(f"--processes is {processes}, but must be at least 1, or auto")
    board = notice_board()
    board = None if board is None or board.count == 1 else board
    if board is not None and processes is not None:
        raise ValueError(f"a launcher started {board.count} processes: leave --processes out")
    several = board is not None or (processes or 1) > 1
    task = prepare(int(os.environ.get("LOCAL_RANK", "0")) if several else None)
    folder = task.folder(path)
    if (board is None or board.rank == 0) and not overwrite:
        folder.check()
    if board is not None:
        board.refuse_differences(task.job.identity())
        board.meet()  # nothing is written before all have found everything right
    return board, task, folder


def _begin(
    board: NoticeBoard | None,
    task: Task,
    folder: JobFolder,
    processes: int | None,
    overwrite: bool,
    callbacks: Callbacks,
) -> tuple[Monitor, int]:
    """Make the folder ready; who keeps count, and how many processes work."""
    total = len(task.job.seeds)
    for note in task.notes:
        callbacks.on_note(note)
    before = folder.begin(overwrite)
    if board is not None:
        board.from_main()
    elif processes is None:
        processes = processes_worthwhile(task, total - before)
    count = board.count if board is not None else min(processes or 1, task.job.shards)
    how = f"{'goes on' if before else 'begins'} in {count} process{'es' if count > 1 else ''}"
    folder.log(f"{how}: {before} of {total} samples are there; seeds {task.job.seeds}")
    if before:
        callbacks.on_note(f"going on: {before:,} of {total:,} samples are there")
    return Monitor(folder, before, callbacks), count


def _end(folder: JobFolder, drawn: int, seconds: float, stopped: str | None) -> Outcome:
    """Note how it ended."""
    done, total = folder.recorded(), len(folder.job.seeds)
    if stopped is None:
        folder.finish()
        folder.log(f"finished: {total} samples")
    else:
        folder.log(f"stopped by {stopped}: {done} of {total} samples are there")
    nfe = folder.evaluations() / total if stopped is None else float("nan")
    return Outcome(folder, done, drawn, seconds, stopped, nfe)
