"""Layers that keep the magnitude of activations: Karras et al. 2024 (arXiv 2312.02696), Sec. 2 and App. B.

The magnitude of a tensor is the root of its mean square. Each layer here turns independent inputs of magnitude 1 into
outputs of magnitude 1, so nothing grows or shrinks along the network and no group normalisation is needed.

The layers of EDM2 as published (App. B, config G), in the second half, rest on unit(v) = v / (1e-4 + |v| / sqrt(n)),
which gives a vector v of n numbers a root mean square of 1. The small constant is the published one: networks were
trained with it, and their outputs depend on it. Ours, in the first half, do without.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.layers import convolve
from elucidiff.networks.padding import Periodic

SILU_MAGNITUDE = 0.596
"""Magnitude of silu(x) for unit Gaussian x, Eq. 81; MP-SiLU divides by it. Layers can take that into their gain."""


class UnitLayer(nn.Module):
    """A linear layer or convolution without bias whose weight vectors have norm 1, Eq. 66.

    With the parameter w of shape ``(out, in, *kernel)`` and n = in * positions of the kernel, output i is computed
    with ``w_i / |w_i|``. The gradient of w_i is therefore orthogonal to w_i, and to move along it makes w_i longer:
    :func:`normalise_weights` puts it back to magnitude 1, |w_i| = sqrt(n), after every optimiser step. So a learning
    rate is the relative size of a step, the same in all layers at all times.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: sides of the kernel, one for each spatial dimension; empty for a linear layer on the last dimension.
        gain: a constant factor on the output, which costs nothing here.
    """

    periodic: Periodic = ()

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[int] = (), gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, *kernel))
        normalise_weights(self)

    def unit_weight(self) -> Tensor:
        """``gain * w_i / |w_i|``, computed in float32 at least, in the type of the parameter; 0 where w_i = 0."""
        return _of_length(self.weight, self.gain)

    def forward(self, x: Tensor) -> Tensor:
        """Padding, by zeros unless :func:`.set_periodic` says otherwise, keeps the sides.

        Args:
            x: ``(B, in_channels, *spatial)``, or ``(..., in_channels)`` for a linear layer.
        """
        weight = self.unit_weight()
        dims = weight.ndim - 2
        if not dims:
            return F.linear(x, weight)
        return convolve(x, weight, None, weight.shape[-1] // 2, self.periodic)


class FoldedLayer(UnitLayer):
    """A :class:`UnitLayer` whose weights are divided by their norms once and for all, and cannot be trained.

    Args:
        layer: whose place it takes.
    """

    def __init__(self, layer: UnitLayer) -> None:
        nn.Module.__init__(self)
        self.gain, self.periodic = layer.gain, layer.periodic
        self.weight = nn.Parameter(layer.unit_weight().detach(), requires_grad=False)

    def unit_weight(self) -> Tensor:
        """``gain * w_i / |w_i|`` of the layer that this was made of."""
        return self.weight


@torch.no_grad()
def normalise_weights(module: nn.Module) -> None:
    """Give every weight vector in ``module`` magnitude 1: forced weight normalisation, Sec. 2.3. Call it after steps.

    Only :class:`UnitLayer` is touched; other modules have nothing of the kind.

    >>> import elucidiff as ed
    >>> network = ed.networks.MPUNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    >>> with torch.no_grad():
    ...     network.stem.weight *= 3
    ...
    >>> ed.networks.normalise_weights(network)
    >>> round(float(network.stem.weight.detach().square().mean().sqrt()), 4)
    1.0
    """
    for layer in module.modules():
        if isinstance(layer, UnitLayer):
            layer.weight.copy_(_of_length(layer.weight, math.sqrt(math.prod(layer.weight.shape[1:]))))


def sum_weights(t: float) -> tuple[float, float]:
    """The factors of a and b in ``MP-Sum(a, b, t) = ((1 - t) a + t b) / sqrt((1 - t)^2 + t^2)``, Eq. 88."""
    norm = math.hypot(1 - t, t)
    return (1 - t) / norm, t / norm


def mp_sum(a: Tensor, b: Tensor, t: float) -> Tensor:
    """``((1 - t) a + t b) / sqrt((1 - t)^2 + t^2)``, Eq. 88: a share t of b in a."""
    first, second = sum_weights(t)
    return a * first + b * second


def mp_cat(a: Tensor, b: Tensor) -> Tensor:
    """The channels of ``a`` and of ``b``, scaled to contribute equally whatever their numbers, Eq. 103 with t = 0.5.

    ``sqrt((N_a + N_b) / 2) * [a / sqrt(N_a), b / sqrt(N_b)]`` for N_a and N_b channels: nothing is scaled if these
    are equal.
    """
    channels = a.shape[1], b.shape[1]
    scales = [math.sqrt(sum(channels) / 2 / count) for count in channels]
    return torch.cat([x if scale == 1 else x * scale for x, scale in zip((a, b), scales, strict=True)], dim=1)


def unit_magnitude(x: Tensor, dim: int, eps: float = 1e-4) -> Tensor:
    """``x / sqrt(mean over dim of x^2 + eps)``: pixel normalisation for the dimension of channels.

    The mean is computed in float32 at least.
    """
    wide = _wide(x)
    square = (wide * wide).mean(dim, keepdim=True)
    return x * (square + eps).rsqrt().to(x.dtype)


def _of_length(weight: Tensor, length: float) -> Tensor:
    """Every vector of ``weight`` brought to a Euclidean length; 0 stays 0."""
    vectors = _wide(weight.flatten(1))
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp(min=1e-6)
    scaled: Tensor = vectors * (length / lengths)
    return scaled.to(weight.dtype).view_as(weight)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def folded(network: nn.Module) -> nn.Module:
    """A copy of ``network`` in evaluation mode that need not normalise its weights at every call.

    It is the same function of the same inputs, to the bit, and can be neither trained nor told from its outputs. Only
    magnitude-preserving layers change; a network without them is merely copied.

    Args:
        network: any module; it stays as it is.
    """
    if isinstance(network, UnitLayer):
        return FoldedLayer(network)
    made = copy.deepcopy(network).eval().requires_grad_(False)
    for parent in list(made.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, UnitLayer):
                setattr(parent, name, FoldedLayer(child))
    return made


_EPS = 1e-4


def unit(x: Tensor, dim: int | Sequence[int]) -> Tensor:
    """``x / (1e-4 + |x| / sqrt(n))`` over the dimensions ``dim`` of n numbers; the norm in float32 at least."""
    dims = [dim] if isinstance(dim, int) else list(dim)
    count = math.prod(x.shape[axis] for axis in dims)
    wide = torch.promote_types(x.dtype, torch.float32)
    length: Tensor = torch.linalg.vector_norm(x, dim=dims, keepdim=True, dtype=wide) / math.sqrt(count)
    return x / (length + _EPS).to(x.dtype)


def mp_silu(x: Tensor) -> Tensor:
    """``silu(x) / 0.596``, Eq. 81."""
    return F.silu(x) / SILU_MAGNITUDE


def balanced_cat(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The channels of ``a`` and of ``b``, of which ``b`` contributes the share t whatever their numbers, Eq. 103."""
    channels = a.shape[1], b.shape[1]
    whole = math.sqrt(sum(channels) / ((1 - t) ** 2 + t**2))
    return torch.cat(
        [a * (whole * (1 - t) / math.sqrt(channels[0])), b * (whole * t / math.sqrt(channels[1]))], dim=1
    )


