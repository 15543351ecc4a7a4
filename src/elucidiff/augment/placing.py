"""Small tensors on their way from the CPU to the images' device."""

from __future__ import annotations

import torch
from torch import Tensor


def place(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Copy ``tensor`` to ``device``, after a change of type if one is given, without waiting for the device.

    CUDA stages a copy from ordinary memory before the call returns, so the source may be freed at once; other devices
    do not promise that, and there the copy waits.
    """
    return tensor.to(dtype).to(device, non_blocking=device.type == "cuda")
