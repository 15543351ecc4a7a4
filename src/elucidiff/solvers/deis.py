"""DEIS: Zhang and Chen 2022 (arXiv 2204.13902), exponential integrators that interpolate the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.parts import part
from elucidiff.solvers.multistep import Move, Multistep, Node, check_order, integral, polynomial_weights

_AMPLIFIED = 30.0  # times the step's length; on equal steps the weights of order 4 add up to 7
_FAR, _AMPLIFIED_FAR = 100.0, 10.0  # above this noise level, where many steps may follow that amplify alike


@part("solver", "deis")
@dataclass(frozen=True)
class DEIS(Multistep):
    """tAB-DEIS: with eps = (y - D) / sigma interpolated by a polynomial in the schedule's time t,

        y' = y + sum_j eps_j int l_j(t(sigma)) dsigma,

    where l_j are the Lagrange polynomials through the last ``order`` times (Zhang and Chen 2022, Eq. 14 and 15, in
    y = x / s). The integrals are exact on steps of any sizes, the last one, to noise level 0, included. Where a step
    is much longer in t than the steps before, a cubic polynomial through their ends would amplify the rounding of a
    network's output: 3,000 times at the end of 500 karras steps; and on the flow schedule, whose t crowd towards 1,
    at each step from a large sigma_max, until nothing else is left. Then it is one of lower order.

    So the schedule matters, whatever the scaling. On the edm schedule, t = sigma, this is the Adams-Bashforth method
    with variable steps (their rhoAB-DEIS, "iPNDM_v" elsewhere). On the exponential schedule it interpolates in nearly
    log(sigma), as diffusers' DEIS does, which is far better with few steps.

    Args:
        order: how many values are interpolated, 1 to 4. 1 is DDIM, 4 the paper's tAB3 with its cubic polynomials.

    Raises:
        ValueError: ``order`` is not one of these.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None] / 4, torch.ones(1))  # N(0, 0.5^2)
    >>> latents = torch.ones(1, 1)
    >>> x = ed.sample(denoiser, latents, "karras:n=40", solver=ed.solvers.DEIS(order=3), batch_size=None)
    >>> abs(float(x) - 0.5 * 80 / (0.5**2 + 80**2) ** 0.5) < 0.006  # of the exact end; Euler is 0.035 off
    True
    """

    order: int = 4
    uses: ClassVar[Literal["denoised", "noise"]] = "noise"

    def __post_init__(self) -> None:
        check_order("deis", self.order, 4)

    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """See :meth:`.Multistep.predict`."""
        start = nodes[0]
        degrees = torch.arange(min(self.order, len(nodes)))[:, None]

        def powers(sigma: Tensor) -> Tensor:
            way = (schedule.time(sigma) - start.t) / (target.t - start.t)
            result: Tensor = way**degrees
            return result

        moments = integral(powers, start.sigma, target.sigma).tolist()
        ways = [(node.t - start.t) / (target.t - start.t) for node in nodes[: self.order]]
        weights = polynomial_weights(ways, moments)
        length = start.sigma - target.sigma
        most = _AMPLIFIED_FAR if start.sigma > _FAR else _AMPLIFIED if target.sigma == 0 else math.inf
        while sum(map(abs, weights)) > most * length:
            ways.pop()
            weights = polynomial_weights(ways, moments[: len(ways)])
        return Move(1.0, weights)
