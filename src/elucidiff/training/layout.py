"""The layout of images and weights in memory."""

from __future__ import annotations

import torch

from elucidiff.training.config import TrainingConfig

_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def memory_format(config: TrainingConfig, device: torch.device, dims: int) -> torch.memory_format:
    """The layout to train in: channels innermost, or as weights are made (channels outermost).

    CUDA's half-precision convolutions of pictures want the channels innermost, so that is what ``channels_last:
    auto`` means there. On a CPU the convolutions gain about what the normalisations lose, and auto leaves the layout.
    It leaves that of volumes everywhere: PyTorch's pooling in three dimensions returns to the other layout.

    Args:
        config: ``channels_last`` and ``precision`` count.
        device: where to train.
        dims: number of spatial dimensions; with one there is one layout only.

    Raises:
        ValueError: ``channels_last`` is on for signals of one dimension.
    """
    wanted = config.channels_last
    if wanted == "on":
        if dims not in _CHANNELS_LAST:
            raise ValueError("channels_last is on, but signals of one dimension have one layout only: set it to auto")
        return _CHANNELS_LAST[dims]
    if wanted == "auto" and dims == 2 and device.type == "cuda" and config.precision != "fp32":
        return torch.channels_last
    return torch.preserve_format
