"""Features of the noise level: the first thing that either network computes from ``noise_labels``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class PositionalEmbedding(nn.Module):
    """Cosines and sines at frequencies from 1 down to 1/10000 in a geometric series (Vaswani et al. 2017).

    Frequency i of n is ``10000^(-i/n)``, or ``10000^(-i/(n-1))`` with ``endpoint``, which reaches 1/10000 (Ho et al.
    2020). They are computed in float32, or in float64 for float64 noise labels, whatever the network's own type.

    Args:
        channels: number of features, even.
        endpoint: whether the last frequency is 1/10000 itself.
        sines_first: order of the two halves.
    """

    def __init__(self, channels: int, *, endpoint: bool, sines_first: bool) -> None:
        super().__init__()
        self.channels, self.endpoint, self.sines_first = channels, endpoint, sines_first

    def forward(self, noise_labels: Tensor) -> Tensor:
        """Features ``(B, channels)`` of ``(B,)`` noise labels."""
        half = self.channels // 2
        noise_labels = noise_labels.to(torch.promote_types(noise_labels.dtype, torch.float32))
        index = torch.arange(half, device=noise_labels.device, dtype=torch.float32)
        frequencies = (1 / 10000) ** (index / (half - 1 if self.endpoint else half))
        phases = torch.outer(noise_labels, frequencies.to(noise_labels.dtype))
        waves = (phases.sin(), phases.cos()) if self.sines_first else (phases.cos(), phases.sin())
        return torch.cat(waves, dim=1)


class FourierEmbedding(nn.Module):
    """Sines, then cosines, of ``2 pi f c_noise`` at fixed random frequencies f ~ N(0, scale^2) (Tancik et al. 2020).

    The frequencies are a buffer that is saved with the weights. They stay in float32 when the network is cast to a
    half-precision type: a phase of 300 is known to 0.3 in bfloat16, which is no phase at all.

    Args:
        channels: number of features, even.
        scale: standard deviation of the frequencies.
    """

    frequencies: Tensor

    def __init__(self, channels: int, scale: float = 16.0) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(channels // 2) * scale)

    def forward(self, noise_labels: Tensor) -> Tensor:
        """Features ``(B, channels)`` of ``(B,)`` noise labels."""
        phases = torch.outer(noise_labels.to(self.frequencies.dtype), self.frequencies * (2 * math.pi))
        return torch.cat([phases.sin(), phases.cos()], dim=1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Module.to, .half, .cuda and their like all pass through here.
        exact = self.frequencies
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.frequencies.dtype.itemsize < exact.dtype.itemsize:
            self.frequencies = exact.to(self.frequencies.device)
        return self
