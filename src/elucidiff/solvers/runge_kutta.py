"""The one-step methods of Karras et al. 2022, Algorithms 1 and 3: Euler, Heun and the second-order family."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.parts import part, setting
from elucidiff.solvers.base import ODE, Solver, StepResult


@part("solver", "euler")
@dataclass(frozen=True)
class Euler(Solver):
    """x' = x + (t' - t) dx/dt: one evaluation a step. With sigma = t and s = 1 it is DDIM.

    >>> import elucidiff as ed
    >>> ed.Sampler(solver=ed.solvers.Euler()).to_text()
    'solver=euler'
    """

    begins_at_infinity = True

    def step(self, ode: ODE, x: Tensor, t: float, t_next: float, state: None = None) -> StepResult:
        """See :meth:`Solver.step`."""
        denoised = ode.denoise(x, t)
        return StepResult(x + (t_next - t) * ode.velocity(x, t, denoised), denoised)


@part("solver", "rk2")
@dataclass(frozen=True)
class RK2(Solver):
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

    >>> import elucidiff as ed
    >>> ed.parts.to_text(ed.solvers.RK2(alpha=0.5))
    'rk2:alpha=0.5'
    """

    alpha: float = setting(1.0, search=(0.5, 1.3))

    begins_at_infinity = True

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha is {self.alpha}, but must be a finite number > 0 (1 is Heun's method)")

    @property
    def order(self) -> int:
        """2, whatever alpha."""
        return 2

    def step(self, ode: ODE, x: Tensor, t: float, t_next: float, state: None = None) -> StepResult:
        """See :meth:`Solver.step`."""
        h = t_next - t
        denoised = ode.denoise(x, t)
        d = ode.velocity(x, t, denoised)
        if t_next == 0:
            return StepResult(x + h * d, denoised)
        alpha, t_prime = self._second_evaluation(ode, t, t_next)
        x_prime = x + alpha * h * d
        d_prime = ode.velocity(x_prime, t_prime, ode.denoise(x_prime, t_prime))
        return StepResult(x + h * ((1 - 1 / (2 * alpha)) * d + 1 / (2 * alpha) * d_prime), denoised)

    def _second_evaluation(self, ode: ODE, t: float, t_next: float) -> tuple[float, float]:
        """alpha for this step and the time of its second evaluation."""
        t_prime = t + self.alpha * (t_next - t)
        if self.alpha == 1 or (self.alpha > 1 and not _goes_on(ode.schedule, t_prime)):
            return 1.0, t_next
        return self.alpha, t_prime


@part("solver", "heun")
@dataclass(frozen=True)
class Heun(RK2):
    """Heun's method, the paper's choice: :class:`RK2` with alpha = 1; Karras et al. 2022, Algorithm 1.

    >>> import elucidiff as ed
    >>> ed.solvers.Heun().order
    2
    """

    alpha: float = field(default=1.0, init=False)


def _goes_on(schedule: Schedule, t: float) -> bool:
    """True if sigma has the sign of ``t``: near t = 0 a schedule may end, and beyond it only odd ones go on."""
    try:
        return float(schedule.sigma(t)) * t > 0
    except ValueError:
        return False
