"""The linear solver: exact in as many iterations as dimensions, and never worse with more."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from elucidiff.sampling.inverse import solve


def matrices(skew: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three systems of five unknowns whose symmetric part is positive definite, and right-hand sides."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(3, 5, 5, generator=generator, dtype=torch.float64)
    turn = torch.randn(3, 5, 5, generator=generator, dtype=torch.float64)
    matrix = factor @ factor.mT + 0.1 * torch.eye(5) + skew * (turn - turn.mT)
    return matrix, torch.randn(3, 5, generator=generator, dtype=torch.float64)


def test_is_exact_after_as_many_iterations_as_unknowns() -> None:
    for skew in (0.0, 1.0):
        matrix, b = matrices(skew)
        z = solve(lambda v, matrix=matrix: torch.einsum("bij,bj->bi", matrix, v), b, 5, 0)
        torch.testing.assert_close(z, torch.linalg.solve(matrix, b), rtol=0, atol=1e-9)


def test_residuals_never_grow() -> None:
    """Not even for an indefinite matrix, where conjugate gradients would divide by nearly nothing."""
    matrix, b = matrices(3.0)
    matrix = matrix - 2 * torch.eye(5)

    def residual(iterations: int) -> Tensor:
        z = solve(lambda v: torch.einsum("bij,bj->bi", matrix, v), b, iterations, 0)
        return (b - torch.einsum("bij,bj->bi", matrix, z)).norm(dim=1)

    sizes = torch.stack([b.norm(dim=1), *(residual(n) for n in range(1, 9))])
    assert bool((sizes.diff(dim=0) <= 1e-9).all())
    assert bool((sizes[-1] < 1e-7).all())


def test_a_sample_stops_at_its_tolerance_whatever_the_others_need() -> None:
    matrix = torch.stack([torch.eye(4), torch.diag(torch.tensor([1.0, 10.0, 100.0, 1000.0]))]).double()
    b = torch.ones(2, 4, dtype=torch.float64)
    z = solve(lambda v: torch.einsum("bij,bj->bi", matrix, v), b, 20, 1e-12)
    torch.testing.assert_close(z, torch.linalg.solve(matrix, b), rtol=1e-10, atol=0)
    loose = solve(lambda v: torch.einsum("bij,bj->bi", matrix, v), b, 20, 0.9)
    assert torch.equal(loose[0], b[0])
    assert 0.1 < float((b[1] - matrix[1] @ loose[1]).norm() / 2) <= 0.9


@pytest.mark.parametrize("largest", [3.0, 1.5, 40.0])
def test_the_tolerance_is_the_residual_over_the_right_hand_side(largest: float) -> None:
    """Of diag(1, k) z = (1, 1) the first residual is (k - 1) / sqrt(2 (1 + k^2)) of |b|, the second none."""
    diagonal, b = torch.tensor([1.0, largest]).double(), torch.ones(1, 2, dtype=torch.float64)
    first = (largest - 1) / math.sqrt(2 * (1 + largest**2))
    stopped = solve(lambda v: diagonal * v, b, 5, 1.001 * first)
    torch.testing.assert_close(stopped, b * (1 + largest) / (1 + largest**2), rtol=1e-12, atol=0)
    solved = solve(lambda v: diagonal * v, b, 5, 0.999 * first)
    torch.testing.assert_close(solved, b / diagonal, rtol=1e-12, atol=0)


def test_nothing_to_solve() -> None:
    assert torch.equal(solve(lambda v: v, torch.zeros(2, 3), 4, 1e-6), torch.zeros(2, 3))
