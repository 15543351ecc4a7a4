"""The blocks of a U-Net, the levels that they make up, and the paths beside its trunk in NCSN++."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.layers import (
    Convolution,
    GroupNorm,
    Initialiser,
    Resample,
    SelfAttention,
    convolution,
    linear,
    silu,
)

BlockMaker = Callable[..., nn.Module]
"""Makes a block from its channels before and after, and the keywords ``resample`` and ``attention`` of
:class:`elucidiff.networks.blocks.Block`. The blocks are called with the trunk and the embedding."""


class Level(nn.Module):
    """The blocks of one resolution.

    Attributes:
        enter: blocks that lead into the level: one that resamples, none at the encoder's first level, two that keep
            the size at the decoder's first.
        blocks: the blocks that follow. Those of the decoder take a skip connection each.
        entry_channels: channels after the blocks that lead into the level.
        out_channels: channels after its last block.
    """

    enter: nn.ModuleList
    blocks: nn.ModuleList

    def __init__(
        self, enter: Sequence[nn.Module], blocks: Sequence[nn.Module], entry_channels: int, out_channels: int
    ) -> None:
        super().__init__()
        self.entry_channels, self.out_channels = entry_channels, out_channels
        self.enter, self.blocks = nn.ModuleList(enter), nn.ModuleList(blocks)


class Levels(nn.ModuleList):
    """Levels in the order in which the trunk passes them."""

    def __iter__(self) -> Iterator[Level]:
        return cast("Iterator[Level]", super().__iter__())


def encoder_levels(
    make: BlockMaker,
    stem_channels: int,
    level_channels: Sequence[int],
    blocks_per_level: int,
    attention: Sequence[bool],
) -> tuple[Levels, list[int]]:
    """The encoder, from the highest resolution to the lowest, and the channels of all its skip connections in order.

    There is a skip connection from the stem, from every block that resamples and from every block that follows it.
    """
    levels, skips = [], [stem_channels]
    for index, (channels, attend) in enumerate(zip(level_channels, attention, strict=True)):
        entry = skips[-1]
        enter = [make(entry, entry, resample="down")] if index else []
        widths = [entry] + [channels] * blocks_per_level
        blocks = [make(before, after, attention=attend) for before, after in pairwise(widths)]
        skips += [entry] * len(enter) + widths[1:]
        levels.append(Level(enter, blocks, entry, widths[-1]))
    return Levels(levels), skips


def decoder_levels(
    make: BlockMaker,
    skips: Sequence[int],
    level_channels: Sequence[int],
    attention: Sequence[Sequence[bool]],
) -> Levels:
    """The decoder, from the lowest resolution to the highest.

    Each level has one block more than the encoder's, for the skip connection of the block that led out of it.

    Args:
        make: makes a block.
        skips: channels of the encoder's skip connections, in the encoder's order.
        level_channels: channels of each level, in the encoder's order.
        attention: for each level, in the encoder's order, and each of its blocks, whether it attends.
    """
    remaining, channels, levels = list(skips), skips[-1], []
    for index, (width, attend) in enumerate(zip(reversed(level_channels), reversed(attention), strict=True)):
        if index:
            enter = [make(channels, channels, resample="up")]
        else:
            enter = [make(channels, channels, attention=True), make(channels, channels)]
        widths = [channels] + [width] * len(attend)
        blocks = [
            make(before + remaining.pop(), after, attention=attends)
            for (before, after), attends in zip(pairwise(widths), attend, strict=True)
        ]
        levels.append(Level(enter, blocks, channels, width))
        channels = width
    return Levels(levels)


def pass_levels(
    h: Tensor, embedding: Tensor, encoder: Levels, decoder: Levels, join: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The trunk of a U-Net without side paths: from the output of its stem to the input of its head.

    Args:
        h: ``(B, stem channels, *spatial)``.
        embedding: of noise level and labels.
        encoder: its levels.
        decoder: its levels.
        join: puts the trunk and a skip connection together.
    """
    skips = [h]
    for level in encoder:
        for block in (*level.enter, *level.blocks):
            h = block(h, embedding)
            skips.append(h)
    for level in decoder:
        for block in level.enter:
            h = block(h, embedding)
        for block in level.blocks:
            h = block(join(h, skips.pop()), embedding)
    return h


@dataclass(frozen=True)
class BlockStyle:
    """Settings that all blocks of one network have in common.

    Args:
        dims: number of spatial dimensions.
        embedding_channels: channels of the embedding of noise level and labels.
        dropout: probability of dropping a feature before the second convolution.
        resample_taps: the filter along one dimension.
        scale_and_shift: the embedding scales and shifts the second normalisation (ADM), or is added before it
            (DDPM++).
        project_resampled: a 1x1 convolution in the skip path of a block that resamples but keeps its channels.
        channels_per_head: attention has ``channels // channels_per_head`` heads, none if that is 0; None: one head.
        skip_scale: factor on the sum of a residual branch and its skip path.
        eps: of the normalisations.
        initialise: starting values of most layers.
        initialise_qkv: starting values of the layers that make queries, keys and values.
        initialise_last: starting values of the last layer of each residual branch.
    """

    dims: int
    embedding_channels: int
    dropout: float
    resample_taps: tuple[float, ...]
    scale_and_shift: bool
    project_resampled: bool
    channels_per_head: int | None
    skip_scale: float
    eps: float
    initialise: Initialiser
    initialise_qkv: Initialiser
    initialise_last: Initialiser

    def heads(self, channels: int) -> int:
        """Number of attention heads of a block with so many channels."""
        return 1 if self.channels_per_head is None else channels // self.channels_per_head


