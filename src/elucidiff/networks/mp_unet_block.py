"""The residual block of our magnitude-preserving U-Net, after Karras et al. 2024 (arXiv 2312.02696), App. B."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.magnitude_preserving import SILU_MAGNITUDE, UnitLayer, sum_weights, unit_magnitude
from elucidiff.networks.normalise import silu
from elucidiff.networks.resample import Resample

BRANCH_SHARE = 0.3
"""Share t of a residual branch in its sum with the main path, of attention, too."""
CHANNELS_PER_HEAD = 64
"""Attention has a head for so many channels, but at least one, and fewer where they would not divide."""


class MPUNetBlock(nn.Module):
    """Two unit convolutions, modulated between them, beside a main path; attention after. All keep magnitudes.

    In the encoder the main path is resampled, brought to the channels of the output and pixel-normalised before the
    branch leaves it; in the decoder the branch leaves it first.

    Args:
        dims: number of spatial dimensions.
        embedding_channels: channels of the embedding of noise level and labels.
        dropout: probability of dropping a feature before the second convolution.
        encoder: whether this is a block of the encoder.
        in_channels: channels of the input.
        out_channels: channels of the output.
        resample: "down" or "up": halve or double the resolution first.
        attention: whether self-attention follows.
    """

    def __init__(
        self,
        dims: int,
        embedding_channels: int,
        dropout: float,
        encoder: bool,
        in_channels: int,
        out_channels: int,
        *,
        resample: Literal["down", "up"] | None = None,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.dropout, self.encoder = dropout, encoder
        self.resample = Resample(resample, dims, (1, 1)) if resample else None
        self.skip = UnitLayer(in_channels, out_channels, (1,) * dims) if in_channels != out_channels else None
        _, branch_weight = sum_weights(BRANCH_SHARE)
        self.conv1 = UnitLayer(
            out_channels if encoder else in_channels, out_channels, (3,) * dims, gain=1 / SILU_MAGNITUDE
        )
        self.embed = UnitLayer(embedding_channels, out_channels)
        self.embed_gain = nn.Parameter(torch.zeros(1))
        self.conv2 = UnitLayer(out_channels, out_channels, (3,) * dims, gain=branch_weight / SILU_MAGNITUDE)
        self.attention = CosineAttention(out_channels) if attention else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """From ``(B, in_channels, *spatial)`` and the embedding ``(B or 1, embedding_channels)``."""
        if self.encoder:
            x = x if self.resample is None else self.resample(x)
            x = x if self.skip is None else self.skip(x)
            x = unit_magnitude(x, dim=1)
            h: Tensor = self.conv1(F.silu(x))
        else:
            h = F.silu(x)
            if self.resample is None:
                h = self.conv1(h)
            else:
                # Copies of neighbours and their activation commute.
                h = self.resample.then(h, self.conv1.unit_weight())
                x = self.resample(x)
            x = x if self.skip is None else self.skip(x)
        scale = 1 + self.embed(embedding) * self.embed_gain
        h = silu(h * scale.reshape(*scale.shape, *[1] * (x.ndim - 2)))
        trunk_weight, _ = sum_weights(BRANCH_SHARE)
        h = self.conv2(F.dropout(h, self.dropout, self.training))
        # In place: nothing keeps the output of a convolution for the backward pass.
        h.add_(x, alpha=trunk_weight)
        return h if self.attention is None else self.attention(h)


class CosineAttention(nn.Module):
    """Residual self-attention by the cosine of queries and keys, ``MP-Sum(x, W softmax(q^T k / sqrt(c)) v, 0.3)``.

    Queries, keys and values are normalised to magnitude 1 in every head of c channels, so that no logit exceeds
    sqrt(c). Every position is a token, so any number of spatial dimensions will do. What
    :class:`elucidiff.networks.attention.SelfAttention` says of PyTorch's fused kernels holds here, too.

    Args:
        channels: channels of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        most = max(1, channels // CHANNELS_PER_HEAD)
        self.heads = max(heads for heads in range(1, most + 1) if channels % heads == 0)
        self.qkv = UnitLayer(channels, 3 * channels)
        _, branch_weight = sum_weights(BRANCH_SHARE)
        self.out = UnitLayer(channels, channels, gain=branch_weight)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the positions of ``(B, C, *spatial)``."""
        tokens = self.qkv(x.flatten(2).transpose(1, 2)).unflatten(2, (3, self.heads, -1))
        # (B, heads, positions, c) with c contiguous: PyTorch's fused kernels then apply.
        q, k, v = unit_magnitude(tokens, dim=-1).permute(2, 0, 3, 1, 4)
        trunk_weight, _ = sum_weights(BRANCH_SHARE)
        tokens = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return torch.add(tokens.transpose(1, 2).view_as(x), x, alpha=trunk_weight)
