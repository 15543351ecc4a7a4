"""The processes that train together: which one this is, what it computes, how it finds the others.

torchrun or ``accelerate launch`` starts them. A process that was started alone belongs to no group and computes
exactly what it would without this file.

Each has a copy of the network (DDP), or a part of every weight (FSDP2). DDP is PyTorch's ``DistributedDataParallel``:
gradients are averaged over processes while the backward pass goes on. FSDP2 is ``fully_shard``: weights, gradients,
averages and moments are split over processes, and the weights of a block are gathered when it is their turn. Either
way a step computes the same, but for rounding.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # public, but not to stubs
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from elucidiff.devices import choose_device, own_device
from elucidiff.launch.coordination import NoticeBoard, notice_board
from elucidiff.networks import blueprint_of
from elucidiff.training.config import TrainingConfig


class Processes:
    """One of the processes of a run, in touch with the others; without arguments, one that is alone.

    Args:
        board: where they leave each other notices.
        group: a group of all of them for small tensors on the CPU.

    Attributes:
        rank: the number of this process.
        count: how many there are.
        group: what was given.
    """

    def __init__(self, board: NoticeBoard | None = None, group: dist.ProcessGroup | None = None) -> None:
        together = board is not None and board.count > 1
        self.rank, self.count = (board.rank, board.count) if board is not None and together else (0, 1)
        self.group = group
        self._board, self._together = board, together

    @property
    def launched(self) -> bool:
        """True if a launcher started this process; it passes signals on that the process may have had already."""
        return self._board is not None

    @property
    def main(self) -> bool:
        """True if this is the process that writes files and draws previews."""
        return self.rank == 0

    def share(self, config: TrainingConfig) -> slice:
        """The images of a batch that this process computes: a contiguous part, as long as everyone else's.

        Raises:
            ValueError: the batch cannot be divided so.
        """
        images, left = divmod(config.batch_size, self.count)
        if left:
            raise ValueError(
                f"batch_size is {config.batch_size}, but must be a multiple of the {self.count} processes: "
                f"start a number of them that divides it, or set batch_size to {max(images, 1) * self.count}"
            )
        if config.device_batch_size and images % config.device_batch_size:
            raise ValueError(
                f"device_batch_size is {config.device_batch_size}, but must divide the {images} images that each of "
                f"the {self.count} processes takes of a batch of {config.batch_size}"
            )
        return slice(self.rank * images, (self.rank + 1) * images)

    def gather(self, values: Tensor) -> Tensor:
        """The ``values`` of every process, ``(count, *values.shape)``, in order, on the CPU. Waits for all."""
        values = values.detach().cpu()
        if self.count == 1:
            return values[None].clone()
        everyone = [torch.empty_like(values) for _ in range(self.count)]
        dist.all_gather(everyone, values, group=self.group)
        return torch.stack(everyone)

    def refuse_differences(self, facts: Mapping[str, Any]) -> None:
        """Make sure that ``facts``, JSON-able, are the same in all processes.

        Raises:
            ValueError: this process has others than process 0.
        """
        if self._board is not None:
            self._board.refuse_differences(facts)

    def wait_for_main(self) -> None:
        """Go on when process 0 has come here, however long it is busy."""
        if self._board is not None:
            self._board.from_main()

    def meet(self) -> None:
        """Go on when all processes have come here."""
        if self._board is not None:
            self._board.meet()

    def note_begun(self, run: os.PathLike[str]) -> None:
        """Remember, beyond a restart by torchrun, that ``run`` is ours to resume."""
        if self._board is not None:
            self._board.note_begun(os.path.abspath(run))

    def has_begun(self, run: os.PathLike[str]) -> bool:
        """True if torchrun has restarted this process after it began ``run``, which it then has to resume."""
        return self._board is not None and self._board.has_begun(os.path.abspath(run))


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[Processes, torch.device]]:
    """Join the other processes, and leave them at the end, when all are done.

    Gradients travel by what suits the device: NCCL on CUDA, Gloo on a CPU. A machine's cores are shared out among its
    processes, unless ``OMP_NUM_THREADS`` says otherwise; 1 is what torchrun sets by itself, and says nothing.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``, the process's own GPU; for a process alone also ``cuda:1`` or ``mps``.

    Raises:
        ValueError: there is no such device, or not one for every process.
    """
    board = notice_board()
    if board is None or board.count == 1:
        yield Processes(board), choose_device(device)
        return
    chosen = own_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    # Imported here, because a process that is alone does without.
    from accelerate import PartialState

    # With the group's store given, nobody has to look for the others again.
    store = PrefixStore("group", board.store)
    arguments: dict[str, Any] = {"store": store, "rank": board.rank, "world_size": board.count}
    _share_cores()
    state = PartialState(cpu=chosen.type == "cpu", **arguments)
    group = cast("dist.ProcessGroup", dist.new_group(backend="gloo"))
    yield Processes(board, group), chosen
    # Only after work well done: one that fails must not wait for the others.
    board.meet()
    state.destroy_process_group()
    PartialState._reset_state()


def _share_cores() -> None:
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        os.environ["OMP_NUM_THREADS"] = str(threads)  # or accelerate warns, and takes another number
        torch.set_num_threads(threads)


_SIGNALS = (None, "SIGINT", "SIGTERM")


class Agreement:
    """Agreement of all processes: a signal that any of them has received, and the longest time.

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


