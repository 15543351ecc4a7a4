"""Means and standard deviations of data that come in pieces, and what is said where they do not fit."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from elucidiff.data.moments import Moments


def moments(images: torch.Tensor, size: int = 7) -> Moments:
    found = Moments()
    for piece in images.split(size):
        found.add(piece)
    return found


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 6), (4,)])
@pytest.mark.parametrize("offset", [0.0, -4e5])
def test_pieces_give_the_moments_of_the_whole(shape: tuple[int, ...], offset: float) -> None:
    images = torch.randn(50, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = images * torch.arange(1, shape[0] + 1).reshape(-1, *[1] * (len(shape) - 1)) + offset
    found, array = moments(images), images.numpy()
    others = tuple(axis for axis in range(array.ndim) if axis != 1)
    np.testing.assert_allclose(found.means, array.mean(others), rtol=1e-12)
    np.testing.assert_allclose(found.channel_stds, array.std(others), rtol=1e-9)
    assert found.sigma_data == pytest.approx(np.sqrt(array.var(others).mean()), rel=1e-9)
    centred = array - array.mean(others, keepdims=True)
    assert found.norm == pytest.approx(np.sqrt((centred**2).reshape(50, -1).sum(1).mean()), rel=1e-9)
    assert (found.lowest, found.highest, found.images) == (array.min(), array.max(), 50)


def normal(*stds: float, mean: float = 0.0) -> Moments:
    images = torch.randn(200, len(stds), 8, 8, generator=torch.Generator().manual_seed(0))
    return moments(images * torch.tensor(stds).reshape(-1, 1, 1) + mean)


def test_data_that_fit_are_not_doubted() -> None:
    for std in (0.26, 0.5, 0.97):
        assert normal(std, std).misfits("x", 0.5, is_8_bit=False) == ()
    assert normal(0.5, mean=1.2).misfits("x", 0.5, is_8_bit=False) == ()
    # Drawings, white on black: their users can do nothing about the mean, and need not.
    assert normal(0.3, mean=-0.95).misfits("x", 0.5, is_8_bit=True) == ()


@pytest.mark.parametrize(
    ("found", "sigma_data", "says"),
    [
        (
            normal(50.0),
            0.5,
            r"x is 50\.., 100 times sigma_data \(0\.5\).* train with --normalise standard, or set sigma_data",
        ),
        (normal(0.5), 50.0, r"x is 0\.50., 1/99\.. of sigma_data \(50\).* to 0\.5 and add -4\.6 to p_mean"),
        (normal(0.2), 0.5, r"1/2\.[45]\d* of sigma_data"),
        (
            normal(0.01, 1.0),
            0.5,
            r"the channels of x have standard deviations from 0\.0\d* to .*: train with --normalise standard",
        ),
        (
            normal(0.5, mean=5.0),
            0.5,
            r"the mean of x is (9\.9\d|10) standard deviations from 0.*: train with --normalise standard",
        ),
        (
            moments(torch.rand(60, 1, 8, 8) * 255),
            0.5,
            r"values are 0.* to 25\d.*, as of 8-bit pictures: save them as uint8",
        ),
        (moments(torch.full((9, 2, 4), 3.0)), 0.5, "every channel of x has the same value everywhere"),
    ],
)
def test_what_does_not_fit_is_said_with_what_to_do(found: Moments, sigma_data: float, says: str) -> None:
    lines = found.misfits("x", sigma_data, is_8_bit=False)
    assert any(re.search(says, line) for line in lines), lines
    assert not any("\n" in line for line in lines)


def test_pictures_on_disk_are_never_in_a_wrong_unit() -> None:
    (line,) = normal(0.1).misfits("x", 0.5, is_8_bit=True)
    assert line.endswith("set sigma_data to 0.1 and add -1.6 to p_mean")
