"""Layers in one, two and three spatial dimensions, and their starting values."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Layer = nn.Linear | Convolution
Initialiser = Callable[[Layer], None]
"""Sets the starting values of one layer in place."""

CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
"""The convolution over so many spatial dimensions, as a function of input and weight."""

_CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}


def convolution(
    dims: int, in_channels: int, out_channels: int, kernel: int, initialise: Initialiser, *, margin: int = 0
) -> Convolution:
    """A convolution with bias over ``dims`` (1 to 3) spatial dimensions.

    Zero padding makes an odd kernel keep every side's length, or lengthen it by ``margin`` at either end.
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
