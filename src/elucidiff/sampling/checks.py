"""Checks of what goes into the functions of this room, and of what comes out: with one line that says what to do.

Parts are resolved by :func:`elucidiff.parts.resolve`: an object, a name or a text form everywhere.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeGuard, cast

import numpy as np
import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.design.schedules import Schedule
from elucidiff.sampling.churn import Churn, Restart
from elucidiff.sampling.grid import Level
from elucidiff.solvers.base import Solver


def solver_from(given: Solver | str) -> Solver:
    """The solver that is meant by an object, a name or a text form; see :func:`elucidiff.parts.resolve`."""
    solver: Solver = parts.resolve("solver", given)
    return solver


def schedule_from(given: Schedule | str) -> Schedule:
    """The schedule that is meant, likewise."""
    schedule: Schedule = parts.resolve("schedule", given)
    return schedule


def is_count(given: object) -> TypeGuard[int]:
    """True if ``given`` says how many samples there shall be."""
    return isinstance(given, numbers.Integral) and not isinstance(given, bool)


def count_from(given: int) -> int:
    """Number of samples.

    Raises:
        ValueError: not one.
    """
    if given < 1:
        raise ValueError(f"{given} samples were asked for: ask for at least 1")
    return int(given)


def latents_from(given: object) -> Tensor:
    """Unit Gaussian noise (B, C, *spatial) as a tensor. A meta tensor has no values to check.

    Raises:
        TypeError: it is no tensor, array or number of samples.
        ValueError: it is not floating point, not a batch, or not finite.
    """
    latents = tensor_from(given, "latents", or_what=", or the number of samples")
    if not latents.is_meta and not bool(latents.isfinite().all()):
        raise ValueError("latents hold values that are not finite")
    return latents


def tensor_from(given: object, what: str, or_what: str = "") -> Tensor:
    """A floating-point batch (B, C, *spatial) as a tensor, from a tensor or a NumPy array.

    Args:
        what: what it is, in the plural.
        or_what: what else might have been given.

    Raises:
        TypeError: it is neither.
        ValueError: it is not floating point, no batch, or empty.
    """
    if isinstance(given, np.ndarray) and given.dtype.kind in "fiub":
        given = torch.from_numpy(np.ascontiguousarray(given))
    if not isinstance(given, Tensor):
        kind = f"an array of {given.dtype}" if isinstance(given, np.ndarray) else f"of type {type(given).__name__}"
        raise TypeError(f"{what} are {kind}: give a tensor or NumPy array (B, C, *spatial){or_what}")
    if given.ndim < 2 or not given.is_floating_point():
        raise ValueError(f"{what} must be floating point (B, C, *spatial), not {given.dtype} {tuple(given.shape)}")
    if not given.numel():
        raise ValueError(f"{what} have shape {tuple(given.shape)}, which holds nothing")
    return given


def seeds_from(given: object) -> Sequence[int]:
    """Seeds, one a sample: those given, or 0, 1, 2, ... for a number of samples.

    Raises:
        TypeError: they are no integers.
        ValueError: there are none.
    """
    if is_count(given):
        return range(count_from(given))
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        raise TypeError(f"seeds is {given!r}: give integers, such as range(16), or how many samples")
    return cast(Sequence[int], given)


def check_arguments(churn: object, restarts: object, noise: object, callback: object) -> None:
    """Raise TypeError for the first of these that is not of its kind."""
    if churn is not None and not isinstance(churn, Churn):
        raise TypeError(f"churn is {churn!r}: give an object such as ed.Churn(40), or None")
    listed = isinstance(restarts, Sequence) and all(isinstance(restart, Restart) for restart in restarts)
    if not listed:
        raise TypeError(f"restarts is {restarts!r}: give a list of objects such as ed.Restart(2, 0.06, 0.3)")
    for name, function in (("noise", noise), ("callback", callback)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} is of type {type(function).__name__}, but must be a function, or None")


def check_combination(solver: Solver, churn: Churn | None, restarts: Sequence[Restart]) -> None:
    """Raise ValueError if ``solver`` does not go with churn or restarts, on whatever steps.

    A one-step solver takes any noise. Restarts go with all solvers of fixed steps, which begin anew after each.
    """
    restarts = [restart for restart in restarts if restart.repeats]
    churned = churn is not None and churn.amount > 0
    name = type(solver).__name__
    if solver.adaptive and (churned or restarts):
        raise ValueError(
            f"{name} chooses its own steps, so it cannot be used with {'churn' if churned else 'restarts'}"
        )
    if churned and restarts:
        raise ValueError("churn and restarts both add noise to the run: choose one of them")
    if churned and solver.stochastic:
        raise ValueError(f"{name} adds noise itself, so it cannot be used with churn: choose one of them")
    if churned and solver.corrects:
        raise ValueError(
            f"{name} corrects the end of each step with an evaluation there, which churn would move: use it without "
            "churn, or another solver"
        )


def check_history(solver: Solver, grid: Sequence[Level]) -> None:
    """Raise ValueError if churn takes back too much for a multistep ``solver`` to extrapolate from what it knows.

    Its values were evaluated at the raised levels, before the noise was added that is there now. That makes all
    methods first-order, and one value that lies little above the level where a step now starts tells next to nothing
    of the slope, while the difference in noise is multiplied by the length of the step: on Gaussian data errors
    exceed Euler's, or grow without bound. So at most half of the way, in log(sigma), from the evaluation before down
    to this step may be taken back.
    """
    if not solver.multistep or solver.order == 1:
        return
    for index, (before, level) in enumerate(pairwise(grid), start=1):
        if level.std > 0 and not level.restarts and level.sigma_hat**2 > level.sigma * before.sigma_hat:
            raise ValueError(
                f"churn raises the noise of step {index} from {level.sigma:g} to {level.sigma_hat:g}, which takes "
                f"back most of the way from {before.sigma_hat:g}, where {type(solver).__name__} knows the denoiser: "
                "use less churn or a one-step solver such as Heun"
            )


Names = Callable[[int], str] | Sequence[str]
"""The name of sample k of a batch in a message."""

_ADVICE = "check the model, try a smaller sigma_max, less churn, or more steps"


class NotFiniteError(ValueError):
    """A result that holds NaN or infinity; nothing of it is returned."""


class FiniteTrace:
    """Remembers what the samples were at each step, one number a sample, without waiting for the device."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, Tensor]] = []

    def note(self, sigma: float, x: Tensor) -> None:
        """Take note of a step from noise level ``sigma`` that led to ``x``, (B, C, *spatial)."""
        # A sum is not finite where one of its terms is not. It takes one pass, and no mask as large as the images.
        self._steps.append((sigma, x.flatten(1).sum(1)))

    def check(self, x: Tensor, names: Names) -> None:
        """Raise :class:`NotFiniteError`, with the first sample that is not finite and its step, unless all are.

        Waits for the device once. A meta tensor has no values to look at.

        Args:
            x: the result of the last step, (B, C, *spatial).
            names: of its samples.
        """
        if not x.is_meta:
            check_finite(x, names, self._where)

    def _where(self, row: int) -> str:
        """In words, the step at which sample ``row`` was not finite first; the last one if that shows in none."""
        number, sigma = next(
            ((k, sigma) for k, (sigma, total) in enumerate(self._steps, 1) if not bool(total[row].isfinite())),
            (len(self._steps), self._steps[-1][0]),
        )
        return f" at step {number}, from noise level {sigma:.4g}"


def check_finite(
    values: Tensor, names: Names, where: Callable[[int], str] = lambda row: "", advice: str = _ADVICE
) -> None:
    """Raise :class:`NotFiniteError` that names the first sample of ``values`` (B, ...) that is not finite.

    Args:
        values: one row a sample.
        names: of the samples.
        where: in words, beginning with a space, where it happened to a sample.
        advice: what to do about it.
    """
    finite = values.isfinite().flatten(1).all(1) if values.ndim > 1 else values.isfinite()
    if bool(finite.all()):
        return
    broken = finite.logical_not().nonzero().flatten().tolist()
    name = names(broken[0]) if callable(names) else names[broken[0]]
    others = f" (and {len(broken) - 1} of the {len(finite) - 1} drawn with it)" if len(broken) > 1 else ""
    raise NotFiniteError(f"{name}{others} gave values that are not finite{where(broken[0])}: {advice}")


def numbered(row: int) -> str:
    """The name of a sample that has none of its own."""
    return f"sample {row} of the batch"


def seed_names(seeds: Sequence[int]) -> Names:
    """Names of the samples of these seeds."""
    return lambda row: f"seed {seeds[row]}"
