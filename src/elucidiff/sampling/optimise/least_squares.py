"""Noise levels refined by Levenberg's method: nonlinear least squares on the error at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from elucidiff.sampling.optimise.end_error import EndError, Run

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
    """How far the logs of the levels go along ``direction`` for a derivative: down, and never past each other."""
    room = (-logs.diff() / direction.diff().abs().clamp_min(1e-9)).min() if len(logs) > 1 else math.inf
    return -min(_NUDGE, float(room) / 2)
