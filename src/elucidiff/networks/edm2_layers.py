"""The layers of EDM2 as published: Karras et al. 2024 (arXiv 2312.02696), App. B, config G.

Everything here rests on unit(v) = v / (1e-4 + |v| / sqrt(n)), which gives a vector v of n numbers a root mean square
of 1. The small constant is the published one: networks were trained with it, and their outputs tell it apart. (The
layers of :mod:`elucidiff.networks.magnitude_preserving`, ours, do without.) Equation numbers are of that paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.layers import CONVOLVE
from elucidiff.networks.magnitude_preserving import SILU_MAGNITUDE, mp_sum

_EPS = 1e-4


def unit(x: Tensor, dim: int | Sequence[int]) -> Tensor:
    """``x / (1e-4 + |x| / sqrt(n))`` over the dimensions ``dim`` of n numbers; the norm in float32 at least."""
    dims = [dim] if isinstance(dim, int) else list(dim)
    count = math.prod(x.shape[axis] for axis in dims)
    wide = torch.promote_types(x.dtype, torch.float32)
    length: Tensor = torch.linalg.vector_norm(x, dim=dims, keepdim=True, dtype=wide) / math.sqrt(count)
    return x / (length + _EPS).to(x.dtype)


def mp_silu(x: Tensor) -> Tensor:
    """``silu(x) / 0.596``, Eq. 81."""
    return F.silu(x) / SILU_MAGNITUDE


def balanced_cat(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The channels of ``a`` and of ``b``, of which ``b`` contributes the share t whatever their numbers, Eq. 103."""
    channels = a.shape[1], b.shape[1]
    whole = math.sqrt(sum(channels) / ((1 - t) ** 2 + t**2))
    return torch.cat(
        [a * (whole * (1 - t) / math.sqrt(channels[0])), b * (whole * t / math.sqrt(channels[1]))], dim=1
    )


class MPLayer(nn.Module):
    """A linear layer or convolution without bias, with the weights ``gain unit(w_i) / sqrt(fan_in)``, Eq. 47.

    In training mode every call first replaces the stored w_i by unit(w_i): forced weight normalisation, Eq. 66,
    outside of the gradient. The gradient passes through the unit() that follows.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: sides of the kernel, one for each spatial dimension; empty for a linear layer on the last dimension.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[int] = ()) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, *kernel))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Zero padding keeps the sides.

        Args:
            x: ``(B, in_channels, *spatial)``, or ``(..., in_channels)`` for a linear layer.
            gain: a factor on the output, constant or learned.
        """
        axes = tuple(range(1, self.weight.ndim))
        if self.training:
            with torch.no_grad():
                self.weight.copy_(unit(self.weight, axes))
        fan_in = math.prod(self.weight.shape[1:])
        wide = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        weight = (unit(wide, axes) * (gain / math.sqrt(fan_in))).to(x.dtype)
        dims = weight.ndim - 2
        return CONVOLVE[dims](x, weight, padding=weight.shape[-1] // 2) if dims else F.linear(x, weight)


class MPFourier(nn.Module):
    """Features ``sqrt(2) cos(f c + phi)`` of a noise label c, Eq. 75: f ~ 2 pi N(0, 1), phi ~ U(0, 2 pi).

    Both are buffers that are saved with the weights and stay in float32 when the network is cast to half precision.

    Args:
        channels: number of features.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.randn(channels))
        self.register_buffer("phases", 2 * math.pi * torch.rand(channels))

    def forward(self, noise_labels: Tensor) -> Tensor:
        """Features ``(B, channels)`` of ``(B,)`` noise labels, in float32 at least."""
        c = noise_labels.to(self.frequencies.dtype)
        return (torch.outer(c, self.frequencies) + self.phases).cos() * math.sqrt(2)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Module.to, .half, .cuda and their like all pass through here.
        exact = {"frequencies": self.frequencies, "phases": self.phases}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in exact.items():
            moved = getattr(self, name)
            if moved.dtype.itemsize < value.dtype.itemsize:
                setattr(self, name, value.to(moved.device))
        return self


class UnitAttention(nn.Module):
    """Residual self-attention whose queries, keys and values are unit() in every head: Sec. 2.2, config G.

    Args:
        channels: channels of the input.
        heads: number of heads, a divisor of the channels.
        balance: share t of the attention in its sum with the input.
    """

    def __init__(self, channels: int, heads: int, balance: float) -> None:
        super().__init__()
        self.heads, self.balance = heads, balance
        self.qkv = MPLayer(channels, 3 * channels)
        self.out = MPLayer(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the positions of ``(B, C, *spatial)``."""
        tokens = self.qkv(x.flatten(2).transpose(1, 2)).unflatten(2, (3, self.heads, -1))
        q, k, v = unit(tokens, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return mp_sum(x, self.out(attended).transpose(1, 2).reshape(x.shape), self.balance)
