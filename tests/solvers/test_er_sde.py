"""ER-SDE against its formula, with integrals that SciPy evaluates."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad

from elucidiff.design.schedules import EDM
from elucidiff.solvers.er_sde import ERSDE, recommended_phi
from elucidiff.solvers.multistep import Node


def phi(x: float) -> float:
    """Cui et al. 2023, Table 5, "ER SDE 5", which their samplers use: x (exp(x^0.3) + 10)."""
    return x * (math.exp(x**0.3) + 10)


def test_phi() -> None:
    sigma = torch.tensor([0.002, 0.3, 1.0, 80.0], dtype=torch.float64)
    # exp(1) + 10 at sigma = 1; the others by hand with 30 digits.
    expected = torch.tensor([phi(value) for value in sigma.tolist()], dtype=torch.float64)
    torch.testing.assert_close(recommended_phi(sigma), expected, rtol=1e-14, atol=0)
    assert float(recommended_phi(sigma[2])) == pytest.approx(12.718281828459045, rel=1e-15)


@pytest.mark.parametrize(("start", "end"), [(80.0, 60.0), (3.0, 1.0), (0.02, 0.01)])
def test_a_step_is_that_of_the_formula(start: float, end: float) -> None:
    """Cui et al. 2023, Prop. 3: y' = r y + phi(sigma') int D d(1 / phi) + sqrt(sigma'^2 - r^2 sigma^2) eps."""
    places = [Node(sigma, sigma) for sigma in (start, 1.3 * start, 2 * start)]
    move = ERSDE(3).predict(places, Node(end, end), EDM())
    ratio = phi(end) / phi(start)
    assert move.keep == pytest.approx(ratio, rel=1e-12)
    assert move.std == pytest.approx(math.sqrt(end**2 - ratio**2 * start**2), rel=1e-9)

    def integrand(sigma: float, power: int) -> float:
        """sigma^power d(1 / phi) / dsigma, where phi' / phi = (1 + 0.3 sigma^0.3 e / (e + 10)) / sigma."""
        e = math.exp(sigma**0.3)
        return -(sigma**power) * (1 + 0.3 * sigma**0.3 * e / (e + 10)) / sigma / phi(sigma)

    for power in range(3):
        exact = phi(end) * quad(integrand, start, end, args=(power,), epsabs=0, epsrel=1e-12)[0]
        ours = sum(weight * place.sigma**power for weight, place in zip(move.weights, places, strict=True))
        assert ours == pytest.approx(exact, rel=1e-9)


def test_out_of_range_of_phi() -> None:
    with pytest.raises(ValueError, match="phi is not finite at a noise level of 1e\\+12: choose a smaller sigma_max"):
        ERSDE().predict([Node(1e12, 1e12)], Node(1.0, 1.0), EDM())
