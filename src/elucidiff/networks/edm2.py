"""The U-Net of Karras et al. 2024 (arXiv 2312.02696), "EDM2", config G, as published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.blocks import decoder_levels, encoder_levels, pass_levels
from elucidiff.networks.layers import Resample, check_taps
from elucidiff.networks.magnitude_preserving import (
    MPFourier,
    MPLayer,
    UnitAttention,
    balanced_cat,
    mp_silu,
    mp_sum,
    unit,
)
from elucidiff.networks.network import Network, NetworkSettings, settings_from
from elucidiff.parts import part


@part("network", "edm2")
@dataclass(frozen=True)
class EDM2Settings(NetworkSettings):
    """EDM2 as published (Karras et al. 2024, config G).

    Args:
        base_channels: channels that the multipliers multiply. The published sizes xxs to xxl have 64, 128, 192, 256,
            320, 384 and 448.
        embedding_multiplier: channels of the embedding over ``base_channels``; none: as many as the widest level has.
        noise_multiplier: features of the noise level over ``base_channels``; none: as many as the first level has.
        label_balance: share t of the labels in their sum with the features of the noise level.
        concat_balance: share t of the skip connections.
        res_balance: share t of the residual branches.
        attn_balance: share t of the attention.
        channels_per_head: attention has a head for so many channels, hence none in blocks that are narrower.
        clip: blocks return values in [-clip, clip]; none for no bounds.
        resample_filter: taps of the low-pass filter of all resampling.
        log_variance_channels: features of :meth:`EDM2.log_variance`, 128 as published; 0: none.

    Raises:
        ValueError: a setting is out of range.

    >>> import elucidiff as ed
    >>> ed.networks.EDM2Settings(base_channels=64).resample_filter
    (1, 1)
    """

    base_channels: int = 192
    channel_multipliers: tuple[int, ...] = (1, 2, 3, 4)
    blocks_per_level: int = 3
    attention_resolutions: tuple[int, ...] = (16, 8)
    dropout: float = 0.0
    embedding_multiplier: int | None = None
    noise_multiplier: int | None = None
    label_balance: float = 0.5
    concat_balance: float = 0.5
    res_balance: float = 0.3
    attn_balance: float = 0.3
    channels_per_head: int = 64
    clip: float | None = 256.0
    resample_filter: tuple[float, ...] = (1, 1)
    log_variance_channels: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("label_balance", "concat_balance", "res_balance", "attn_balance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, but {getattr(self, name)} is not in [0, 1]")
        for name, least in (("channels_per_head", 1), ("log_variance_channels", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be positive, or None for no bounds, but is {self.clip}")
        check_taps(self.resample_filter)

    def build(self, sample_shape: Sequence[int], *, label_dim: int = 0, augment_dim: int = 0) -> EDM2:
        """See :meth:`.NetworkPart.build`. There are no augmentation labels: ``augment_dim`` must be 0."""
        return EDM2(sample_shape, self, label_dim=label_dim, augment_dim=augment_dim)


class EDM2(Network):
    """The magnitude-preserving U-Net in which the EDM2 snapshots were trained: same weights, same outputs.

    No biases and no group normalisation. What is learned of magnitudes are a gain of the output and one of each
    block's modulation, which start at 0: the output is 0 at first. In place of biases the input has one more channel,
    which is constantly 1. In training mode every call puts the weight vectors back to magnitude 1.

    :class:`~elucidiff.networks.MPUNet` is our variant for small trainings: it takes augmentation labels, and the
    noise level enters by sines and cosines.

    Args:
        sample_shape: ``(C, *spatial)``, one to three spatial dimensions; every side a multiple of
            ``2^(levels - 1)``, where ``levels = len(channel_multipliers)``.
        settings: the settings, or
        choices: those that are not at their defaults, by name: see :class:`EDM2Settings`.
        label_dim: width of the class labels, 0 for none.
        augment_dim: must be 0: this network has no input for augmentation labels.

    Raises:
        TypeError: a setting is unknown or of the wrong type.
        ValueError: a setting is out of range, the sides do not divide, or the heads do not divide the channels.

    >>> import elucidiff as ed
    >>> network = ed.networks.EDM2((4, 16, 16), base_channels=16, channel_multipliers=(1, 2), blocks_per_level=1)
    >>> bool((network(torch.ones(1, 4, 16, 16), torch.zeros(1)) == 0).all())  # the gain of the output starts at 0
    True
    """

    def __init__(
        self,
        sample_shape: Sequence[int],
        settings: EDM2Settings | None = None,
        *,
        label_dim: int = 0,
        augment_dim: int = 0,
        **choices: Any,
    ) -> None:
        given = settings_from(EDM2Settings, settings, choices)
        super().__init__(sample_shape, given, label_dim, augment_dim)
        if augment_dim:
            raise ValueError("edm2 takes no augmentation labels: switch augmentation off, or train an mp_unet")
        base_channels, blocks_per_level = given.base_channels, given.blocks_per_level
        embedding_multiplier, noise_multiplier = given.embedding_multiplier, given.noise_multiplier
        log_variance_channels = given.log_variance_channels
        self.concat_balance, self.label_balance = given.concat_balance, given.label_balance

        widest, first = max(self.level_channels), self.level_channels[0]
        embedding_channels = base_channels * embedding_multiplier if embedding_multiplier else widest
        noise_channels = base_channels * noise_multiplier if noise_multiplier else first
        kernel = (3,) * self.dims
        style = BlockStyle(
            self.dims, embedding_channels, given.dropout, given.res_balance, given.attn_balance,
            given.channels_per_head, given.clip, given.resample_filter,
        )  # fmt: skip

        self.noise_features = MPFourier(noise_channels)
        self.embed_noise = MPLayer(noise_channels, embedding_channels)
        self.embed_labels = MPLayer(self.label_width, embedding_channels) if label_dim else None
        self.stem = MPLayer(self.stem_channels + 1, first, kernel)
        self.encoder, skips = encoder_levels(
            partial(EDM2Block, style, "encoder"), first, self.level_channels, blocks_per_level, self.level_attention
        )
        self.decoder = decoder_levels(
            partial(EDM2Block, style, "decoder"),
            skips,
            self.level_channels,
            [[attend] * (blocks_per_level + 1) for attend in self.level_attention],
        )
        self.head = MPLayer(first, self.head_channels, kernel)
        self.head_gain = nn.Parameter(torch.zeros(()))
        self.log_variance_features = MPFourier(log_variance_channels) if log_variance_channels else None
        self.log_variance_layer = MPLayer(log_variance_channels, 1) if log_variance_channels else None
        self.wrap_borders()

    def compute(self, x: Tensor, embedding: Tensor) -> Tensor:
        """See :meth:`.Network.compute`."""
        ones_after_channels = [0, 0] * self.dims + [0, 1]
        stem = self.stem(F.pad(x, ones_after_channels, value=1.0))
        join = partial(balanced_cat, t=self.concat_balance)
        h = pass_levels(stem, embedding, self.encoder, self.decoder, join)
        output: Tensor = self.head(h, gain=self.head_gain)
        return output

    def embed(self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """See :meth:`.Network.embed`. In float32 at least, whatever the network computes in."""
        e: Tensor = self.embed_noise(self.noise_features(noise_labels))
        if self.embed_labels is not None:
            # The norm of one-hot labels is 1, their magnitude 1/sqrt(label_width).
            labels = self.class_labels_or_zeros(class_labels, e) * self.label_width**0.5
            e = mp_sum(e, self.embed_labels(labels), self.label_balance)
        return mp_silu(e)

    def log_variance(self, noise_labels: Tensor) -> Tensor:
        """u(sigma) of the uncertainty weighting, Eq. 21: the logarithm of the loss at each noise level, learned.

        Only training has a use for it; see :func:`elucidiff.training.state.uncertainty_weighted`.

        Args:
            noise_labels: ``(B,)``, c_noise = ln(sigma) / 4.

        Returns:
            ``(B,)``, float32 at least.

        Raises:
            ValueError: the network was made with ``log_variance_channels`` 0.
        """
        if self.log_variance_features is None or self.log_variance_layer is None:
            raise ValueError("this network has no log variance: it was made with log_variance_channels 0")
        u: Tensor = self.log_variance_layer(self.log_variance_features(noise_labels))
        return u.squeeze(1)


@dataclass(frozen=True)
class BlockStyle:
    """Settings that all blocks of a network have in common; see :class:`EDM2`."""

    dims: int
    embedding_channels: int
    dropout: float
    res_balance: float
    attn_balance: float
    channels_per_head: int
    clip: float | None
    resample_taps: tuple[float, ...]


class EDM2Block(nn.Module):
    """Two convolutions, modulated between them, beside a main path; attention and clipping after. App. B, Fig. 21.

    In the encoder the main path is resampled, brought to the channels of the output and pixel-normalised before the
    branch leaves it; in the decoder the branch leaves it first.

    Args:
        style: of all blocks.
        part: "encoder" or "decoder".
        in_channels: channels of the input.
        out_channels: channels of the output.
        resample: "down" or "up": halve or double the resolution first.
        attention: whether self-attention follows, if the block is wide enough for a head.
    """

    def __init__(
        self,
        style: BlockStyle,
        part: Literal["encoder", "decoder"],
        in_channels: int,
        out_channels: int,
        *,
        resample: Literal["down", "up"] | None = None,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.style, self.in_encoder = style, part == "encoder"
        one, three = (1,) * style.dims, (3,) * style.dims
        self.resample = Resample(resample, style.dims, style.resample_taps) if resample else None
        self.skip = MPLayer(in_channels, out_channels, one) if in_channels != out_channels else None
        self.conv1 = MPLayer(out_channels if self.in_encoder else in_channels, out_channels, three)
        self.embed = MPLayer(style.embedding_channels, out_channels)
        self.embed_gain = nn.Parameter(torch.zeros(()))
        self.conv2 = MPLayer(out_channels, out_channels, three)
        heads = out_channels // style.channels_per_head if attention else 0
        if heads and out_channels % heads:
            raise ValueError(f"{heads} heads of attention do not divide {out_channels} channels")
        self.attention = UnitAttention(out_channels, heads, style.attn_balance) if heads else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """From ``(B, in_channels, *spatial)`` and the embedding ``(B or 1, embedding_channels)``."""
        style = self.style
        x = x if self.resample is None else self.resample(x)
        if self.in_encoder:
            x = unit(x if self.skip is None else self.skip(x), 1)
        h = self.conv1(mp_silu(x))
        scale = (1 + self.embed(embedding, gain=self.embed_gain)).to(h.dtype)
        h = mp_silu(h * scale.reshape(*scale.shape, *[1] * style.dims))
        h = self.conv2(F.dropout(h, style.dropout, self.training))
        if not self.in_encoder and self.skip is not None:
            x = self.skip(x)
        x = mp_sum(x, h, style.res_balance)
        x = x if self.attention is None else self.attention(x)
        return x if style.clip is None else x.clamp(-style.clip, style.clip)
