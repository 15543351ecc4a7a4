"""Noise levels with the smallest error at the end: a first guess by dynamic programming, and its refinement.

The guess is that of GITS (Chen et al. 2024, arXiv 2405.11326): the cost of a step from one point of an exact path to
a later noise level is what it misses there, and the best N steps are the cheapest path of N edges. Two things differ.
A step is taken by the solver itself (a multistep method has no past there, and takes an Euler step), and a step's
error counts as much as the rest of the ODE will leave of it. The refinement is Levenberg's method of nonlinear least
squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elucidiff.denoisers.conditions import selected
from elucidiff.design.schedules import Schedule
from elucidiff.sampling.ode import ProbabilityFlow, probability_flow
from elucidiff.sampling.optimise.exact import EndError, ExactSolutions, Run, Waypoint
from elucidiff.solvers import Solver
from elucidiff.solvers.base import Time

_MOST_STEPS = 12


@torch.no_grad()
def step_costs(exact: ExactSolutions, solver: Solver, schedule: Schedule) -> Tensor:
    """The cost of one step from waypoint i to waypoint j, (M, M) float64; infinite unless j > i.

    The cost is the mean square of what the step misses, times the share that the ODE leaves of it at 0. For Gaussian
    data of variance v the ODE shrinks differences between samples by sqrt(v / (v + sigma_j^2)); with the variance of
    the solutions for v that is close enough for other data.

    Args:
        exact: with the waypoints.
        solver: takes the steps.
        schedule: the curve that it follows.
    """
    path, rows = exact.path, len(exact.path[0].x)
    labels = None if exact.labels is None else selected(exact.labels, slice(rows), len(exact.latents))
    ode = probability_flow(exact.denoiser, schedule, exact.latents[:rows], labels, None)
    times = [float(schedule.time(point.sigma)) for point in path[:-1]] + [0.0]
    scales = [float(schedule.scale(t)) for t in times]
    costs = torch.full((len(path), len(path)), math.inf, dtype=torch.float64)
    for i, start in enumerate(path[:-1]):
        known = _KnownStart(ode.denoiser, schedule, rows, ode.labels, t=times[i], waypoint=start)
        for j in range(i + 1, len(path)):
            end = solver.step(known, start.x * scales[i], times[i], times[j], None).x / scales[j]
            missed = float((end - path[j].x).square().mean())
            costs[i, j] = missed / (1 + (path[j].sigma / exact.std) ** 2)
    return costs


def shortest_path(costs: Tensor, edges: int) -> list[int]:
    """The cheapest way of exactly ``edges`` edges from the first node to the last, as node numbers.

    Args:
        costs: cost of the edge from i to j, (M, M); infinite where there is none.
        edges: number of edges.

    Raises:
        ValueError: there is no such way.
    """
    count = len(costs)
    best = torch.full((count,), math.inf, dtype=costs.dtype)
    best[0] = 0.0
    previous = []
    for _ in range(edges):
        best, came_from = (best[:, None] + costs).min(0)
        previous.append(came_from)
    if not math.isfinite(float(best[-1])):
        raise ValueError(f"there is no way of {edges} steps over {count} noise levels")
    nodes = [count - 1]
    for came_from in reversed(previous):
        nodes.append(int(came_from[nodes[-1]]))
    return nodes[::-1]


def guess(exact: ExactSolutions, costs: Tensor, n: int) -> Tensor:
    """Noise levels (n + 1,) of the cheapest ``n`` steps along the waypoints.

    The waypoints are too coarse for more than a dozen steps: then the levels of fewer are stretched over ``n``.
    """
    few = min(n, _MOST_STEPS)
    levels = np.log([exact.path[k].sigma for k in shortest_path(costs, few)[:-1]])
    stretched = np.interp(np.linspace(0, few - 1, n), np.arange(few), levels)
    return torch.cat([torch.from_numpy(np.exp(stretched)), torch.zeros(1, dtype=torch.float64)])


@dataclass(frozen=True)
class _KnownStart(ProbabilityFlow):
    """An ODE that knows D at one waypoint, so that all steps from there share one evaluation."""

    t: float = 0.0
    waypoint: Waypoint | None = None

    def denoise(self, x: Tensor, t: Time) -> Tensor:
        if self.waypoint is not None and t == self.t:
            return self.waypoint.denoised
        return super().denoise(x, t)


_NUDGE = 0.02  # in log sigma: small for the solver, large beside the rounding of float32 networks and noise tables
_LONGEST = 0.7  # a level at most halves or doubles in one iteration
_CLOSEST = 1e-3  # between two levels: equal ones would be a step for nothing
_TRIALS = 10
_UNKNOWNS = 12


def never() -> bool:
    """No reason to stop."""
    return False


def refine(
    end_error: EndError,
    start: Run,
    *,
    budget: int,
    free_first: bool = False,
    stop: Callable[[], bool] = never,
) -> Iterator[Run]:
    """Better and better noise levels, as long as there are any.

    The unknowns are log sigma_k; of a dozen and more levels those at some places, the others following in between.
    An iteration nudges each of them, which costs the steps from there on alone, and so has the derivative J of all
    samples at the end, not just of their error; then it solves, with r the residual,

        (J^T J + mu I max diag(J^T J)) delta = -J^T r

    and takes the step delta if the error falls, or else a shorter one, with a larger mu. Damping with diag(J^T J)
    instead, as Marquardt does, lets levels that hardly matter run away; all of them have one unit here.

    Args:
        end_error: what is minimised.
        start: where to begin.
        budget: largest number of evaluations; with guidance in an interval it depends on the levels.
        free_first: whether the first noise level may change, too. The last positive one always may.
        stop: asked before each run; if it says so, the best so far was the last.

    Yields:
        A run after every iteration, each better than the one before.

    Source: Levenberg 1944.
    """
    run, mu = start, 1e-2
    low, high = math.log(end_error.exact.sigma_min), math.log(end_error.exact.sigma_max)

    def levels(logs: Tensor) -> Tensor:
        kept = start.sigmas[: 0 if free_first else 1]  # not rounded by log and exp
        return torch.cat([kept, logs[len(kept) :].exp(), logs.new_zeros(1)])

    directions = _directions(len(run.sigmas) - 1, 0 if free_first else 1)
    while len(directions):
        logs = run.sigmas[:-1].log()
        columns = []
        for direction in directions:
            if stop():
                return
            nudge, first = _nudge(logs, direction), int(direction.nonzero()[0])
            moved = end_error(levels(logs + nudge * direction), run if first else None, max(first - 1, 0))
            columns.append((moved.residual - run.residual) / nudge)
        jacobian = torch.stack(columns, dim=1)
        normal = (jacobian.mT @ jacobian).cpu().double()
        gradient = (jacobian.mT @ run.residual).cpu().double()
        damping = normal.diagonal().max().clamp_min(1e-300) * torch.eye(len(normal), dtype=normal.dtype)
        for _ in range(_TRIALS):
            if stop():
                return
            delta = torch.linalg.solve(normal + mu * damping, -gradient)
            delta = delta * min(1.0, _LONGEST / max(float(delta.abs().max()), 1e-300))
            trial = (logs + delta @ directions).clamp(low, high)
            if bool((trial.diff() < -_CLOSEST).all()):
                found = end_error(levels(trial))
                if found.error < run.error and found.nfe <= budget:
                    break
            mu *= 4
        else:
            return
        run, mu = found, mu / 5
        yield run


def _directions(count: int, first: int) -> Tensor:
    """The ways (M, count) in which ``count`` log noise levels may change, those before number ``first`` staying.

    Each level by itself; or, if they are many, hat functions of their number, so that their spacing stays smooth.
    """
    free = count - first
    places = torch.linspace(0, max(free - 1, 0), min(free, _UNKNOWNS), dtype=torch.float64)
    apart = (free - 1) / (len(places) - 1) if len(places) > 1 else 1.0
    numbers = torch.arange(count, dtype=torch.float64) - first
    return (1 - (numbers - places[:, None]).abs() / apart).clamp_min(0) * (numbers >= 0)


def _nudge(logs: Tensor, direction: Tensor) -> float:
    """The distance that the logs of the levels go along ``direction`` for a derivative: never past each other."""
    room = (-logs.diff() / direction.diff().abs().clamp_min(1e-9)).min() if len(logs) > 1 else math.inf
    return -min(_NUDGE, float(room) / 2)
