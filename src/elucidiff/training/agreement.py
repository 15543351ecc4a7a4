"""When to stop, and how late it is: the same for all processes, or they would not do the same number of steps."""

from __future__ import annotations

import torch
import torch.distributed as dist

from elucidiff.training.processes import Processes

_SIGNALS = (None, "SIGINT", "SIGTERM")


class Agreement:
    """What all processes go by: a signal that any of them has received, and the longest time.

    They tell each other after every step, on the CPU and while the next step is computed, so nobody waits: what one
    of them knows after a step counts for all after the next. A process that is alone agrees with itself at once.

    Args:
        processes: who has to agree.
        seconds: time spent when they begin.
    """

    def __init__(self, processes: Processes, seconds: float) -> None:
        self._processes = processes
        self._signal, self._seconds = 0, seconds
        self._exchange: tuple[dist.Work, torch.Tensor] | None = None

    def exchange(self, received: str | None, seconds: float) -> float:
        """Tell the others what signal this process has received and how late it is; the time that all go by."""
        if self._processes.count == 1:
            return seconds
        if self._exchange is not None:
            work, latest = self._exchange
            work.wait()
            signal, self._seconds = latest.tolist()
            self._signal = int(signal)
        mine = torch.tensor([_SIGNALS.index(received), seconds], dtype=torch.float64)
        work = dist.all_reduce(mine, dist.ReduceOp.MAX, group=self._processes.group, async_op=True)
        self._exchange = (work, mine)
        return self._seconds

    def stopped_by(self, received: str | None) -> str | None:
        """The signal that ends the run after this step, if any, given what this process has received."""
        return received if self._processes.count == 1 else _SIGNALS[self._signal]
