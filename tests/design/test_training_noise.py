"""Training noise: densities against draws, ends of the ranges, and generators."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from elucidiff.design import objectives
from elucidiff.design.noise_tables import iddpm_levels
from elucidiff.design.objectives import IDDPM, VE, VP, Objective
from elucidiff.design.training_noise import LogNormal

ALL = [objectives.EDM, VP, VE, IDDPM]


@pytest.mark.parametrize("make", ALL)
def test_density_integrates_to_one(make: type[Objective]) -> None:
    log_sigma = torch.linspace(-14, 12, 2_000_001, dtype=torch.float64)
    density = make().noise.log_density(log_sigma.exp()).exp()
    assert float(torch.trapezoid(density, log_sigma)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("make", ALL)
def test_density_is_that_of_the_draws(make: type[Objective]) -> None:
    """The share of 200,000 draws in each of 12 cells of equal width in ln(sigma), within 5 standard errors."""
    noise, n = make().noise, 200_000
    draws = noise.from_base(noise.base((n,), torch.Generator().manual_seed(1), dtype=torch.float64)).log()
    edges = torch.linspace(-4, 3, 13, dtype=torch.float64)
    for low, high in pairwise(edges):
        grid = torch.linspace(float(low), float(high), 20_001, dtype=torch.float64)
        expected = float(torch.trapezoid(noise.log_density(grid.exp()).exp(), grid))
        seen = float(((draws >= low) & (draws < high)).double().mean())
        slack = 1 / 1000 if make is IDDPM else 0.0  # an atom at the edge of a cell
        assert seen == pytest.approx(expected, abs=5 * math.sqrt(expected / n) + slack)


def test_ends_of_the_uniform_bases() -> None:
    last = math.nextafter(1.0, 0.0)
    assert float(VE().noise.from_base(0.0)) == pytest.approx(0.02)
    assert float(VE().noise.from_base(last)) == pytest.approx(100.0)
    assert float(VP().noise.from_base(0.0)) == pytest.approx(152.167, rel=1e-5)
    assert float(VP().noise.from_base(last)) == pytest.approx(1.0005e-3, rel=1e-4)
    table = iddpm_levels(dtype=torch.float32).double()
    assert IDDPM().noise.from_base(0.0) == table[0]
    assert IDDPM().noise.from_base(last) == table[999]


def test_never_looks_beyond_its_range() -> None:
    for objective, low, high in ((VE(), 0.02, 100.0), (VP(), 1.0005e-3, 152.167)):
        outside = torch.tensor([0.5 * low, 2 * high], dtype=torch.float64)
        assert torch.equal(objective.noise.log_density(outside), torch.full_like(outside, -math.inf))


def test_log_normal_peak() -> None:
    noise = LogNormal(-1.2, 1.2)
    assert float(noise.log_density(math.exp(-1.2))) == pytest.approx(-math.log(1.2 * math.sqrt(2 * math.pi)))
    assert float(noise.from_base(0.0)) == pytest.approx(math.exp(-1.2))


@pytest.mark.parametrize("make", ALL)
def test_base_comes_from_the_generator_alone(make: type[Objective]) -> None:
    noise = make().noise
    first = noise.base((5, 1), torch.Generator().manual_seed(3))
    torch.rand(7)
    assert torch.equal(noise.base((5, 1), torch.Generator().manual_seed(3)), first)
    assert first.dtype == torch.float32
    assert noise.from_base(first).dtype == torch.float32
    assert noise.from_base(first.double()).dtype == torch.float64
