"""DDIM with fractional eta: Song, Meng and Ermon 2021 (arXiv 2010.02502), between the ODE and DDPM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from elucidiff.design.schedules import Schedule
from elucidiff.parts import part, setting
from elucidiff.solvers.multistep import Move, Multistep, Node


@part("solver", "ddim")
@dataclass(frozen=True)
class DDIM(Multistep):
    """y' = D + k (y - D) + std eps, with r = sigma' / sigma: DDIM, and with eta = 1 DDPM's ancestral sampling.

        std = eta sigma' sqrt(1 - r^2),    (k sigma)^2 + std^2 = sigma'^2

    (Song, Meng and Ermon 2021, Eq. 12 and 16, in y = x / s with sigma^2 = (1 - abar) / abar). It is exact if D is the
    clean image. With eta = 0 it is Euler's method in sigma without scaling, and :class:`~elucidiff.solvers.DPMpp1`;
    with eta = 1 it is DPMpp1(eta=1). Between them the two use other noise: as steps become small, DPMpp1's eta is the
    square of this one.

    Args:
        eta: share of the standard deviation of DDPM's noise: 0 is the ODE, 1 ancestral sampling.

    Raises:
        ValueError: ``eta`` is not between 0 and 1.
    """

    eta: float = setting(0.0, search=(0.0, 1.0))

    order = 1

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta is {self.eta}, but must be between 0 (the ODE) and 1 (ancestral sampling)")

    @property
    def stochastic(self) -> bool:
        """True if noise is added."""
        return self.eta > 0

    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """See :meth:`.Multistep.predict`."""
        ratio = target.sigma / nodes[0].sigma
        # 1 - (std / sigma')^2 = (1 - eta^2) + (eta r)^2, which does not cancel.
        keep = ratio * math.hypot(math.sqrt((1 - self.eta) * (1 + self.eta)), self.eta * ratio)
        fresh = self.eta * math.sqrt((1 - ratio) * (1 + ratio))
        return Move(keep, [1 - keep], target.sigma * fresh)
