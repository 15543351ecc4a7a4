"""ER-SDE: Cui et al. 2023 (arXiv 2309.06169), solvers of extended reverse-time SDEs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.parts import part
from elucidiff.solvers.multistep import Move, Multistep, Node, check_order, integral, polynomial_weights

_ROUNDING = 1e-12  # of a share of the variance


def recommended_phi(sigma: Tensor) -> Tensor:
    """phi(sigma) = sigma (exp(sigma^0.3) + 10), the "ER SDE 5" that the authors sample with."""
    return sigma * ((sigma**0.3).exp() + 10)


@part("solver", "er_sde")
@dataclass(frozen=True)
class ERSDE(Multistep):
    """ER-SDE-Solver: the noise it adds is set by a function phi, with r = phi(sigma') / phi(sigma):

        y' = r y + phi(sigma') int D d(1 / phi) + sqrt(sigma'^2 - r^2 sigma^2) eps

    (Cui et al. 2023, Prop. 3, with VE's y = x / s), where D is a polynomial in sigma through the last ``order``
    values. phi = sigma is the ODE, phi = sigma^2 the SDE of Song et al. 2021; larger phi add more noise.

    The polynomial is the one through the values, and its integral exact to rounding. The authors' code takes the
    slope of the parabola at sigma halfway to the value before, which costs one order, and sums over 100 points.

    Args:
        order: how many values are interpolated, 1 to 3.
        phi: takes noise levels, float64 on the CPU, and returns positive ones; must grow at least as fast as sigma.

    Raises:
        ValueError: ``order`` is not one of these.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None] / 4, torch.ones(1))  # N(0, 0.5^2)
    >>> latents = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    >>> x = ed.sample(denoiser, latents, "karras:n=30", solver=ed.solvers.ERSDE(order=3), batch_size=None)
    >>> abs(float(x.std()) - 0.5) < 0.02
    True
    """

    order: int = 3
    phi: Callable[[Tensor], Tensor] = recommended_phi
    stochastic = True

    def __post_init__(self) -> None:
        check_order("er_sde", self.order, 3)

    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """See :meth:`.Multistep.predict`.

        Raises:
            ValueError: phi grows more slowly than sigma.
        """
        start, nodes = nodes[0].sigma, nodes[: self.order]
        way = target.sigma - start
        ends = self.phi(torch.tensor([start, target.sigma], dtype=torch.float64))
        phi_start, phi_end = float(ends[0]), float(ends[1])
        if not math.isfinite(phi_start):
            raise ValueError(f"phi is not finite at a noise level of {start:g}: choose a smaller sigma_max")
        ratio = phi_end / phi_start
        fresh = 1 - (ratio * start / target.sigma) ** 2
        if not fresh >= -_ROUNDING:
            raise ValueError(
                f"phi must grow at least as fast as sigma, but does not from {target.sigma:g} to {start:g}"
            )

        # By parts, with tau = (sigma - start) / way: the integral of tau^k is 1 - int k tau^(k-1) phi' / phi dtau.
        degrees = torch.arange(1, len(nodes))[:, None]

        def integrand(sigma: Tensor) -> Tensor:
            tau: Tensor = (sigma - start) / way
            slope: Tensor = degrees * tau ** (degrees - 1)
            return slope * (phi_end / self.phi(sigma)) / way

        moments = [1 - ratio, *(1 - integral(integrand, start, target.sigma)).tolist()]
        weights = polynomial_weights([(node.sigma - start) / way for node in nodes], moments)
        return Move(ratio, weights, target.sigma * math.sqrt(fresh) if fresh > _ROUNDING else 0.0)
