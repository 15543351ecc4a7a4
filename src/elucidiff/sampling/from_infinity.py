"""The first step of a run that begins in pure noise, at an infinite noise level."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.sampling.ode import ProbabilityFlow
from elucidiff.solvers.base import Solver, StepResult


def steps_from_infinity(solver: Solver, schedule: Schedule) -> bool:
    """Whether the ODE is finite in pure noise, and ``solver`` follows it from there as from anywhere.

    It is on the flow schedule, where dx/dt = (x - D) / t begins at t = 1 with unit noise, for solvers that go by it.
    Others work in y = x / s and sigma, which are infinite.
    """
    t = float(schedule.time(math.inf))
    return solver.begins_at_infinity and math.isfinite(t) and bool(torch.stack(schedule.ode(t)).isfinite().all())


def from_infinity(ode: ProbabilityFlow, x: Tensor, t_next: float) -> StepResult:
    """The exact solution for a denoised image that does not change: y' = D(n; infinity) + sigma' n, with y = x / s.

    That is DDIM's step. Its error is of second order in the flow schedule's time, so those of second-order methods
    stay of theirs.

    Args:
        ode: evaluates D.
        x: unit noise n.
        t_next: end of the step.
    """
    schedule = ode.schedule
    denoised = ode.ask(x, torch.tensor(math.inf, dtype=torch.float64))
    sigma, scale = float(schedule.sigma(t_next)), float(schedule.scale(t_next))
    return StepResult(scale * (denoised + sigma * x), denoised)
