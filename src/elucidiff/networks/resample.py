"""Halving and doubling the resolution with a low-pass filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.layers import CONVOLVE

Direction = Literal["down", "up"]

_AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_CONVOLVE_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def check_taps(taps: Sequence[float]) -> None:
    """Raise ValueError unless these numbers make a filter that :class:`Resample` takes."""
    if not taps or len(taps) % 2 or not sum(taps):
        raise ValueError(f"resample filter {list(taps)} needs an even number of taps and a sum other than 0")


def filter_kernel(taps: Sequence[float], dims: int) -> Tensor:
    """The separable filter with these taps along every dimension, of sum 1, float32 ``(1, 1, *taps)``."""
    normalised = torch.tensor(taps, dtype=torch.float32) / sum(taps)
    return reduce(lambda outer, tap: outer.unsqueeze(-1) * tap, [normalised] * dims)[None, None]


class Resample(nn.Module):
    """Halve or double every side with a separable filter: zero padding, unit gain (Zhang 2019, Karras et al. 2019).

    Down: filter, then keep every second position. Up: insert a zero after every position, then filter with twice the
    gain per dimension. With the filter (1, 1) these are averages of neighbours and copies of the nearest value.

    Args:
        direction: "down" or "up".
        dims: number of spatial dimensions.
        taps: the filter along one dimension, of even length; it is normalised to sum 1.
        padding: zeros before and after each dimension of the input; default: as many as double or halve its length.
    """

    kernel: Tensor

    def __init__(self, direction: Direction, dims: int, taps: Sequence[float], *, padding: int | None = None) -> None:
        super().__init__()
        check_taps(taps)
        self.direction, self.dims = direction, dims
        self.padding = len(taps) // 2 - 1 if padding is None else padding
        self.box = len(taps) == 2 and taps[0] == taps[1]
        if not self.box:
            # Kept with the weights, although the taps determine it: then no way of moving or loading them misses it.
            self.register_buffer("kernel", filter_kernel(taps, dims))

    def forward(self, x: Tensor) -> Tensor:
        """Resample ``(B, C, *spatial)``."""
        if self.box:
            if self.direction == "down":
                return _AVERAGE[self.dims](x, 2)
            return F.interpolate(x, scale_factor=2, mode="nearest")
        # A depthwise convolution, or its transpose, with stride 2.
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, *self.kernel.shape[1:])
        if self.direction == "down":
            return CONVOLVE[self.dims](x, kernel, stride=2, padding=self.padding, groups=channels)
        return _CONVOLVE_TRANSPOSED[self.dims](
            x, kernel * 2**self.dims, stride=2, padding=self.padding, groups=channels
        )

    def then(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Resample ``x``, then convolve with a kernel of side 1 or 3 that keeps the sides; with less work."""
        side = weight.shape[-1]
        if self.direction == "down" or not self.box:
            return CONVOLVE[self.dims](self(x), weight, bias, padding=side // 2)
        if side == 1:
            return self.forward(CONVOLVE[self.dims](x, weight, bias))
        # Neighbouring taps of the kernel meet the same copied value. Their sums make up a transposed convolution of
        # stride 2 with 2^d taps an output position rather than 3^d, and the enlarged input is never stored.
        sums = _AVERAGE[self.dims](weight, 2, stride=1, padding=1) * 2**self.dims
        kernel = sums.transpose(0, 1).flip(list(range(2, self.dims + 2)))
        return _CONVOLVE_TRANSPOSED[self.dims](x, kernel, bias, stride=2, padding=1)
