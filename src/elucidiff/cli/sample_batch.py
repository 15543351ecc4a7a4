"""The batch size of ``elucidiff sample --batch-size auto``: settled once for all processes and sessions of a job."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from elucidiff.launch.coordination import notice_board
from elucidiff.launch.cores import physical_cores
from elucidiff.sampling.jobs import Task, fastest_batch_size
from elucidiff.sampling.jobs.folder import job_begun_in

if TYPE_CHECKING:
    from elucidiff.cli.sample import Options

_ANY = 16


def batch_size_for(options: Options, processes: int | None, prepare: Callable[[int, int | None], Task]) -> int:
    """The batch size of a job: the number that was asked for or, under auto, what is fastest.

    A job that was begun keeps its own. For a new one the first process measures, and the others wait for its word,
    since samples depend on the batch size in their last bits.

    Args:
        options: what was asked for.
        processes: how many will be started on this machine; None if that is not settled.
        prepare: the task for a batch size, and for the number of a process on its machine or None.

    Raises:
        ValueError: something of what was asked for is wrong, or the folder holds something else.
        OSError: something cannot be read.
    """
    if options.batch_size != "auto":
        try:
            return int(options.batch_size)
        except ValueError:
            raise ValueError(f"--batch-size is {options.batch_size!r}, but must be a number, or auto") from None
    board = notice_board()
    if board is not None and board.rank > 0:
        return int(board.from_main())
    begun = None if options.overwrite else job_begun_in(options.out)
    size = (begun or {}).get("batch_size")
    if not isinstance(size, int):
        count = processes if board is None else board.count
        task = prepare(_ANY, None if (count or 1) == 1 else int(os.environ.get("LOCAL_RANK", "0")))
        if not options.overwrite:
            task.folder(options.out).refuse_strangers()
        cores = physical_cores() if task.device.type == "cpu" else 1
        found = fastest_batch_size(task, count or cores)
        print(found, file=sys.stderr)
        size = found.size
    if board is not None:
        board.from_main(str(size))
    return size