class MPLayer(nn.Module):
    """A linear layer or convolution without bias, with the weights ``gain unit(w_i) / sqrt(fan_in)``, Eq. 47.

    In training mode every call first replaces the stored w_i by unit(w_i): forced weight normalisation, Eq. 66,
    outside of the gradient. The gradient passes through the unit() that follows.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: sides of the kernel, one for each spatial dimension; empty for a linear layer on the last dimension.
    """

    periodic: Periodic = ()

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[int] = ()) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, *kernel))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Padding, by zeros unless :func:`.set_periodic` says otherwise, keeps the sides.

        Args:
            x: ``(B, in_channels, *spatial)``, or ``(..., in_channels)`` for a linear layer.
            gain: a factor on the output, constant or learned.
        """
        axes = tuple(range(1, self.weight.ndim))
        if self.training:
            with torch.no_grad():
                self.weight.copy_(unit(self.weight, axes))
        fan_in = math.prod(self.weight.shape[1:])
        wide = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        weight = (unit(wide, axes) * (gain / math.sqrt(fan_in))).to(x.dtype)
        dims = weight.ndim - 2
        if not dims:
            return F.linear(x, weight)
        return convolve(x, weight, None, weight.shape[-1] // 2, self.periodic)


class MPFourier(nn.Module):
    """Features ``sqrt(2) cos(f c + phi)`` of a noise label c, Eq. 75: f ~ 2 pi N(0, 1), phi ~ U(0, 2 pi).

    Both are buffers that are saved with the weights and stay in float32 when the network is cast to half precision.

    Args:
        channels: number of features.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.randn(channels))
        self.register_buffer("phases", 2 * math.pi * torch.rand(channels))

    def forward(self, noise_labels: Tensor) -> Tensor:
        """Features ``(B, channels)`` of ``(B,)`` noise labels, in float32 at least."""
        c = noise_labels.to(self.frequencies.dtype)
        return (torch.outer(c, self.frequencies) + self.phases).cos() * math.sqrt(2)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Module.to, .half, .cuda and their like all pass through here.
        exact = {"frequencies": self.frequencies, "phases": self.phases}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in exact.items():
            moved = getattr(self, name)
            if moved.dtype.itemsize < value.dtype.itemsize:
                setattr(self, name, value.to(moved.device))
        return self


class UnitAttention(nn.Module):
    """Residual self-attention whose queries, keys and values are unit() in every head: Sec. 2.2, config G.

    Args:
        channels: channels of the input.
        heads: number of heads, a divisor of the channels.
        balance: share t of the attention in its sum with the input.
    """

    def __init__(self, channels: int, heads: int, balance: float) -> None:
        super().__init__()
        self.heads, self.balance = heads, balance
        self.qkv = MPLayer(channels, 3 * channels)
        self.out = MPLayer(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the positions of ``(B, C, *spatial)``."""
        tokens = self.qkv(x.flatten(2).transpose(1, 2)).unflatten(2, (3, self.heads, -1))
        q, k, v = unit(tokens, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return mp_sum(x, self.out(attended).transpose(1, 2).reshape(x.shape), self.balance)
