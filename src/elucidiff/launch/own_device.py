"""Of the devices of a machine, the one that belongs to a single process of several."""

from __future__ import annotations

import torch

from elucidiff.devices import choose_device


def own_device(name: str, index: int) -> torch.device:
    """The device of that name for process ``index`` of this machine: the CPU, which all share, or a GPU of its own.

    Args:
        name: ``auto``, ``cpu`` or ``cuda``.
        index: number of the process on its machine.

    Raises:
        ValueError: there is no such device, not one for this process, or it is one for all processes.
    """
    device = choose_device(name)
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ValueError(f"device {name!r} is one for all processes of a machine: use --device cpu, or one process")
    if device.index is not None:
        raise ValueError(f"device is {name!r}, but every process takes a GPU of its own: use --device cuda")
    if index >= torch.cuda.device_count():
        raise ValueError(
            f"this machine has {torch.cuda.device_count()} GPUs, but process {index} of it needs one of its own: "
            "start as many processes a machine as it has GPUs, or use --device cpu"
        )
    return torch.device("cuda", index)
