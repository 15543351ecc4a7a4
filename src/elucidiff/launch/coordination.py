"""A board on which the processes of a run leave each other notices: who failed first, how far process 0 is.

It is the store through which the processes found each other (torchrun's, as a rule). Unlike a collective operation it
sets no limit to how long one may be busy, and it still answers when one of them is dead.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch.distributed as dist
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # public, but not to stubs
from torch.distributed.rendezvous import rendezvous

from elucidiff.plain_data import first_difference

_GLANCE_S = 1.0  # who waits for long looks so often whether it is over
_FAILED, _STOP = "failed", "stop"


class NoticeBoard:
    """The notices of one launch.

    Args:
        store: shared by all processes.
        rank: the number of this process.
        count: how many there are.
        attempt: how often the launcher has started them before. Notices of earlier attempts are not seen.

    Attributes:
        rank: the number of this process.
        count: how many there are.
        store: where this attempt leaves its notices.
    """

    def __init__(self, store: Store, rank: int, count: int, attempt: int = 0) -> None:
        # Some versions of torch show each attempt a part of the launcher's store, some all of it.
        self._lasting = store.underlying_store if isinstance(store, PrefixStore) else store
        self.store = PrefixStore(f"elucidiff {attempt}", store)
        self.rank, self.count = rank, count
        self._turn = self._read = 0

    def from_main(self, text: str = "") -> str:
        """Take what process 0 says when it comes to the same call; the others wait for it, however long that takes.

        Raises:
            ConnectionAbortedError: another process has failed meanwhile.
        """
        key = self._next()
        if self.rank == 0:
            self.store.set(key, text)
        else:
            self._wait(key)
        return self.store.get(key).decode()

    def meet(self) -> None:
        """Wait until all processes have come to the same call, however long that takes.

        Raises:
            ConnectionAbortedError: another process has failed meanwhile.
        """
        key = self._next()
        if self.store.add(f"{key} here", 1) == self.count:
            self.store.set(key, "all")
        self._wait(key)

    def refuse_differences(self, facts: Mapping[str, Any]) -> None:
        """Make sure that ``facts``, JSON-able, are the same in all processes.

        Raises:
            ValueError: this process has others than process 0.
        """
        mine = json.dumps(facts)
        if difference := first_difference(json.loads(self.from_main(mine)), json.loads(mine)):
            name, theirs, own = difference
            raise ValueError(
                f"process {self.rank} has {name} {own}, but process 0 has {theirs}: all processes need the same "
                "command line and data, and one folder to write to that they share"
            )

    def count_up(self, name: str, amount: int = 1) -> int:
        """Add to a number that all share, which begins at 0; what it is then."""
        return int(self.store.add(name, amount))

    def post(self, text: str) -> None:
        """Leave a notice for process 0."""
        self.store.set(f"post {self.store.add('posts', 1)}", text)

    def posted(self) -> Iterator[str]:
        """The notices that have been left since process 0 looked last."""
        while self.store.check([key := f"post {self._read + 1}"]):
            yield self.store.get(key).decode()
            self.store.delete_key(key)
            self._read += 1

    def stop(self, why: str) -> None:
        """Tell all that they are to stop."""
        self.store.set(_STOP, why)

    def stopped(self) -> str | None:
        """Why all are to stop, if they are.

        Raises:
            ConnectionAbortedError: another process has failed meanwhile.
        """
        if self.store.check([_FAILED]):
            raise ConnectionAbortedError("another process of the run failed")
        return self.store.get(_STOP).decode() if self.store.check([_STOP]) else None

    def first_to_fail(self) -> bool:
        """True if this process is the one to say what went wrong: the first that asked."""
        try:
            return self.store.compare_set(_FAILED, "", str(self.rank)).decode() == str(self.rank)
        except dist.DistError:  # the launcher is gone, and with it whoever could be told
            return False

    def note_begun(self, run: str) -> None:
        """Remember, beyond a restart, that this launch has begun or resumed ``run``."""
        self._lasting.set(_begun(run), "yes")

    def has_begun(self, run: str) -> bool:
        """True if this launch had begun or resumed ``run`` before torchrun restarted it."""
        return self._lasting.check([_begun(run)])

    def _next(self) -> str:
        # All processes make the same calls in the same order.
        self._turn += 1
        return f"turn {self._turn}"

    def _wait(self, key: str) -> None:
        # The store's own waiting complains on the console about every time-out.
        begun = time.monotonic()
        while not self.store.check([key]):
            if self.store.check([_FAILED]):
                raise ConnectionAbortedError("another process of the run failed")
            time.sleep(min(0.01 + 0.05 * (time.monotonic() - begun), _GLANCE_S))


@functools.cache
def notice_board() -> NoticeBoard | None:
    """The board of this process; None if no launcher (torchrun, ``accelerate launch``) has started it."""
    if "WORLD_SIZE" not in os.environ:
        return None
    store, rank, count = next(rendezvous("env://"))
    return NoticeBoard(store, rank, count, int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")))


def is_main_process() -> bool:
    """True if this process is the one that tells about the run: the first, or one that is alone."""
    board = notice_board()
    return board is None or board.rank == 0


@contextlib.contextmanager
def failing_once() -> Iterator[None]:
    """Of processes that fail together, let one say why.

    The first failure passes as it is. What it causes in other processes (broken connections, the same mistake found
    by all) becomes ConnectionAbortedError, which need not be shown. Without other processes this does nothing.

    Raises:
        ConnectionAbortedError: another process failed first.
        ConnectionResetError: another process ended without having failed here: it was killed, or its machine is gone.
    """
    board = notice_board()
    try:
        yield
    except Exception as error:
        if board is None or board.count == 1:
            raise
        if isinstance(error, ConnectionAbortedError) or not board.first_to_fail():
            raise ConnectionAbortedError("another process of the run failed first") from error
        if _is_lost_connection(error):
            raise ConnectionResetError(
                "another process of the run ended without a word: it was killed, or its machine is gone"
            ) from error
        raise


def _is_lost_connection(error: Exception) -> bool:
    # Gloo reports a peer that is gone as a plain RuntimeError, from its own source files.
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _begun(run: str) -> str:
    return f"elucidiff has begun {run}"
