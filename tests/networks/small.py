"""Small networks with all paths open, for tests of what must hold for any weights."""

from __future__ import annotations

import torch

from elucidiff import networks

COMMON = {"base_channels": 8, "blocks_per_level": 1, "dropout": 0.0, "channel_multipliers": (1, 2)}


def small_network(kind: str, sample_shape: tuple[int, ...], **settings) -> networks.Network:
    """A network of type "ddpmpp", "ncsnpp", "skip", "adm" or "mp-unet" for evaluation; random weights in float64."""
    settings = {**COMMON, "attention_resolutions": (max(sample_shape[1:]) // 2,), **settings}
    if kind == "adm":
        settings["base_channels"] *= 4  # ADM attends in blocks of at least 64 channels
        network: networks.Network = networks.ADM(sample_shape, **settings)
    elif kind == "mp-unet":
        network = networks.MPUNet(sample_shape, **settings)
    elif kind == "skip":
        network = networks.UNet(
            sample_shape, encoder="skip", decoder="skip", resample_filter=(1, 3, 3, 1), **settings
        )
    else:
        network = getattr(networks.UNet, kind)(sample_shape, **settings)
    generator = torch.Generator().manual_seed(0)
    network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / fan_in**0.5)
    return network.eval()


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    """Unit Gaussian float64 numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
