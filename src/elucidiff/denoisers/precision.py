"""The widest floating type of a device: the one place that knows that Apple's MPS has no float64."""

from __future__ import annotations

import torch


def widest_type(device: torch.device, wanted: torch.dtype = torch.float64) -> torch.dtype:
    """``wanted``, or float32 where that is float64 and ``device`` has none (MPS)."""
    return torch.float32 if device.type == "mps" and wanted == torch.float64 else wanted
