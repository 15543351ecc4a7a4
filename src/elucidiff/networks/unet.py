"""The DDPM++ and NCSN++ U-Nets (Song et al. 2021) in the form of Karras et al. 2022, Appendix F."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.blocks import (
    Block,
    BlockStyle,
    Head,
    InputResidual,
    InputSkip,
    decoder_levels,
    encoder_levels,
)
from elucidiff.networks.layers import (
    FourierEmbedding,
    PositionalEmbedding,
    Resample,
    check_taps,
    convolution,
    linear,
    xavier_uniform,
)
from elucidiff.networks.network import Network, NetworkSettings, settings_from
from elucidiff.parts import part


@part("network", "ddpmpp")
@dataclass(frozen=True)
class DDPMPPSettings(NetworkSettings):
    """DDPM++: positional noise features, no side paths, resampling by averages and copies of neighbours.

    Args:
        embedding: features of the noise level: "positional" (DDPM++) or "fourier" (NCSN++).
        embedding_multiplier: channels of the embedding over ``base_channels``.
        noise_multiplier: features of the noise level over ``base_channels``.
        encoder: "standard"; "skip" and "residual" carry the input along beside the trunk.
        decoder: "standard"; "skip" adds up outputs of all levels.
        resample_filter: taps of the low-pass filter of all resampling.

    Raises:
        ValueError: a setting is out of range.

    >>> import elucidiff as ed
    >>> ed.parts.parse("network", "ddpmpp:base_channels=64").build((1, 8, 8)).sample_shape
    (1, 8, 8)
    """

    embedding: Literal["positional", "fourier"] = "positional"
    embedding_multiplier: int = 4
    noise_multiplier: int = 1
    encoder: Literal["standard", "skip", "residual"] = "standard"
    decoder: Literal["standard", "skip"] = "standard"
    resample_filter: tuple[float, ...] = (1, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        noise_channels = self.base_channels * self.noise_multiplier
        if noise_channels % 2 or noise_channels < 4:
            raise ValueError(f"base_channels * noise_multiplier must be even and at least 4, but is {noise_channels}")
        check_taps(self.resample_filter)

    def build(self, sample_shape: Sequence[int], *, label_dim: int = 0, augment_dim: int = 0) -> UNet:
        """See :meth:`.NetworkPart.build`."""
        return UNet(sample_shape, self, label_dim=label_dim, augment_dim=augment_dim)


@part("network", "ncsnpp")
@dataclass(frozen=True)
class NCSNPPSettings(DDPMPPSettings):
    """NCSN++: Fourier noise features, a residual path from the input, resampling with the taps (1, 3, 3, 1).

    >>> import elucidiff as ed
    >>> ed.networks.NCSNPPSettings().embedding, ed.networks.NCSNPPSettings().resample_filter
    ('fourier', (1, 3, 3, 1))
    """

    embedding: Literal["positional", "fourier"] = "fourier"
    noise_multiplier: int = 2
    encoder: Literal["standard", "skip", "residual"] = "residual"
    resample_filter: tuple[float, ...] = (1, 3, 3, 1)


class UNet(Network):
    """A U-Net whose residual branches add the embedding of noise level and labels. The defaults are DDPM++.

    Args:
        sample_shape: ``(C, *spatial)``, one to three spatial dimensions; every side a multiple of
            ``2^(levels - 1)``, where ``levels = len(channel_multipliers)``.
        settings: the settings, or
        choices: those that are not at their defaults, by name: see :class:`DDPMPPSettings`.
        label_dim: width of the class labels, 0 for none.
        augment_dim: width of the augmentation labels, 0 for none.

    Raises:
        TypeError: a setting is unknown or of the wrong type.
        ValueError: a setting is out of range, or the sides do not divide.

    >>> import elucidiff as ed
    >>> network = ed.networks.UNet.ncsnpp((1, 32), base_channels=8, blocks_per_level=1)  # for signals
    >>> network(torch.zeros(2, 1, 32), torch.zeros(2)).shape
    torch.Size([2, 1, 32])
    """

    def __init__(
        self,
        sample_shape: Sequence[int],
        settings: DDPMPPSettings | None = None,
        *,
        label_dim: int = 0,
        augment_dim: int = 0,
        **choices: Any,
    ) -> None:
        given = settings_from(DDPMPPSettings, settings, choices)
        super().__init__(sample_shape, given, label_dim, augment_dim)
        base_channels, blocks_per_level, encoder, decoder = (
            given.base_channels, given.blocks_per_level, given.encoder, given.decoder
        )  # fmt: skip
        noise_channels = base_channels * given.noise_multiplier
        embedding_channels = base_channels * given.embedding_multiplier
        taps = given.resample_filter
        initialise, nearly_zero = xavier_uniform(), xavier_uniform(gain=1e-5)
        style = BlockStyle(
            dims=self.dims,
            embedding_channels=embedding_channels,
            dropout=given.dropout,
            resample_taps=taps,
            scale_and_shift=False,
            project_resampled=True,
            channels_per_head=None,
            skip_scale=math.sqrt(0.5),
            eps=1e-6,
            initialise=initialise,
            initialise_qkv=xavier_uniform(gain=math.sqrt(0.2)),
            initialise_last=nearly_zero,
        )
        make = partial(Block, style)

        self.noise_features = (
            PositionalEmbedding(noise_channels, endpoint=True, sines_first=True)
            if given.embedding == "positional"
            else FourierEmbedding(noise_channels)
        )
        self.embed_labels = linear(self.label_width, noise_channels, initialise) if label_dim else None
        self.embed_augment = linear(augment_dim, noise_channels, initialise, bias=False) if augment_dim else None
        self.embed1 = linear(noise_channels, embedding_channels, initialise)
        self.embed2 = linear(embedding_channels, embedding_channels, initialise)

        self.stem = convolution(self.dims, self.stem_channels, base_channels, 3, initialise)
        self.encoder, skips = encoder_levels(
            make, base_channels, self.level_channels, blocks_per_level, self.level_attention
        )
        self.side_path = nn.ModuleList()
        if encoder != "standard":
            join, side_channels = (InputSkip if encoder == "skip" else InputResidual), self.stem_channels
            for trunk_channels in [level.entry_channels for level in self.encoder][1:]:
                self.side_path.append(join(self.dims, side_channels, trunk_channels, taps, initialise))
                if encoder == "residual":
                    side_channels = trunk_channels

        self.decoder = decoder_levels(
            make,
            skips,
            self.level_channels,
            [[False] * blocks_per_level + [attend] for attend in self.level_attention],
        )
        with_head = list(self.decoder) if decoder == "skip" else list(self.decoder)[-1:]
        self.heads = nn.ModuleList(
            Head(self.dims, level.out_channels, self.head_channels, style.eps, nearly_zero) for level in with_head
        )
        adds_outputs = decoder == "skip" and len(self.decoder) > 1
        self.upsample_output = Resample("up", self.dims, taps) if adds_outputs else None

        self.wrap_borders()

    @classmethod
    def ddpmpp(cls, sample_shape: Sequence[int], *, label_dim: int = 0, augment_dim: int = 0, **choices: Any) -> Self:
        """DDPM++ with these settings: see :class:`DDPMPPSettings`."""
        return cls(sample_shape, DDPMPPSettings(**choices), label_dim=label_dim, augment_dim=augment_dim)

    @classmethod
    def ncsnpp(cls, sample_shape: Sequence[int], *, label_dim: int = 0, augment_dim: int = 0, **choices: Any) -> Self:
        """NCSN++ with these settings: see :class:`NCSNPPSettings`."""
        return cls(sample_shape, NCSNPPSettings(**choices), label_dim=label_dim, augment_dim=augment_dim)

    def compute(self, x: Tensor, embedding: Tensor) -> Tensor:
        """See :meth:`.Network.compute`."""
        side = x
        h = self.stem(x)
        skips = [h]
        for index, level in enumerate(self.encoder):
            for block in level.enter:
                h = block(h, embedding)
                if self.side_path:
                    h, side = self.side_path[index - 1](h, side)
                skips.append(h)
            for block in level.blocks:
                h = block(h, embedding)
                skips.append(h)

        output: Tensor | None = None
        for index, level in enumerate(self.decoder):
            for block in level.enter:
                h = block(h, embedding)
            for block in level.blocks:
                h = block(torch.cat([h, skips.pop()], dim=1), embedding)
            if self.upsample_output is not None:
                head: Tensor = self.heads[index](h)
                output = head if output is None else self.upsample_output(output) + head
        if output is None:
            output = self.heads[-1](h)
        return output

    def embed(self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """See :meth:`.Network.embed`."""
        dtype = self.embed1.weight.dtype
        e = self.noise_features(noise_labels).to(dtype)
        if self.embed_labels is not None:
            # sqrt(label_width) gives one-hot labels unit variance.
            labels = self.class_labels_or_zeros(class_labels, e) * math.sqrt(self.label_width)
            e = e + self.embed_labels(labels)
        if self.embed_augment is not None and augment_labels is not None:
            e = e + self.embed_augment(augment_labels.to(dtype))
        e = F.silu(self.embed1(e))
        return F.silu(self.embed2(e))
