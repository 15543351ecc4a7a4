"""Networks on many processes: a copy in each (DDP), or a part of every weight in each (FSDP2).

DDP is PyTorch's ``DistributedDataParallel``: gradients are averaged over processes while the backward pass goes on.
FSDP2 is ``fully_shard``: weights, gradients, averages and moments are split over processes, and the weights of a
block are gathered when it is their turn. Either way a step computes the same, but for rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from elucidiff.networks import blueprint_of
from elucidiff.training.processes import Processes


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
