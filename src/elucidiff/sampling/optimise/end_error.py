"""The error of a solver at the end of the ODE, as a function of the noise levels it steps through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.sampling.finite import FiniteTrace, seed_names
from elucidiff.sampling.grid import noise_grid
from elucidiff.sampling.ode import probability_flow
from elucidiff.sampling.optimise.exact import ExactSolutions
from elucidiff.solvers import Solver


@dataclass(frozen=True)
class Run:
    """What a solver made of all seeds.

    Attributes:
        sigmas: the noise levels, (N + 1,).
        residual: how far each value of each sample is from the exact solution, (P,).
        nfe: network evaluations per sample.
        places: for each step the samples from which it starts, and what the solver remembered.
    """

    sigmas: Tensor
    residual: Tensor
    nfe: int
    places: tuple[tuple[Tensor, Any], ...]

    @property
    def error(self) -> float:
        """Root mean square of the residual, in units of the data."""
        return float(self.residual.square().mean().sqrt())


@dataclass(frozen=True)
class EndError:
    """The distance between a solver's samples and the exact solutions.

    Args:
        exact: the exact solutions.
        solver: takes the steps.
        schedule: the curve that it follows.
    """

    exact: ExactSolutions
    solver: Solver
    schedule: Schedule

    @torch.no_grad()
    def __call__(self, sigmas: Tensor, before: Run | None = None, first: int = 0) -> Run:
        """Take all steps between ``sigmas``, or only those from step ``first`` on.

        Args:
            sigmas: noise levels (N + 1,), decreasing, the last 0.
            before: a run of as many steps whose noise levels are those of ``sigmas`` up to number ``first``.
            first: the step to begin with; the ones before are taken from ``before``.

        Raises:
            ValueError: the denoiser gave values that are not finite.
        """
        exact = self.exact
        grid = noise_grid(exact.denoiser, self.schedule, sigmas, None, exact.latents.device)
        ode = probability_flow(exact.denoiser, self.schedule, exact.latents, exact.labels, None)
        if before is None:
            x = exact.latents.to(exact.x.dtype) * (grid[0].sigma * float(self.schedule.scale(grid[0].t)))
            places: list[tuple[Tensor, Any]] = [(x, None)]
        else:
            places = list(before.places[: first + 1])
        for level in grid[len(places) - 1 :]:
            advance = self.solver.step(ode, *places[-1][:1], level.t_hat, level.t_next, places[-1][1])
            places.append((advance.x, advance.state))
        x, _ = places.pop()
        residual = (x - exact.x).flatten()
        trace = FiniteTrace()
        for level, (later, _) in zip(grid, [*places[1:], (x, None)], strict=True):
            trace.note(level.sigma, later)
        trace.check(x, seed_names(exact.seeds))
        nfe = int(torch.as_tensor(ode.evaluations.nfe).max())
        return Run(sigmas, residual, nfe, tuple(places))
