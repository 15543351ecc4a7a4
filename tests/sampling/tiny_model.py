"""A model folder with a network so small that a call takes a millisecond, and so untrained that its ODE is curved."""

from __future__ import annotations

from pathlib import Path

import torch

import elucidiff as ed


def save_tiny_model(folder: Path) -> Path:
    """Write the model folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ed.networks.UNet.ddpmpp((1, 4, 4), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    ed.Denoiser(network, ed.preconditioning.EDM()).save(folder)
    return folder
