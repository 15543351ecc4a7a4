"""The paths beside a U-Net's trunk in NCSN++ (Song et al. 2021, following Karras et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from elucidiff.networks.layers import Initialiser, convolution
from elucidiff.networks.normalise import GroupNorm, silu
from elucidiff.networks.resample import Resample


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
