"""The backend ``eager``: plain PyTorch, with what need not be done at every call done once."""

from __future__ import annotations

import torch
from torch import nn

from elucidiff.denoisers.backends.ready import Compute
from elucidiff.networks import Network
from elucidiff.networks.folding import folded

_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def eager(network: nn.Module, device: torch.device) -> Compute:
    """A copy of the network whose weights are normalised once and, on a CPU, have their channels innermost.

    Convolutions on a CPU follow the layout of their weights, and are 1.2 to 1.3 times as fast in that one; whole
    networks 1.1 to 1.2 times, in two dimensions and in three.

    Args:
        network: F, as it is loaded; it stays as it is.
        device: where it is.
    """
    made = folded(network)
    if device.type == "cpu" and isinstance(network, Network) and network.dims in _CHANNELS_LAST:
        made = made.to(memory_format=_CHANNELS_LAST[network.dims])
    return made