def replicate(module: nn.Module) -> nn.Module:
    """``module`` with gradients that are averaged over all processes. Its parameters stay the same objects."""
    replica = DistributedDataParallel(module, gradient_as_bucket_view=True)
    replica.broadcast_buffers = False  # they are constants
    return replica


def shard(module: nn.Module, processes: Processes, device: torch.device) -> None:
    """Split the parameters of ``module`` over all processes, in place; those of each block of a network by itself."""
    mesh = init_device_mesh(device.type, (processes.count,))
    for part in _blocks(module):
        fully_shard(part, mesh=mesh)
    fully_shard(module, mesh=mesh)


@contextlib.contextmanager
def gradients_meet(modules: Iterable[nn.Module], now: bool) -> Iterator[None]:
    """Average the gradients of a pass through ``modules`` over processes in this context, or leave that for later."""
    with contextlib.ExitStack() as stack:
        for module in modules:
            if isinstance(module, DistributedDataParallel) and not now:
                stack.enter_context(module.no_sync())
            for part in module.modules():
                if isinstance(part, FSDPModule):
                    part.set_requires_gradient_sync(now, recurse=False)
        yield


def own_part(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds: all of it, if it is not split."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def split_like(whole: Tensor, like: Tensor) -> Tensor:
    """``whole``, which every process has, split as ``like`` is."""
    if not isinstance(like, DTensor):
        return whole
    mesh = like.device_mesh
    return distribute_tensor(whole.to(mesh.device_type), mesh, like.placements, src_data_rank=None)


def load_whole(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load whole tensors, which every process has, into a module that may be split.

    Raises:
        RuntimeError: they do not fit.
    """
    present = module.state_dict()
    module.load_state_dict({name: split_like(value, present.get(name, value)) for name, value in tensors.items()})


def gathered(tensors: Mapping[str, Tensor], main: bool) -> dict[str, Tensor]:
    """The tensors, whole. All processes take part; only ``main`` gets those that were split, and on the CPU."""
    found = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, DTensor):
            found[name] = tensor
            continue
        whole = tensor.full_tensor()
        if main:
            found[name] = whole.cpu()
    return found


def whole_network(network: nn.Module) -> nn.Module:
    """A network with the weights of ``network``, which may be split; then all processes take part, and get it."""
    if not isinstance(network, FSDPModule):
        return network
    state = network.state_dict()
    weights = {name: part.full_tensor() if isinstance(part, DTensor) else part for name, part in state.items()}
    blueprint = blueprint_of(network)
    if blueprint is None:
        raise ValueError("sharding fsdp needs a network that a part has built: set sharding to none")
    with torch.random.fork_rng(devices=[]):
        whole = blueprint.build()
    whole.load_state_dict(weights)
    return whole.to(next(iter(weights.values())).device).requires_grad_(False).eval()


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The parts that compute one after another: what the lists of a network's levels hold."""
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    parts = [part for each in lists for part in each if not any(isinstance(p, nn.ModuleList) for p in part.modules())]
    return [part for part in parts if next(part.parameters(), None) is not None]
