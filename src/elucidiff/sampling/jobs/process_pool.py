"""Processes of one machine that share a job, started and watched by the process that was asked to do it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing import connection, get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from elucidiff.launch.coordination import NoticeBoard
from elucidiff.launch.interrupt import Interrupt, StoppedError
from elucidiff.launch.machine import keep_freed_memory
from elucidiff.sampling.jobs.worker import Event, Task, work

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GLANCE_S = 0.2


def work_in_pool(
    prepare: Callable[[int], Task],
    path: Path,
    count: int,
    take: Callable[[], int],
    tell: Callable[[Event], object],
    pause: Callable[[], object],
) -> None:
    """Do a job in processes of its own, which are spawned; see :func:`.work`.

    A process asks for a shard when it has nothing to do, so that faster ones do more. When this process ends, however
    that may be, the others notice at their next step, since their pipe to it is broken.

    Args:
        prepare: makes the task, in each process; it is called with the number of the process, and has to be a
            function that another process can import.
        path: folder of the job.
        count: number of processes.
        take: as in :func:`.work`.
        tell: likewise.
        pause: likewise.

    Raises:
        ValueError: as :func:`.work`, in any of the processes.
        OSError: likewise; ChildProcessError: one of them ended without a word, or by an error of another kind.
        StoppedError: ``pause`` did.
    """
    pool: dict[Connection, SpawnProcess] = {}
    try:
        with _deaf():
            for index in range(count):
                ours, theirs = get_context("spawn").Pipe()
                pool[ours] = get_context("spawn").Process(
                    target=_worker, args=(theirs, prepare, path, index), name=f"elucidiff-{index}", daemon=True
                )
                pool[ours].start()
                theirs.close()
        while pool:
            pause()
            for end in connection.wait(list(pool), _GLANCE_S):
                assert isinstance(end, Connection)
                if _hear(end, pool[end], take, tell):
                    pool.pop(end).join()
    finally:
        _dismiss(pool)


def _hear(end: Connection, process: SpawnProcess, take: Callable[[], int], tell: Callable[[Event], object]) -> bool:
    """Take one message of a process; whether it was the last."""
    try:
        message = end.recv()
    except (EOFError, ConnectionError):
        process.join()
        code = process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise ChildProcessError(
            f"process {process.name} {how}, and is no more; if that was for lack of memory, use fewer --processes. "
            "The same command goes on"
        ) from None
    if isinstance(message, Event):
        tell(message)
    elif isinstance(message, Exception):
        raise message
    elif message == "done":
        return True
    else:
        with contextlib.suppress(ConnectionError):  # it has died meanwhile, which the next look finds
            end.send(take())
    return False


def _dismiss(pool: dict[Connection, SpawnProcess]) -> None:
    """Let the processes that are left drop what they do, and end."""
    for end in pool:
        end.close()
    try:
        for process in pool.values():
            process.join()
    except BaseException:  # a second Ctrl-C
        for process in pool.values():
            process.kill()
        raise


def _worker(end: Connection, prepare: Callable[[int], Task], path: Path, index: int) -> None:
    """The life of a worker of the pool."""
    # Signals are for the process that was asked; a terminal sends them to all.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    keep_freed_memory()

    def take() -> int:
        end.send("take")
        shard: int = end.recv()
        return shard

    def pause() -> None:
        if end.poll():  # nobody writes unasked: the other end is closed
            raise StoppedError

    try:
        task = prepare(index)
        torch.set_num_threads(task.job.threads)
        work(task, task.folder(path), take, end.send, pause)
        end.send("done")
    except (StoppedError, EOFError, ConnectionError):
        pass
    except Exception as error:
        if os.environ.get("ELUCIDIFF_TRACEBACK"):
            traceback.print_exc()
        with contextlib.suppress(ConnectionError):
            end.send(_portable(error))


def _portable(error: Exception) -> Exception:
    """An error that survives the way to another process, and is told there in one line."""
    if isinstance(error, ValueError):
        return ValueError(str(error))  # one of a kind of its own may not be made again from its text
    if isinstance(error, OSError):
        return error
    return ChildProcessError(f"a sampling process failed: {type(error).__name__}: {error}")


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Put off signals, which processes that are started meanwhile never hear, while they are about to begin."""
    resource_tracker.ensure_running()  # or the first start would end this
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


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
