"""Our magnitude-preserving U-Net, a variant of that of Karras et al. 2024 (arXiv 2312.02696), config G."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.embedding import FourierEmbedding
from elucidiff.networks.levels import decoder_levels, encoder_levels, pass_levels
from elucidiff.networks.magnitude_preserving import SILU_MAGNITUDE, UnitLayer, mp_cat, mp_sum
from elucidiff.networks.mp_unet_block import MPUNetBlock
from elucidiff.networks.network import Network, NetworkSettings, settings_from
from elucidiff.networks.normalise import silu
from elucidiff.parts import part

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

        self.stem = UnitLayer(self.in_channels + 1, base_channels, kernel)
        self.encoder, skips = encoder_levels(
            partial(make, True), base_channels, self.level_channels, blocks_per_level, self.level_attention
        )
        self.decoder = decoder_levels(
            partial(make, False),
            skips,
            self.level_channels,
            [[attend] * (blocks_per_level + 1) for attend in self.level_attention],
        )
        self.head = UnitLayer(self.level_channels[0], self.out_channels, kernel)
        self.head_gain = nn.Parameter(torch.zeros(1))

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
