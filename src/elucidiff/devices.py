"""Devices: which one to compute on, which belongs to one process of several, and the types and copies they take."""

from __future__ import annotations

import torch
from torch import Tensor


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is CUDA or MPS where there is one, else the CPU.

    Raises:
        ValueError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device {name!r} is unknown: use cpu, cuda, cuda:1, mps or auto") from None
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= available.get(device.type, 0):
        raise ValueError(f"there is no device {name!r} on this machine: use cpu or auto")
    return device


def wait_for(device: torch.device) -> None:
    """Wait until an accelerator has done all that it was given, to measure time."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def onto(value: Tensor, device: torch.device) -> Tensor:
    """``value``, a CPU tensor or one that is there already, on ``device``, without waiting for its work to end.

    CUDA has taken its copy of ordinary memory when the call returns; MPS reads it later, when it may have changed.
    """
    return value.to(device, non_blocking=device.type not in ("cpu", "mps"))


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


_STATES = (torch.float64, torch.float32)


def widest_type(device: torch.device, wanted: torch.dtype = torch.float64) -> torch.dtype:
    """``wanted``, or float32 where that is float64 and ``device`` has none (MPS)."""
    return torch.float32 if device.type == "mps" and wanted == torch.float64 else wanted


def state_type(device: torch.device, wanted: torch.dtype) -> torch.dtype:
    """The floating type of a solver's state: :func:`widest_type`, checked.

    The steps of a run are small beside the values that they are added to. In half precision they would be lost.

    Raises:
        TypeError: ``wanted`` is no type.
        ValueError: it is neither float64 nor float32.
    """
    if not isinstance(wanted, torch.dtype):
        raise TypeError(f"dtype is {wanted!r}, but must be torch.float64 or torch.float32")
    if wanted not in _STATES:
        raise ValueError(
            f"dtype is {wanted}, but a solver's state must be torch.float64 or torch.float32: half precision would "
            "lose its steps (the network keeps its own type)"
        )
    return widest_type(device, wanted)
