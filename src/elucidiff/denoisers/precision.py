"""The widest floating type of a device: the one place that knows that Apple's MPS has no float64."""

from __future__ import annotations

import torch

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
