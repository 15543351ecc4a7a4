"""DEIS: Zhang and Chen 2022 (arXiv 2204.13902), exponential integrators that interpolate the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.sampling.multistep.method import Move, Multistep, Place
from elucidiff.sampling.multistep.weights import integral, polynomial_weights

VARIABLES = ("t", "log_sigma")


@dataclass(frozen=True)
class DEIS(Multistep):
    """tAB-DEIS: with eps = (y - D) / sigma interpolated by a polynomial in the schedule's time t,

        y' = y + sum_j eps_j int l_j(t(sigma)) dsigma,

    where l_j are the Lagrange polynomials through the last ``order`` times (Zhang and Chen 2022, Eq. 14 and 15, in
    y = x / s). The integrals are exact on steps of any sizes, the last one, to sigma = 0, included. On the edm
    schedule, t = sigma, this is the Adams-Bashforth method with variable steps (their rhoAB-DEIS, "iPNDM_v"
    elsewhere).

    The polynomial may also be one in log(sigma), whatever the schedule. That is an exponential integrator for noise
    prediction, DPM-Solver's kind, and what diffusers calls DEIS.

    Args:
        order: how many values are interpolated, 1 to 4. 1 is DDIM, 4 the paper's tAB3 with its cubic polynomials.
        variable: what they are interpolated in, "t" or "log_sigma".

    Raises:
        ValueError: ``order`` or ``variable`` is not one of these.
    """

    order: int = 4
    variable: str = "t"
    uses: ClassVar[Literal["denoised", "noise"]] = "noise"

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3, 4):
            raise ValueError(f"order of deis is {self.order}, but must be 1, 2, 3 or 4")
        if self.variable not in VARIABLES:
            raise ValueError(f"variable of deis is {self.variable!r}, but must be {' or '.join(VARIABLES)}")

    @property
    def memory(self) -> int:
        """All that is interpolated but the newest value."""
        return self.order - 1

    def finish(self, places: Sequence[Place], schedule: Schedule) -> Move:
        """See :meth:`.Multistep.finish`."""
        return self.predict(places, Place(0.0, 0.0), schedule)

    def predict(self, places: Sequence[Place], target: Place, schedule: Schedule) -> Move:
        """See :meth:`.Multistep.predict`."""
        start, places = places[0], places[: self.order]
        degrees = torch.arange(len(places))[:, None]

        def powers(sigma: Tensor) -> Tensor:
            way = (schedule.time(sigma) - start.t) / start.t if self.variable == "t" else (sigma / start.sigma).log()
            result: Tensor = way**degrees
            return result

        moments = integral(powers, start.sigma, target.sigma).tolist()
        if self.variable == "t":
            ways = [(place.t - start.t) / start.t for place in places]
        else:
            ways = [math.log(place.sigma / start.sigma) for place in places]
        return Move(1.0, polynomial_weights(ways, moments))
