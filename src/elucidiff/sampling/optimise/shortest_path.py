"""A first guess at the noise levels, by dynamic programming over the errors of single steps.

The idea is that of GITS (Chen et al. 2024, arXiv 2405.11326): the cost of a step from one point of an exact path to a
later noise level is what it misses there, and the best N steps are the cheapest path of N edges. Two things differ. A
step is taken by the solver itself (a multistep method has no past there, and takes an Euler step), and a step's error
counts as much as the rest of the ODE will leave of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elucidiff.denoisers.conditions import selected
from elucidiff.design.schedules import Schedule
from elucidiff.sampling.ode import ProbabilityFlow, probability_flow
from elucidiff.sampling.optimise.exact import ExactSolutions, Waypoint
from elucidiff.solvers import Solver
from elucidiff.solvers.base import Time

_MOST_STEPS = 12


@torch.no_grad()
def step_costs(exact: ExactSolutions, solver: Solver, schedule: Schedule) -> Tensor:
    """What one step from waypoint i to waypoint j costs, (M, M) float64; infinite unless j > i.

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
            costs[i, j] = missed / (1 + (path[j].sigma / exact.spread) ** 2)
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
