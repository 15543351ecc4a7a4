"""8-bit images made continuous: what comes back, and the offset of bits/dim."""

from __future__ import annotations

import math

import pytest
import torch

from elucidiff.data.scaling import to_uint8
from elucidiff.sampling import bits_per_dim, dequantise


def test_rounding_undoes_it_for_every_level() -> None:
    images = torch.arange(256, dtype=torch.uint8).expand(40, 1, 256)
    x = dequantise(images, range(40))
    assert torch.equal(to_uint8(x), images)
    # Both ends of the interval are reached, to a hundredth of its width.
    offset = (x + 1) * 127.5 - images
    assert -0.5 <= float(offset.min()) < -0.49
    assert 0.49 < float(offset.max()) < 0.5


def test_noise_of_an_image_depends_on_its_seed_alone() -> None:
    images = torch.full((3, 2, 4, 4), 7, dtype=torch.uint8)
    x = dequantise(images, [5, 6, 5])
    assert torch.equal(x[0], x[2])
    assert not torch.equal(x[0], x[1])
    assert torch.equal(dequantise(images[:1], [6])[0], x[1])


def test_uniform_levels_need_eight_bits() -> None:
    """x uniform over all levels, [-1 - 1/255, 1 + 1/255], has the density 127.5 / 256 a value."""
    size = 12
    log_prob = torch.tensor([size * math.log(127.5 / 256)], dtype=torch.float64)
    assert float(bits_per_dim(log_prob, size, eight_bits=True)) == pytest.approx(8, abs=1e-12)
    assert float(bits_per_dim(log_prob, size, eight_bits=False)) == pytest.approx(math.log2(256 / 127.5), abs=1e-12)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"images are torch\.float32, but only uint8 ones"):
        dequantise(torch.zeros(1, 1, 2), [0])
    with pytest.raises(ValueError, match="there are 1 seeds for 2 images"):
        dequantise(torch.zeros(2, 1, 2, dtype=torch.uint8), [0])
