"""Layers in one, two and three spatial dimensions: convolution, normalisation, attention, features of the noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.padding import Periodic, extended

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Layer = nn.Linear | Convolution
Initialiser = Callable[[Layer], None]
"""Sets the starting values of one layer in place."""

CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
"""The convolution over so many spatial dimensions, as a function of input and weight."""


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, periodic: Periodic) -> Tensor:
    """The convolution of ``x`` with a kernel, extended by zeros, or by its other end along periodic dimensions."""
    if periodic:
        x, padding = extended(x, padding, periodic), 0
    return CONVOLVE[weight.ndim - 2](x, weight, bias, padding=padding)


class _Convolution1d(nn.Conv1d):
    periodic: Periodic = ()

    def forward(self, input: Tensor) -> Tensor:
        if not self.periodic:
            return super().forward(input)
        return convolve(input, self.weight, self.bias, int(self.padding[0]), self.periodic)


class _Convolution2d(nn.Conv2d):
    periodic: Periodic = ()

    def forward(self, input: Tensor) -> Tensor:
        if not self.periodic:
            return super().forward(input)
        return convolve(input, self.weight, self.bias, int(self.padding[0]), self.periodic)


class _Convolution3d(nn.Conv3d):
    periodic: Periodic = ()

    def forward(self, input: Tensor) -> Tensor:
        if not self.periodic:
            return super().forward(input)
        return convolve(input, self.weight, self.bias, int(self.padding[0]), self.periodic)


_CONVOLUTIONS: dict[int, type[_Convolution1d] | type[_Convolution2d] | type[_Convolution3d]] = {
    1: _Convolution1d,
    2: _Convolution2d,
    3: _Convolution3d,
}


def convolution(
    dims: int, in_channels: int, out_channels: int, kernel: int, initialise: Initialiser, *, margin: int = 0
) -> Convolution:
    """A convolution with bias over ``dims`` (1 to 3) spatial dimensions.

    Padding, by zeros unless :func:`.set_periodic` says otherwise, makes an odd kernel keep every side's length, or
    lengthen it by ``margin`` at either end.
    """
    layer = _CONVOLUTIONS[dims](in_channels, out_channels, kernel, padding=kernel // 2 + margin)
    initialise(layer)
    return layer


def linear(in_features: int, out_features: int, initialise: Initialiser, *, bias: bool = True) -> nn.Linear:
    """A linear layer with the given starting values."""
    layer = nn.Linear(in_features, out_features, bias=bias)
    initialise(layer)
    return layer


def xavier_uniform(gain: float = 1.0) -> Initialiser:
    """Weights uniform with variance ``gain^2 * 2 / (fan_in + fan_out)`` (Glorot and Bengio 2010), biases 0."""

    def initialise(layer: Layer) -> None:
        nn.init.xavier_uniform_(layer.weight, gain)
        _zero_bias(layer)

    return initialise


def fan_in_uniform(layer: Layer) -> None:
    """Weights and biases uniform within ``+-1/sqrt(fan_in)``, which is how PyTorch initialises its layers."""
    layer.reset_parameters()


def standard_normal(layer: Layer) -> None:
    """Weights of unit variance, biases 0: a one-hot input gives an output of unit variance."""
    nn.init.normal_(layer.weight)
    _zero_bias(layer)


def zero(layer: Layer) -> None:
    """Weights and biases 0: the layer is silent at first."""
    nn.init.zeros_(layer.weight)
    _zero_bias(layer)


def _zero_bias(layer: Layer) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class GroupNorm(nn.GroupNorm):
    """Group normalisation with at most 32 groups of at least 4 channels: ``min(32, channels // 4)`` groups.

    Where that number does not divide the channels, the next smaller one that does is taken. The statistics of
    half-precision input are computed in float32.

    Args:
        channels: channels of the input.
        eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float) -> None:
        groups = max(1, min(32, channels // 4))
        while channels % groups:
            groups -= 1
        super().__init__(groups, channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, *spatial)``."""
        if _torch_is_slow(x, self.num_groups):
            return self._from_channel_moments(x)
        return super().forward(x)

    def _from_channel_moments(self, x: Tensor) -> Tensor:
        """The same as an affine map of every channel, from E[x] and E[x^2] of the channels."""
        shape = (x.shape[0], self.num_groups, -1)
        mean = x.mean((2, 3)).view(shape).mean(2, keepdim=True)
        square = (x * x).mean((2, 3)).view(shape).mean(2, keepdim=True)
        scale = (square - mean * mean).clamp_min_(0).add_(self.eps).rsqrt_() * self.weight.view(1, *shape[1:])
        shift = self.bias.view(1, *shape[1:]) - mean * scale
        per_channel = (*x.shape[:2], 1, 1)
        return torch.addcmul(shift.reshape(per_channel), x, scale.reshape(per_channel))


def silu(x: Tensor) -> Tensor:
    """``x / (1 + exp(-x))``; writes over ``x``, which must be needed no more, where no gradient asks for it."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def _torch_is_slow(x: Tensor, groups: int) -> bool:
    """True if PyTorch's own kernel for inference would take two to four times as long.

    That is so on the CPU for channels-last maps of fewer than 1024 positions with few channels in a group, where it
    reads a few neighbouring numbers at a time (measured with PyTorch 2.14). It computes from E[x] and E[x^2], too.
    """
    return (
        not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.ndim == 4
        and x.shape[2] * x.shape[3] < 1024
        and x.shape[1] < 16 * groups
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=torch.channels_last)
    )


class PositionalEmbedding(nn.Module):
    """Cosines and sines at frequencies from 1 down to 1/10000 in a geometric series (Vaswani et al. 2017).

    Frequency i of n is ``10000^(-i/n)``, or ``10000^(-i/(n-1))`` with ``endpoint``, which reaches 1/10000 (Ho et al.
    2020). They are computed in float32, or in float64 for float64 noise labels, whatever the network's own type.

    Args:
        channels: number of features, even.
        endpoint: whether the last frequency is 1/10000 itself.
        sines_first: order of the two halves.
    """

    def __init__(self, channels: int, *, endpoint: bool, sines_first: bool) -> None:
        super().__init__()
        self.channels, self.endpoint, self.sines_first = channels, endpoint, sines_first

    def forward(self, noise_labels: Tensor) -> Tensor:
        """Features ``(B, channels)`` of ``(B,)`` noise labels."""
        half = self.channels // 2
        noise_labels = noise_labels.to(torch.promote_types(noise_labels.dtype, torch.float32))
        index = torch.arange(half, device=noise_labels.device, dtype=torch.float32)
        frequencies = (1 / 10000) ** (index / (half - 1 if self.endpoint else half))
        phases = torch.outer(noise_labels, frequencies.to(noise_labels.dtype))
        waves = (phases.sin(), phases.cos()) if self.sines_first else (phases.cos(), phases.sin())
        return torch.cat(waves, dim=1)


class FourierEmbedding(nn.Module):
    """Sines, then cosines, of ``2 pi f c_noise`` at fixed random frequencies f ~ N(0, scale^2) (Tancik et al. 2020).

    The frequencies are a buffer that is saved with the weights. They stay in float32 when the network is cast to a
    half-precision type: a phase of 300 is known to 0.3 in bfloat16, which is no phase at all.

    Args:
        channels: number of features, even.
        scale: standard deviation of the frequencies.
    """

    frequencies: Tensor

    def __init__(self, channels: int, scale: float = 16.0) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(channels // 2) * scale)

    def forward(self, noise_labels: Tensor) -> Tensor:
        """Features ``(B, channels)`` of ``(B,)`` noise labels."""
        phases = torch.outer(noise_labels.to(self.frequencies.dtype), self.frequencies * (2 * math.pi))
        return torch.cat([phases.sin(), phases.cos()], dim=1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Module.to, .half, .cuda and their like all pass through here.
        exact = self.frequencies
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.frequencies.dtype.itemsize < exact.dtype.itemsize:
            self.frequencies = exact.to(self.frequencies.device)
        return self


class SelfAttention(nn.Module):
    """Residual self-attention: ``(x + W_out softmax(q^T k / sqrt(c)) v) * skip_scale`` on the normalised ``x``.

    Every position is a token, so any number of spatial dimensions will do. The layer ``qkv`` yields all queries, then
    all keys, then all values, each head after head.

    PyTorch's fused kernels have first derivatives by backpropagation only. For forward-mode or second derivatives
    call the network within ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``.

    Args:
        channels: channels C, a multiple of ``heads``.
        heads: number of heads, each with ``c = channels / heads`` channels.
        eps: of the normalisation.
        skip_scale: factor on the sum.
        initialise_qkv: starting values of the layer to queries, keys and values.
        initialise_out: starting values of the layer after the attention.

    Raises:
        ValueError: the heads do not divide the channels.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        eps: float,
        skip_scale: float,
        initialise_qkv: Initialiser,
        initialise_out: Initialiser,
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{heads} attention heads do not divide {channels} channels: use other channels")
        self.heads, self.skip_scale = heads, skip_scale
        self.norm = GroupNorm(channels, eps)
        self.qkv = linear(channels, 3 * channels, initialise_qkv)
        self.out = linear(channels, channels, initialise_out)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the positions of ``(B, C, *spatial)``."""
        tokens: Tensor = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # (B, heads, positions, c) with c contiguous: PyTorch's fused kernels then apply. They keep the weights in
        # float32 whatever the type of q, k and v.
        tokens = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return (x + tokens.transpose(1, 2).view_as(x)) * self.skip_scale


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
    """Halve or double every side with a separable filter of unit gain (Zhang 2019, Karras et al. 2019).

    Beyond the borders are zeros, or, along periodic dimensions, the other end.

    Down: filter, then keep every second position. Up: insert a zero after every position, then filter with twice the
    gain per dimension. With the filter (1, 1) these are averages of neighbours and copies of the nearest value.

    Args:
        direction: "down" or "up".
        dims: number of spatial dimensions.
        taps: the filter along one dimension, of even length; it is normalised to sum 1.
        padding: values before and after each dimension of the input; default: as many as double or halve its length.
    """

    kernel: Tensor
    periodic: Periodic = ()

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
            padding = self.padding
            if self.periodic:
                x, padding = extended(x, padding, self.periodic), 0
            return CONVOLVE[self.dims](x, kernel, stride=2, padding=padding, groups=channels)
        cut = [self.padding] * self.dims
        if self.periodic:
            # What lies beyond a border reaches half a filter into the output; zeros there change nothing.
            beyond = self.kernel.shape[-1] // 2
            x = extended(x, beyond, self.periodic)
            cut = [self.padding + 2 * beyond] * self.dims
        return _CONVOLVE_TRANSPOSED[self.dims](x, kernel * 2**self.dims, stride=2, padding=cut, groups=channels)

    def then(
        self, x: Tensor, layer: Callable[[Tensor], Tensor], weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Resample ``x``, then convolve with a kernel of side 1 or 3 that keeps the sides; with less work.

        Args:
            x: ``(B, C, *spatial)``.
            layer: the convolution.
            weight: its kernel, as it is applied.
            bias: its bias.
        """
        side = weight.shape[-1]
        if self.direction == "down" or not self.box or (self.periodic and side > 1):
            return layer(self(x))
        if side == 1:
            return self.forward(layer(x))
        # Neighbouring taps of the kernel meet the same copied value. Their sums make up a transposed convolution of
        # stride 2 with 2^d taps an output position rather than 3^d, and the enlarged input is never stored.
        sums = _AVERAGE[self.dims](weight, 2, stride=1, padding=1) * 2**self.dims
        kernel = sums.transpose(0, 1).flip(list(range(2, self.dims + 2)))
        return _CONVOLVE_TRANSPOSED[self.dims](x, kernel, bias, stride=2, padding=1)
