"""Our magnitude-preserving U-Net, a variant of that of Karras et al. 2024 (arXiv 2312.02696), config G."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.blocks import decoder_levels, encoder_levels, pass_levels
from elucidiff.networks.layers import FourierEmbedding, Resample, silu
from elucidiff.networks.magnitude_preserving import (
    SILU_MAGNITUDE,
    UnitLayer,
    mp_cat,
    mp_sum,
    sum_weights,
    unit_magnitude,
)
from elucidiff.networks.network import Network, NetworkSettings, settings_from
from elucidiff.parts import part

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
                h = self.resample.then(h, self.conv1, self.conv1.unit_weight())
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
    :class:`elucidiff.networks.layers.SelfAttention` says of PyTorch's fused kernels holds here, too.

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


LABEL_SHARE = 0.5
"""Share t of the labels in their sum with the features of the noise level."""


@part("network", "mp_unet")
@dataclass(frozen=True)
class MPUNetSettings(NetworkSettings):
    """Our magnitude-preserving U-Net, a variant of EDM2 that takes augmentation labels, too.

    Args:
        base_channels: channels that the multipliers multiply, even.
        embedding_multiplier: channels of the embedding over ``base_channels``.

    Raises:
        ValueError: a setting is out of range.

    >>> import elucidiff as ed
    >>> ed.parts.to_text(ed.networks.MPUNetSettings(base_channels=32))
    'mp_unet:base_channels=32'
    """

    base_channels: int = 192
    channel_multipliers: tuple[int, ...] = (1, 2, 3, 4)
    blocks_per_level: int = 3
    attention_resolutions: tuple[int, ...] = (16, 8)
    dropout: float = 0.0
    embedding_multiplier: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_channels % 2:
            raise ValueError(f"base_channels must be even, but is {self.base_channels}")

    def build(self, sample_shape: Sequence[int], *, label_dim: int = 0, augment_dim: int = 0) -> MPUNet:
        """See :meth:`.NetworkPart.build`."""
        return MPUNet(sample_shape, self, label_dim=label_dim, augment_dim=augment_dim)


class MPUNet(Network):
    """A U-Net of magnitude-preserving layers: no biases, no group normalisation, every weight vector of unit norm.

    What is learned of magnitudes are a gain of the output and one of each block's modulation, which start at 0: the
    output is 0 at first. In place of biases the input has one more channel, which is constantly 1. Call
    :func:`elucidiff.networks.normalise_weights` after every optimiser step.

    :class:`~elucidiff.networks.EDM2` is the network as published. Here, the noise level enters by the sine *and* the
    cosine of each frequency, not by one wave of random phase: the features then have magnitude 1 to the bit rather
    than on average. Augmentation labels, which the paper has no use for, are added to the embedding through a unit
    layer with a gain that starts at 0. Blocks are not clipped, weight vectors are put back to magnitude 1 after a
    step rather than at every call, and blocks of any width can attend.

    Args:
        sample_shape: ``(C, *spatial)``, one to three spatial dimensions; every side a multiple of
            ``2^(levels - 1)``, where ``levels = len(channel_multipliers)``.
        settings: the settings, or
        choices: those that are not at their defaults, by name: see :class:`MPUNetSettings`.
        label_dim: width of the class labels, 0 for none. Rows of other labels should have a norm of about 1, too.
        augment_dim: width of the augmentation labels, 0 for none.

    Raises:
        TypeError: a setting is unknown or of the wrong type.
        ValueError: a setting is out of range, or the sides do not divide.

    >>> import elucidiff as ed
    >>> network = ed.networks.MPUNet((1, 8, 8), base_channels=8, channel_multipliers=(1, 2), blocks_per_level=1)
    >>> bool((network(torch.ones(1, 1, 8, 8), torch.zeros(1)) == 0).all())  # the gain of the output starts at 0
    True
    """

    def __init__(
        self,
        sample_shape: Sequence[int],
        settings: MPUNetSettings | None = None,
        *,
        label_dim: int = 0,
        augment_dim: int = 0,
        **choices: Any,
    ) -> None:
        given = settings_from(MPUNetSettings, settings, choices)
        super().__init__(sample_shape, given, label_dim, augment_dim)
        base_channels, blocks_per_level = given.base_channels, given.blocks_per_level
        embedding_channels = base_channels * given.embedding_multiplier
        make = partial(MPUNetBlock, self.dims, embedding_channels, given.dropout)
        kernel = (3,) * self.dims

        self.noise_features = FourierEmbedding(base_channels, scale=1.0)
        # sin^2 + cos^2 = 1: times the square root of 2, the features have magnitude 1.
        self.embed_noise = UnitLayer(base_channels, embedding_channels, gain=math.sqrt(2))
        # The norm of one-hot labels is 1, their magnitude 1/sqrt(label_width).
        width = self.label_width
        self.embed_labels = UnitLayer(width, embedding_channels, gain=math.sqrt(width)) if label_dim else None
        self.embed_augment = UnitLayer(augment_dim, embedding_channels) if augment_dim else None
        self.augment_gain = nn.Parameter(torch.zeros(1)) if augment_dim else None

        self.stem = UnitLayer(self.stem_channels + 1, base_channels, kernel)
        self.encoder, skips = encoder_levels(
            partial(make, True), base_channels, self.level_channels, blocks_per_level, self.level_attention
        )
        self.decoder = decoder_levels(
            partial(make, False),
            skips,
            self.level_channels,
            [[attend] * (blocks_per_level + 1) for attend in self.level_attention],
        )
        self.head = UnitLayer(self.level_channels[0], self.head_channels, kernel)
        self.head_gain = nn.Parameter(torch.zeros(1))
        self.wrap_borders()

    def compute(self, x: Tensor, embedding: Tensor) -> Tensor:
        """See :meth:`.Network.compute`."""
        ones_after_channels = [0, 0] * self.dims + [0, 1]
        stem = self.stem(F.pad(x, ones_after_channels, value=1.0))
        output: Tensor = self.head(pass_levels(stem, embedding, self.encoder, self.decoder, mp_cat)) * self.head_gain
        return output

    def embed(self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """See :meth:`.Network.embed`."""
        dtype = self.embed_noise.weight.dtype
        e: Tensor = self.embed_noise(self.noise_features(noise_labels).to(dtype))
        if self.embed_labels is not None:
            e = mp_sum(e, self.embed_labels(self.class_labels_or_zeros(class_labels, e)), LABEL_SHARE)
        if self.embed_augment is not None and augment_labels is not None:
            e = e + self.embed_augment(augment_labels.to(dtype)) * self.augment_gain
        return silu(e) / SILU_MAGNITUDE
