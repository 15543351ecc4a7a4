"""Masks and means: values, adjoints, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from elucidiff.sampling.inverse import AveragePool, Mask, Measurement, adjoint, check_measurement


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


KNOWN = torch.tensor([[True, False, True, True], [False, False, True, False]])


def test_average_pool_is_torchs_own() -> None:
    for sides, pool in (
        ((6,), torch.nn.AvgPool1d(3)),
        ((6, 9), torch.nn.AvgPool2d(3)),
        ((3, 6, 9), torch.nn.AvgPool3d(3)),
    ):
        x = normal(2, 3, *sides)
        torch.testing.assert_close(AveragePool(3)(x), pool(x), rtol=0, atol=1e-14)


def test_a_mask_keeps_what_is_known() -> None:
    x = normal(2, 3, 2, 4)
    assert torch.equal(Mask(KNOWN)(x), torch.where(KNOWN, x, 0))
    of_channels = KNOWN.expand(3, 2, 4).clone()
    of_channels[1] = ~KNOWN
    assert torch.equal(Mask(of_channels)(x)[:, 1], torch.where(KNOWN, 0, x[:, 1]))


@pytest.mark.parametrize("measure", [Mask(KNOWN), AveragePool(2), lambda x: x.flatten(1) @ normal(24, 5, seed=3)])
def test_adjoint(measure: Measurement) -> None:
    """<A x, v> = <x, A^T v>."""
    x = normal(2, 3, 2, 4)
    y = measure(x)
    v = normal(*y.shape, seed=1)
    back = adjoint(measure, x)(v)
    torch.testing.assert_close((y * v).flatten(1).sum(1), (x * back).flatten(1).sum(1), rtol=1e-12, atol=1e-12)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="leaves everything as it is"):
        Mask(torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="leaves nothing known"):
        Mask(torch.zeros(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="a mask must be boolean"):
        Mask(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="the factor is 1"):
        AveragePool(1)
    with pytest.raises(ValueError, match=r"the factor 3 does not divide the sides \(2, 4\)"):
        AveragePool(3)(normal(1, 1, 2, 4))
    with pytest.raises(ValueError, match="not a linear function"):
        check_measurement(lambda x: x.square(), normal(1, 3, 2), (3, 2))
    with pytest.raises(ValueError, match=r"y has shape \(1, 2\), but .* gives \(1, 3, 2\)"):
        check_measurement(lambda x: x, normal(1, 2), (3, 2))
    with pytest.raises(ValueError, match=r"samples of shape \(3, 2, 5\) cannot be measured"):
        check_measurement(Mask(KNOWN), normal(1, 3, 2, 4), (3, 2, 5))
    with pytest.raises(ValueError, match="has no gradient"):
        adjoint(lambda x: x.detach(), normal(1, 2))
