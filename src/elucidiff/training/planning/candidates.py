"""The networks that a plan chooses from: one family, with as many levels and attention as the data have room for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from elucidiff.networks import MPUNetSettings

WIDTHS: tuple[tuple[int, int], ...] = ((16, 1), (24, 1), (32, 1), (48, 1), (64, 2), (96, 2), (128, 3), (192, 3))
"""Channels at the highest resolution, and residual blocks a level, from the cheapest network to the dearest."""
MULTIPLIERS = (1, 2, 4, 4, 4, 4)
"""Channels of each level over those of the first."""

_SMALLEST_SIDE = 4
_ATTENDING = 64
"""Levels of so many positions attend; the lowest does with up to 16 times as many."""
_COARSEST = 1024
_LONG_ENOUGH = 8


def levels_of(shape: Sequence[int]) -> int:
    """How many levels a network for samples ``(C, *spatial)`` has.

    The sides are halved while all of them are even, until the longest is 8, or the shortest 4.
    """
    sides, levels = list(shape[1:]), 1
    while (
        levels < len(MULTIPLIERS)
        and all(side % 2 == 0 and side // 2 >= min(_SMALLEST_SIDE, *shape[1:]) for side in sides)
        and (max(sides) > _LONG_ENOUGH or levels == 1)
    ):
        sides, levels = [side // 2 for side in sides], levels + 1
    return levels


def attention_of(shape: Sequence[int], levels: int) -> tuple[int, ...]:
    """The resolutions that attend, as the larger side at each; none where even the lowest has too many positions."""
    found = []
    for level in range(levels):
        sides = [side >> level for side in shape[1:]]
        most = _COARSEST if level == levels - 1 else _ATTENDING
        if math.prod(sides) <= most:
            found.append(max(shape[1:]) >> level)
    return tuple(found)


def networks_for(shape: Sequence[int]) -> Iterator[MPUNetSettings]:
    """Magnitude-preserving U-Nets for samples ``(C, *spatial)``, from the cheapest to the dearest.

    >>> from elucidiff.training.planning.candidates import networks_for
    >>> network = next(networks_for((3, 32, 32)))
    >>> network.channel_multipliers, network.attention_resolutions
    ((1, 2, 4), (8,))
    """
    levels = levels_of(shape)
    for channels, blocks in WIDTHS:
        yield MPUNetSettings(
            base_channels=channels,
            channel_multipliers=MULTIPLIERS[:levels],
            blocks_per_level=blocks,
            attention_resolutions=attention_of(shape, levels),
            dropout=0.0,
        )
