"""Layers that keep the magnitude of activations: Karras et al. 2024 (arXiv 2312.02696), Sec. 2 and App. B.

The magnitude of a tensor is the root of its mean square. Each layer here turns independent inputs of magnitude 1 into
outputs of magnitude 1, so nothing grows or shrinks along the network and no group normalisation is needed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks.layers import CONVOLVE

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

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[int] = (), gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, *kernel))
        normalise_weights(self)

    def unit_weight(self) -> Tensor:
        """``gain * w_i / |w_i|``, computed in float32 at least, in the type of the parameter; 0 where w_i = 0."""
        return _of_length(self.weight, self.gain)

    def forward(self, x: Tensor) -> Tensor:
        """Zero padding keeps the sides.

        Args:
            x: ``(B, in_channels, *spatial)``, or ``(..., in_channels)`` for a linear layer.
        """
        weight = self.unit_weight()
        dims = weight.ndim - 2
        return CONVOLVE[dims](x, weight, padding=weight.shape[-1] // 2) if dims else F.linear(x, weight)


class FoldedLayer(UnitLayer):
    """A :class:`UnitLayer` whose weights are divided by their norms once and for all, and cannot be trained.

    Args:
        layer: whose place it takes.
    """

    def __init__(self, layer: UnitLayer) -> None:
        nn.Module.__init__(self)
        self.gain = layer.gain
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
