"""What people hand to the functions of this room, as the objects that are meant; or one line that says what to give.

Parts are resolved by :func:`elucidiff.parts.resolve`: an object, a name or a text form everywhere.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import TypeGuard, cast

import numpy as np
import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.design.schedules import Schedule
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.restart import Restart
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
    """Whether ``given`` says how many samples there shall be."""
    return isinstance(given, numbers.Integral) and not isinstance(given, bool)


def count_from(given: int) -> int:
    """How many samples.

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
