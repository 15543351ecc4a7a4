"""Solvers: the one-step methods of Karras et al. 2022, Algorithms 1 and 3, and the names of all others.

A solver is a small frozen dataclass with the attributes and the method of :class:`Solver`. What a multistep method
remembers travels from step to step as ``state``, so a solver object holds settings only and any number of runs may
share it. Noise is the loop's: a step is a function of its arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.design.values import check_number
from elucidiff.sampling.multistep.deis import DEIS
from elucidiff.sampling.multistep.dpmpp import DPMpp1, DPMpp2M, DPMpp3M
from elucidiff.sampling.multistep.er_sde import ERSDE
from elucidiff.sampling.multistep.ipndm import IPNDM
from elucidiff.sampling.multistep.sa_solver import SASolver
from elucidiff.sampling.multistep.unipc import UniPC
from elucidiff.sampling.ode import Advance, ProbabilityFlow
from elucidiff.sampling.rk45 import RK45

__all__ = [
    "DEIS",
    "ERSDE",
    "IPNDM",
    "RK2",
    "RK45",
    "DPMpp1",
    "DPMpp2M",
    "DPMpp3M",
    "Euler",
    "Heun",
    "SASolver",
    "Solver",
    "UniPC",
]


class Solver(Protocol):
    """What the sampling loop asks of a solver.

    Attributes:
        order: the global error falls with this power of the step size, for a multistep method once it knows enough
            values.
        adaptive: whether it chooses its own steps. If so, the loop hands it the whole interval at once.
        stochastic: whether it asks for noise, as :attr:`.Advance.spread`.
        multistep: whether it uses the evaluations of earlier steps.
        corrects: whether it corrects, at the start of a step, the end of the one before.
    """

    @property
    def order(self) -> int: ...

    @property
    def adaptive(self) -> bool: ...

    @property
    def stochastic(self) -> bool: ...

    @property
    def multistep(self) -> bool: ...

    @property
    def corrects(self) -> bool: ...

    def step(self, ode: ProbabilityFlow, x: Tensor, t: float, t_next: float, state: Any) -> Advance:
        """Take ``x`` from time ``t`` to ``t_next``.

        Args:
            ode: evaluates D and dx/dt.
            x: scaled samples (B, C, *spatial) at ``t``, noise just added included.
            t: start of the step. With churn it is not where the step before ended.
            t_next: end of the step; 0 for the last one, where dx/dt is 0/0 and must not be evaluated.
            state: what the step before returned as ``state``; None on the first step and after a restart.
        """
        ...


@dataclass(frozen=True)
class Euler:
    """x' = x + (t' - t) dx/dt: one evaluation a step. With sigma = t and s = 1 it is DDIM."""

    order: ClassVar[int] = 1
    adaptive: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    multistep: ClassVar[bool] = False
    corrects: ClassVar[bool] = False

    def step(self, ode: ProbabilityFlow, x: Tensor, t: float, t_next: float, state: None = None) -> Advance:
        """See :meth:`Solver.step`."""
        denoised = ode.denoise(x, t)
        return Advance(x + (t_next - t) * ode.slope(x, t, denoised), denoised)


@dataclass(frozen=True)
class RK2:
    """The second-order Runge-Kutta methods with two evaluations a step: Karras et al. 2022, Algorithm 3.

        d = dx/dt at (x, t);  d' = dx/dt at (x + alpha h d, t + alpha h);
        x' = x + h [(1 - 1/(2 alpha)) d + 1/(2 alpha) d']

    The last step, to t = 0, is Euler's, since dx/dt is 0/0 there. With alpha > 1 the second evaluation lies beyond
    the end of the step, and at the last steps, or with few of them, beyond t = 0. If sigma(t) goes on there as an
    odd function, as sigma = t does, so does the ODE, and alpha stays as it is: the slope is taken at a noise level
    below 0, and the denoiser, which depends on sigma^2, is asked for its size. If not, as for sigma = sqrt(t), the
    step uses alpha = 1.

    Args:
        alpha: position of the second evaluation: 1 is Heun's method, 1/2 the midpoint method, 2/3 Ralston's.

    Raises:
        ValueError: ``alpha`` is not a positive, finite number.
    """

    alpha: float
    order: ClassVar[int] = 2
    adaptive: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    multistep: ClassVar[bool] = False
    corrects: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_number(alpha=self.alpha)
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha is {self.alpha}, but must be a finite number > 0 (1 is Heun's method)")

    def step(self, ode: ProbabilityFlow, x: Tensor, t: float, t_next: float, state: None = None) -> Advance:
        """See :meth:`Solver.step`."""
        h = t_next - t
        denoised = ode.denoise(x, t)
        d = ode.slope(x, t, denoised)
        if t_next == 0:
            return Advance(x + h * d, denoised)
        alpha, t_prime = self._second_evaluation(ode, t, t_next)
        x_prime = x + alpha * h * d
        d_prime = ode.slope(x_prime, t_prime, ode.denoise(x_prime, t_prime))
        return Advance(x + h * ((1 - 1 / (2 * alpha)) * d + 1 / (2 * alpha) * d_prime), denoised)

    def _second_evaluation(self, ode: ProbabilityFlow, t: float, t_next: float) -> tuple[float, float]:
        """alpha for this step and the time of its second evaluation."""
        t_prime = t + self.alpha * (t_next - t)
        if self.alpha == 1 or (self.alpha > 1 and not _goes_on(ode.schedule, t_prime)):
            return 1.0, t_next
        return self.alpha, t_prime


@dataclass(frozen=True)
class Heun(RK2):
    """Heun's method, the paper's choice: :class:`RK2` with alpha = 1; Karras et al. 2022, Algorithm 1."""

    alpha: float = field(default=1.0, init=False)


def _goes_on(schedule: Schedule, t: float) -> bool:
    """Whether sigma has the sign of ``t``: near t = 0 a schedule may end, and beyond it only odd ones go on."""
    try:
        return float(schedule.sigma(t)) * t > 0
    except ValueError:
        return False
