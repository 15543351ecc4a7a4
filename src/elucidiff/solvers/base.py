"""Solvers: the base class, what it is given and what a step returns.

A solver is a small frozen dataclass with :meth:`Solver.step`. What a multistep method remembers travels from step to
step as ``state``, so a solver object holds settings only and any number of runs may share it. Noise is the loop's: a
step is a function of its arguments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.design.values import per_sample
from elucidiff.devices import onto

Time = float | Tensor  # one time for the batch, or a CPU tensor (B,) with one a sample


class ODE(Protocol):
    """The probability-flow ODE (Karras et al. 2022, Eq. 4) as a solver sees it; its evaluations are counted.

    >>> import elucidiff as ed
    >>> seen = []  # of a solver that goes straight to D
    >>> class Asking(ed.solvers.Solver):
    ...     def step(self, ode, x, t, t_next, state=None):
    ...         denoised = ode.denoise(x, t)
    ...         seen.append(float(ode.velocity(x, t, denoised)))  # (x - D) / t without scaling
    ...         return ed.solvers.StepResult(denoised, denoised)
    ...
    >>> point = ed.ideal.DataPosterior(torch.tensor([[1.0]]))
    >>> x = ed.sample(point, torch.ones(1, 1), torch.tensor([2.0, 0.0]), solver=Asking())
    >>> seen, float(x)
    ([0.5], 1.0)
    """

    @property
    def schedule(self) -> Schedule:
        """sigma(t) and s(t)."""

    def denoise(self, x: Tensor, t: Time) -> Tensor:
        """D(x/s; sigma) at time ``t``: one evaluation, shaped like ``x`` and in its type."""

    def velocity(self, x: Tensor, t: Time, denoised: Tensor) -> Tensor:
        """dx/dt at ``x`` and ``t``, given D(x/s; sigma) there: no evaluation."""

    def norm(self, values: Tensor) -> Tensor:
        """The root mean square of each sample of ``values``, (B,)."""

    def select(self, rows: Tensor) -> ODE:
        """The same ODE for the samples with the indices ``rows`` (on the CPU) alone."""


@dataclass(frozen=True)
class StepResult:
    """The result of a solver's step.

    Attributes:
        x: the samples at the end of the step.
        denoised: D at the start of the step.
        state: what the solver wants to be told at the next step; None for a one-step method.
        std: standard deviation of the fresh noise that the loop is to add to ``x``, scaling included.

    >>> import elucidiff as ed
    >>> result = ed.solvers.StepResult(x=torch.zeros(2, 3), denoised=torch.zeros(2, 3))
    >>> result.state, result.std
    (None, 0.0)
    """

    x: Tensor
    denoised: Tensor
    state: Any = None
    std: float = 0.0


class Solver(ABC):
    """A solver; a new one is this :meth:`step`, its settings, and those of the properties that differ.

    Example: Euler's method, in one's own code.

    >>> from dataclasses import dataclass
    >>> import elucidiff as ed
    >>> @ed.part("solver", "plain_euler")
    ... @dataclass(frozen=True)
    ... class PlainEuler(ed.solvers.Solver):
    ...     def step(self, ode, x, t, t_next, state=None):
    ...         denoised = ode.denoise(x, t)
    ...         dx_dt = ode.velocity(x, t, denoised)
    ...         return ed.solvers.StepResult(x + (t_next - t) * dx_dt, denoised)
    >>> ed.parts.parse("solver", "plain_euler")
    PlainEuler()
    """

    @property
    def order(self) -> int:
        """The global error falls with this power of the step size; of a multistep method, once it knows enough."""
        return 1

    @property
    def adaptive(self) -> bool:
        """True if it chooses its own steps. If so, the loop hands it the whole interval at once."""
        return False

    @property
    def stochastic(self) -> bool:
        """True if it asks for noise, as :attr:`StepResult.std`."""
        return False

    @property
    def multistep(self) -> bool:
        """True if it uses the evaluations of earlier steps."""
        return False

    @property
    def corrects(self) -> bool:
        """True if it corrects, at the start of a step, the end of the one before."""
        return False

    @property
    def begins_at_infinity(self) -> bool:
        """True if it goes by x and dx/dt alone, which may be finite in pure noise, where y = x / s and sigma are not.

        If not, the loop takes the first step from an infinite noise level itself, as DDIM does.
        """
        return False

    @abstractmethod
    def step(self, ode: ODE, x: Tensor, t: float, t_next: float, state: Any = None) -> StepResult:
        """Take ``x`` from time ``t`` to ``t_next``.

        Args:
            ode: evaluates D and dx/dt.
            x: scaled samples (B, C, *spatial) at ``t``, noise just added included.
            t: start of the step. With churn it is not where the step before ended. sigma(t) may be infinite only if
                :attr:`begins_at_infinity`.
            t_next: end of the step; 0 for the last one, where dx/dt is 0/0 and must not be evaluated.
            state: what the step before returned as ``state``; None on the first step and after a restart.
        """


def coefficient(value: Tensor, x: Tensor) -> Tensor:
    """A coefficient of the ODE shaped for ``x``; a single one stays on the CPU and is taken as a number."""
    return value.to(x.dtype) if value.ndim == 0 else per_sample(onto(value.to(x.dtype), x.device), x)
