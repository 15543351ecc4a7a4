"""The ADM U-Net (Dhariwal and Nichol 2021) in the form of Karras et al. 2022, Appendix F."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from elucidiff.networks.blocks import Block, BlockStyle
from elucidiff.networks.embedding import PositionalEmbedding
from elucidiff.networks.layers import convolution, fan_in_uniform, linear, standard_normal, zero
from elucidiff.networks.levels import decoder_levels, encoder_levels, pass_levels
from elucidiff.networks.network import Network
from elucidiff.networks.side_paths import Head


class ADM(Network):
    """A U-Net whose residual branches are scaled and shifted by the embedding of noise level and labels.

    Attention has one head for every 64 channels, hence none in blocks that are narrower.

    Args:
        sample_shape: ``(C, *spatial)``, one to three spatial dimensions; every side a multiple of
            ``2^(levels - 1)``, where ``levels = len(channel_multipliers)``.
        out_channels: channels of the output; default C. (2 C for networks that also learn the variance.)
        base_channels: channels that the multipliers multiply.
        channel_multipliers: channels of each level, from the highest resolution to the lowest.
        blocks_per_level: residual blocks of each encoder level.
        attention_resolutions: resolutions whose blocks attend. The resolution of a level is the larger side of
            ``sample_shape``, halved once a level; the input's own size does not change where attention is.
        dropout: probability of dropping a feature in a residual branch.
        label_dim: width of the class labels, 0 for none.
        label_dropout: probability, in training, of replacing the labels of an item with zeros.
        label_presence: whether one more column of the labels tells that there is a label.
        augment_dim: width of the augmentation labels, 0 for none.
        embedding_multiplier: channels of the embedding over ``base_channels``.

    Raises:
        ValueError: a setting is out of range, the sides do not divide, or the heads do not divide the channels.
    """

    def __init__(
        self,
        sample_shape: Sequence[int],
        *,
        out_channels: int | None = None,
        base_channels: int = 192,
        channel_multipliers: Sequence[int] = (1, 2, 3, 4),
        blocks_per_level: int = 3,
        attention_resolutions: Sequence[int] = (32, 16, 8),
        dropout: float = 0.1,
        label_dim: int = 0,
        label_dropout: float = 0.0,
        label_presence: bool = False,
        augment_dim: int = 0,
        embedding_multiplier: int = 4,
    ) -> None:
        super().__init__(
            sample_shape,
            out_channels=out_channels,
            base_channels=base_channels,
            channel_multipliers=channel_multipliers,
            blocks_per_level=blocks_per_level,
            attention_resolutions=attention_resolutions,
            dropout=dropout,
            label_dim=label_dim,
            label_dropout=label_dropout,
            label_presence=label_presence,
            augment_dim=augment_dim,
            embedding_multiplier=embedding_multiplier,
        )
        self.config |= {"type": "adm"}
        if base_channels % 2:
            raise ValueError(f"base_channels must be even, but is {base_channels}")
        embedding_channels = base_channels * embedding_multiplier
        style = BlockStyle(
            dims=self.dims,
            embedding_channels=embedding_channels,
            dropout=dropout,
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
        stem_channels = self.level_channels[0]
        self.stem = convolution(self.dims, self.in_channels, stem_channels, 3, fan_in_uniform)
        self.encoder, skips = encoder_levels(
            make, stem_channels, self.level_channels, blocks_per_level, self.level_attention
        )
        self.decoder = decoder_levels(
            make,
            skips,
            self.level_channels,
            [[attend] * (blocks_per_level + 1) for attend in self.level_attention],
        )
        self.head = Head(self.dims, self.level_channels[0], self.out_channels, style.eps, zero)

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
