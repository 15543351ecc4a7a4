"""Filters for halving and doubling the resolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elucidiff.networks.layers import Resample, convolution, fan_in_uniform
from tests.networks.small import random

SIDES = {1: (10,), 2: (6, 8), 3: (4, 6, 2)}


def by_definition(x, direction, taps):
    """Zero insertion and filtering, or filtering and decimation, one dimension after the other, in NumPy."""
    taps, x = np.array(taps, dtype=float) / sum(taps), x.numpy()
    pad = len(taps) // 2 - 1
    for axis in range(2, x.ndim):
        if direction == "down":
            # All outputs of the convolution; the one of the first filter position that starts `pad` before the input.
            x = np.apply_along_axis(lambda line: np.convolve(np.pad(line, pad), taps, "valid")[::2], axis, x)
        else:
            spread = np.zeros([side * (2 if index == axis else 1) for index, side in enumerate(x.shape)])
            spread[(slice(None),) * axis + (slice(None, None, 2),)] = x
            x = np.apply_along_axis(
                lambda line: np.convolve(line, 2 * taps)[pad : pad + len(line)],
                axis,
                spread,
            )
    return torch.from_numpy(x)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1), (1, 5, 10, 10, 5, 1)])
def test_equals_the_definition(dims, direction, taps):
    x = random(2, 3, *SIDES[dims])
    y = Resample(direction, dims, taps).double()(x)
    torch.testing.assert_close(y, by_definition(x, direction, taps), rtol=0, atol=1e-6)
    assert y.shape[2:] == tuple(side * 2 if direction == "up" else side // 2 for side in SIDES[dims])


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1)])
def test_up_is_the_adjoint_of_down(dims, taps):
    down, up = Resample("down", dims, taps).double(), Resample("up", dims, taps).double()
    fine = random(1, 2, *SIDES[dims])
    coarse = random(1, 2, *(side // 2 for side in SIDES[dims]))
    torch.testing.assert_close((up(coarse) * fine).sum(), (coarse * down(fine)).sum() * 2**dims, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_convolution_after_it(dims, direction, taps, kernel):
    resample, conv = (
        Resample(direction, dims, taps).double(),
        convolution(dims, 3, 5, kernel, fan_in_uniform).double(),
    )
    x = random(2, 3, *SIDES[dims]).requires_grad_()
    short, plain = resample.then(x, conv, conv.weight, conv.bias), conv(resample(x))
    torch.testing.assert_close(short, plain, rtol=0, atol=1e-13)
    weights = random(*plain.shape, seed=2)
    arguments = (x, conv.weight, conv.bias)
    for one, other in zip(
        torch.autograd.grad((short * weights).sum(), arguments),
        torch.autograd.grad((plain * weights).sum(), arguments),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("taps", [(1, 2, 1), (1, -1), ()])
def test_filters_that_cannot_be(taps):
    with pytest.raises(ValueError, match="needs an even number of taps and a sum other than 0"):
        Resample("up", 2, taps)
