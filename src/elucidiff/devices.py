"""Which device to compute on, and how values get there."""

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
