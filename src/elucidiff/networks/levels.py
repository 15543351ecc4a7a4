"""The levels of a U-Net: which block has how many channels, where it resamples and where it attends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

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
