"""Linear systems of which only products with the matrix are known, one system a sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def solve(apply: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Solve M z = b by generalised conjugate residuals (Eisenstat, Elman and Schultz 1983) for each sample by itself.

    Of all z in the Krylov space, each iteration takes the one with the smallest residual. So more iterations never do
    worse. Plain conjugate gradients rely on M being symmetric and positive definite, which Jacobians of trained
    networks are only nearly: on an 8x8 model of digits they diverged after three iterations, while these kept
    improving.

    Args:
        apply: z -> M z for a batch.
        b: (B, ...).
        iterations: at most so many products with M.
        tolerance: a sample stops when its residual is this multiple of |b|.

    Returns:
        z, shaped like ``b``.
    """
    z = torch.zeros_like(b)
    residual = b
    goal = tolerance**2 * _dot(b, b)
    earlier: list[tuple[Tensor, Tensor]] = []
    for _ in range(iterations):
        direction, product = residual, apply(residual)
        for before, made in earlier:
            along = _dot(product, made)
            direction, product = direction - along * before, product - along * made
        length = _dot(product, product).sqrt()
        goes_on = (_dot(residual, residual) > goal) & (length > 0)
        # Directions whose products are orthonormal.
        direction, product = (torch.where(goes_on, each / length, 0) for each in (direction, product))
        earlier.append((direction, product))
        step = _dot(residual, product)
        z = z + step * direction
        residual = residual - step * product
    return z


def _dot(u: Tensor, v: Tensor) -> Tensor:
    """The inner product of each sample, shaped to broadcast."""
    return (u * v).flatten(1).sum(1).reshape(-1, *[1] * (u.ndim - 1))
