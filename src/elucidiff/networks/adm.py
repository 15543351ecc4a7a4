"""The ADM U-Net (Dhariwal and Nichol 2021) in the form of Karras et al. 2022, Appendix F."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from elucidiff.networks.blocks import Block, BlockStyle, Head, decoder_levels, encoder_levels, pass_levels
from elucidiff.networks.layers import PositionalEmbedding, convolution, fan_in_uniform, linear, standard_normal, zero
from elucidiff.networks.network import Network, NetworkSettings, settings_from
from elucidiff.parts import part


@part("network", "adm")
@dataclass(frozen=True)
class ADMSettings(NetworkSettings):
    """ADM (Dhariwal and Nichol 2021): the embedding scales and shifts; attention has a head for every 64 channels.

    Args:
        embedding_multiplier: channels of the embedding over ``base_channels``.

    Raises:
        ValueError: a setting is out of range.

    >>> import elucidiff as ed
    >>> ed.parts.to_text(ed.networks.ADMSettings(base_channels=64, channel_multipliers=(1, 2)))
    'adm:base_channels=64,channel_multipliers=1/2'
    """

    base_channels: int = 192
    channel_multipliers: tuple[int, ...] = (1, 2, 3, 4)
    blocks_per_level: int = 3
    attention_resolutions: tuple[int, ...] = (32, 16, 8)
    embedding_multiplier: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_channels % 2:
            raise ValueError(f"base_channels must be even, but is {self.base_channels}")

    def build(self, sample_shape: Sequence[int], *, label_dim: int = 0, augment_dim: int = 0) -> ADM:
        """See :meth:`.NetworkPart.build`."""
        return ADM(sample_shape, self, label_dim=label_dim, augment_dim=augment_dim)


class ADM(Network):
    """A U-Net whose residual branches are scaled and shifted by the embedding of noise level and labels.

    Attention has one head for every 64 channels, hence none in blocks that are narrower. Networks that also learn the
    variance have ``out_channels`` 2 C.

    Args:
        sample_shape: ``(C, *spatial)``, one to three spatial dimensions; every side a multiple of
            ``2^(levels - 1)``, where ``levels = len(channel_multipliers)``.
        settings: the settings, or
        choices: those that are not at their defaults, by name: see :class:`ADMSettings`.
        label_dim: width of the class labels, 0 for none.
        augment_dim: width of the augmentation labels, 0 for none.

    Raises:
        TypeError: a setting is unknown or of the wrong type.
        ValueError: a setting is out of range, the sides do not divide, or the heads do not divide the channels.

    >>> import elucidiff as ed
    >>> network = ed.networks.ADM((3, 16, 16), base_channels=8, blocks_per_level=1, label_dim=10)
    >>> network(torch.zeros(2, 3, 16, 16), torch.zeros(2), torch.eye(10)[:2]).shape
    torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self,
        sample_shape: Sequence[int],
        settings: ADMSettings | None = None,
        *,
        label_dim: int = 0,
        augment_dim: int = 0,
        **choices: Any,
    ) -> None:
        given = settings_from(ADMSettings, settings, choices)
        super().__init__(sample_shape, given, label_dim, augment_dim)
        base_channels, blocks_per_level = given.base_channels, given.blocks_per_level
        embedding_channels = base_channels * given.embedding_multiplier
        style = BlockStyle(
            dims=self.dims,
            embedding_channels=embedding_channels,
            dropout=given.dropout,
            resample_taps=(1, 1),
            scale_and_shift=True,
            project_resampled=False,
            channels_per_head=64,
            skip_scale=1.0,
            eps=1e-5,
            initialise=fan_in_uniform,
            initialise_qkv=fan_in_uniform,
            initialise_last=zero,
        )
        make = partial(Block, style)

        self.noise_features = PositionalEmbedding(base_channels, endpoint=False, sines_first=False)
        self.embed_augment = linear(augment_dim, base_channels, zero, bias=False) if augment_dim else None
        self.embed1 = linear(base_channels, embedding_channels, fan_in_uniform)
        self.embed2 = linear(embedding_channels, embedding_channels, fan_in_uniform)
        self.embed_labels = (
            linear(self.label_width, embedding_channels, standard_normal, bias=False) if label_dim else None
        )

        # The stem is as wide as the first level, whatever its multiplier; in DDPM++ it has base_channels.
        first_channels = self.level_channels[0]
        self.stem = convolution(self.dims, self.stem_channels, first_channels, 3, fan_in_uniform)
        self.encoder, skips = encoder_levels(
            make, first_channels, self.level_channels, blocks_per_level, self.level_attention
        )
        self.decoder = decoder_levels(
            make,
            skips,
            self.level_channels,
            [[attend] * (blocks_per_level + 1) for attend in self.level_attention],
        )
        self.head = Head(self.dims, self.level_channels[0], self.head_channels, style.eps, zero)
        self.wrap_borders()

    def compute(self, x: Tensor, embedding: Tensor) -> Tensor:
        """See :meth:`.Network.compute`."""
        h = pass_levels(
            self.stem(x), embedding, self.encoder, self.decoder, lambda h, skip: torch.cat([h, skip], dim=1)
        )
        output: Tensor = self.head(h)
        return output

    def embed(self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """See :meth:`.Network.embed`."""
        dtype = self.embed1.weight.dtype
        e = self.noise_features(noise_labels).to(dtype)
        if self.embed_augment is not None and augment_labels is not None:
            e = e + self.embed_augment(augment_labels.to(dtype))
        e = self.embed2(F.silu(self.embed1(e)))
        if self.embed_labels is not None:
            e = e + self.embed_labels(self.class_labels_or_zeros(class_labels, e))
        return F.silu(e)