class Block(nn.Module):
    """Two normalised convolutions with the embedding between them, a skip path around them, and attention after.

    Args:
        style: what the network's blocks have in common.
        in_channels: channels of the input.
        out_channels: channels of the output.
        resample: "down" or "up": halve or double the resolution in the first convolution and in the skip path.
        attention: whether self-attention follows.
    """

    def __init__(
        self,
        style: BlockStyle,
        in_channels: int,
        out_channels: int,
        *,
        resample: Literal["down", "up"] | None = None,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.dropout, self.skip_scale, self.scale_and_shift = style.dropout, style.skip_scale, style.scale_and_shift
        self.resample = Resample(resample, style.dims, style.resample_taps) if resample else None
        self.norm1 = GroupNorm(in_channels, style.eps)
        self.conv1 = convolution(style.dims, in_channels, out_channels, 3, style.initialise)
        self.embed = linear(
            style.embedding_channels, out_channels * (2 if style.scale_and_shift else 1), style.initialise
        )
        self.norm2 = GroupNorm(out_channels, style.eps)
        self.conv2 = convolution(style.dims, out_channels, out_channels, 3, style.initialise_last)
        self.skip = (
            convolution(style.dims, in_channels, out_channels, 1, style.initialise)
            if in_channels != out_channels or (resample and style.project_resampled)
            else None
        )
        heads = style.heads(out_channels) if attention else 0
        self.attention = (
            SelfAttention(
                out_channels,
                heads,
                eps=style.eps,
                skip_scale=style.skip_scale,
                initialise_qkv=style.initialise_qkv,
                initialise_out=style.initialise_last,
            )
            if heads
            else None
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """From ``(B, in_channels, *spatial)`` and the embedding ``(B or 1, embedding_channels)``."""
        h: Tensor = silu(self.norm1(x))
        h = self.conv1(h) if self.resample is None else _then_convolved(self.resample, h, self.conv1)
        e = self.embed(embedding)
        e = e.reshape(*e.shape, *[1] * (x.ndim - 2))
        if self.scale_and_shift:
            scale, shift = e.chunk(2, dim=1)
            h = silu(torch.addcmul(shift, self.norm2(h), scale + 1))
        else:
            h = silu(self.norm2(h + e))
        h = self.conv2(F.dropout(h, self.dropout, self.training))
        # In place: nothing keeps the output of a convolution for the backward pass.
        h.add_(self.skip_path(x))
        if self.skip_scale != 1:
            h.mul_(self.skip_scale)
        return h if self.attention is None else self.attention(h)

    def skip_path(self, x: Tensor) -> Tensor:
        """``x`` with the resolution and the channels of the output."""
        if self.resample is None:
            return x if self.skip is None else self.skip(x)
        return self.resample(x) if self.skip is None else _then_convolved(self.resample, x, self.skip)


def _then_convolved(resample: Resample, x: Tensor, conv: Convolution) -> Tensor:
    return resample.then(x, conv, conv.weight, conv.bias)


class InputSkip(nn.Module):
    """The network's input, halved once a level, joins the trunk through a 1x1 convolution.

    Args:
        dims: number of spatial dimensions.
        in_channels: channels of the network's input.
        trunk_channels: channels of the trunk where the path joins it.
        taps: filter for halving the resolution.
        initialise: starting values.
    """

    def __init__(
        self, dims: int, in_channels: int, trunk_channels: int, taps: Sequence[float], initialise: Initialiser
    ) -> None:
        super().__init__()
        self.down = Resample("down", dims, taps)
        self.conv = convolution(dims, in_channels, trunk_channels, 1, initialise)

    def forward(self, trunk: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """The trunk joined by the path, and the path, both at the trunk's resolution."""
        side = self.down(side)
        return trunk + self.conv(side), side


class InputResidual(nn.Module):
    """The input, or the trunk at the level above, is convolved, halved, added to the trunk, and takes its place.

    The convolution and the filter act as one: the convolution is padded for both, so that at the borders the filter
    sees what the convolution makes of the zeros outside.

    Args:
        dims: number of spatial dimensions.
        in_channels: channels of the network's input, or of the trunk where it was joined last.
        trunk_channels: channels of the trunk where the path joins it.
        taps: filter for halving the resolution.
        initialise: starting values.
    """

    def __init__(
        self, dims: int, in_channels: int, trunk_channels: int, taps: Sequence[float], initialise: Initialiser
    ) -> None:
        super().__init__()
        self.down = Resample("down", dims, taps, padding=0)
        self.conv = convolution(dims, in_channels, trunk_channels, 3, initialise, margin=len(taps) // 2 - 1)

    def forward(self, trunk: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """The trunk joined by the path, twice: it is also the path's start to the next level."""
        trunk = (trunk + self.down(self.conv(side))) * math.sqrt(0.5)
        return trunk, trunk


class Head(nn.Module):
    """From the trunk to the network's output: normalise, activate, convolve.

    Args:
        dims: number of spatial dimensions.
        in_channels: channels of the trunk.
        out_channels: channels of the output.
        eps: of the normalisation.
        initialise: starting values of the convolution.
    """

    def __init__(self, dims: int, in_channels: int, out_channels: int, eps: float, initialise: Initialiser) -> None:
        super().__init__()
        self.norm = GroupNorm(in_channels, eps)
        self.conv = convolution(dims, in_channels, out_channels, 3, initialise)

    def forward(self, trunk: Tensor) -> Tensor:
        """From ``(B, in_channels, *spatial)`` to ``(B, out_channels, *spatial)``."""
        output: Tensor = self.conv(silu(self.norm(trunk)))
        return output
