"""Real processes that train together, as a launcher would start them, but in a tenth of a second each.

They are forked off a server that has imported everything and computed nothing.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from torch.distributed import TCPStore

_GROUPS = itertools.count()
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "tests.training.launching",
        "elucidiff.cli.main",
        "elucidiff.cli.train",
        "accelerate.state",
        "tensorboard.summary.writer.record_writer",
        "tensorboard.compat.proto.event_pb2",
        "torch._dynamo",  # which an optimiser imports
        "torch.utils.data.graph_settings",
    ]
)


@dataclass(frozen=True)
class Ended:
    """Exit code (negative: the signal that ended it) and standard error of a process."""

    code: int
    said: str


class Group:
    """``elucidiff WORDS`` in ``count`` processes that know of each other, or in one that is alone.

    Args:
        words: the command.
        count: number of processes.
        folder: where to keep what they print.
        words_of: other words for some ranks.
        after: the group that this one replaces, as torchrun starts another when one has failed.
        file_limit: the largest file that process 0 can write, in bytes, as on a disk that is nearly full.
    """

    def __init__(
        self,
        words: Sequence[str],
        count: int,
        folder: Path,
        *,
        words_of: dict[int, Sequence[str]] | None = None,
        file_limit: int | None = None,
        after: Group | None = None,
    ) -> None:
        # Like torchrun, be the host of the store, so that it outlives process 0.
        self._store = after._store if after else None
        if count > 1 and self._store is None:
            self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._attempt = after._attempt + 1 if after else 0
        self._number = next(_GROUPS)
        folder.mkdir(parents=True, exist_ok=True)
        self._said = [folder / f"{self._number}-{rank}.txt" for rank in range(count)]
        self.processes: list[BaseProcess] = []
        for rank in range(count):
            environment = {"OMP_NUM_THREADS": "1"}
            if self._store is not None:
                environment |= {
                    "RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank),
                    "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self._store.port),
                    "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": str(self._attempt),
                }  # fmt: skip
            mine = list((words_of or {}).get(rank, words))
            limit = file_limit if rank == 0 else None
            process = _SERVER.Process(target=_run, args=(mine, environment, str(self._said[rank]), limit))
            process.start()
            self.processes.append(process)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of them that live."""
        for process in self.processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, number)

    def alive(self) -> bool:
        """Whether all of them live."""
        return all(process.is_alive() for process in self.processes)

    def wait(self, seconds: float = 60.0) -> list[Ended]:
        """How they ended; those that hang are killed, with the exit code -9."""
        end = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        codes = [process.exitcode for process in self.processes]
        return [
            Ended(-9 if code is None else code, said.read_text() if said.exists() else "")
            for code, said in zip(codes, self._said, strict=True)
        ]


def run(words: Sequence[str], count: int, folder: Path) -> None:
    """Run the command to its end, which must be a good one."""
    for ended in Group(words, count, folder).wait(120):
        assert ended.code == 0, ended.said


def _run(words: list[str], environment: dict[str, str], said: str, file_limit: int | None) -> None:
    os.environ.update(environment)
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    if file_limit is not None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    import torch

    from elucidiff.cli.main import main
    from elucidiff.cli.train import Watch
    from elucidiff.training import Callbacks

    Watch.on_preview = Callbacks.on_preview  # a preview takes longer than these trainings
    torch.set_num_threads(1)
    sys.exit(main(words))
