"""What the DDPM of MNIST in sdaloglu/diffusion_with_entropy is: its network, its time, and its units."""

from __future__ import annotations

import itertools
import os

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import elucidiff as ed

VARIABLE = "FOREIGN_MNIST"


class Strokes(nn.Module):
    """epsilon of (B, 1, 28, 28) at times t in (0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [
            nn.ModuleDict({"net": nn.Sequential(nn.Conv2d(i, o, 7, padding=3), nn.LayerNorm((o, 28, 28)), nn.GELU())})
            for i, o in itertools.pairwise((1, 16, 32, 32, 16))
        ]
        self.blocks = nn.ModuleList([*convolutions, nn.Conv2d(16, 1, 3, padding=1)])
        layers = [
            each for i, o in itertools.pairwise((32, 128, 128, 128, 16)) for each in (nn.Linear(i, o), nn.GELU())
        ]
        self.time_embed = nn.Sequential(*layers[:-1])
        self.register_buffer("frequencies", torch.zeros(16))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        p = (t[:, None] + 0.001) * self.frequencies  # the first entry of the table is time 1 of 1000
        h = self.blocks[0]["net"](x) + self.time_embed(torch.cat([p.sin(), p.cos() - 1], 1))[:, :, None, None]
        for block in self.blocks[1:-1]:
            h = block["net"](h)
        return self.blocks[-1](h)


def make() -> ed.adapters.InUnits:
    """The model as a denoiser of images in [-1, 1]; its own are in [-0.5, 0.5]."""
    stored = load_file(os.environ[VARIABLE])
    network = Strokes()
    network.load_state_dict({name[3:]: value for name, value in stored.items() if name.startswith("gt.")})
    time = ed.adapters.DiscreteTime(stored["alpha_t"][1:], "interpolated", factor=0.001)
    return ed.adapters.InUnits(ed.adapters.AdaptedDenoiser(network, "epsilon", time, sample_shape=(1, 28, 28)), 2, 0)
