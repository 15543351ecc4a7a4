"""From data to latents and back along the probability-flow ODE, and the way between two latents."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, as_denoiser
from elucidiff.denoisers.conditions import Conditions
from elucidiff.design.schedules import EDM, Schedule
from elucidiff.devices import state_type
from elucidiff.sampling.checks import check_finite, numbered, schedule_from, solver_from, tensor_from
from elucidiff.sampling.grid import check_ends, noise_grid
from elucidiff.sampling.ode import ProbabilityFlow, probability_flow
from elucidiff.solvers import RK2, RK45, Euler, Solver

_ADVICE = "look for NaN in the denoiser's output, or take more steps"


class Carried(NamedTuple):
    """Where the ODE takes a batch.

    Attributes:
        x: latents of unit scale, or samples at sigma_min, (B, C, *spatial).
        nfe: network evaluations of each sample: one number, or (B,) from an adaptive solver.
    """

    x: Tensor
    nfe: int | Tensor


@torch.no_grad()
def encode(
    denoiser: DenoiserLike,
    x: Tensor | npt.NDArray[np.floating],
    sigmas: Sequence[float] | Tensor,
    *,
    solver: Solver | str = RK45(),  # noqa: B008 (frozen)
    schedule: Schedule | str = EDM(),  # noqa: B008 (frozen)
    labels: Conditions | None = None,
    batch_size: int | None = 16,
    dtype: torch.dtype = torch.float64,
) -> Carried:
    """Follow the ODE of Karras et al. 2022, Eq. 4, from data at sigma_min up to sigma_max (Song et al. 2021, 4.3).

    The latents are those from which :func:`decode` leads back to ``x``, and :func:`~elucidiff.sampling.sample` to its
    denoised version. Over many samples of the data with noise of sigma_min they are close to unit Gaussian noise;
    without that noise they are nearly 0 where all data are alike, as in the background of pictures.

    Args:
        denoiser: D, called as ``denoiser(x, sigma)`` or, with labels, ``denoiser(x, sigma, labels)``.
        x: samples (B, C, *spatial), finite, on the denoiser's device.
        sigmas: noise levels (N + 1,) as for :func:`~elucidiff.sampling.sample`: decreasing from sigma_max to
            sigma_min and then 0, which is not gone to. An adaptive solver needs only these three.
        solver: a one-step solver: RK45, or Heun, RK2, Euler, which step from level to level.
        schedule: sigma(t) and s(t), the curve that the solver follows.
        labels: as for :func:`~elucidiff.sampling.sample`.
        batch_size: as for :func:`~elucidiff.sampling.sample`.
        dtype: floating type of the state; float64 becomes float32 on a device without it.

    Raises:
        ValueError: an argument is out of its range, not finite, or does not fit the others; or the result is not
            finite (the message names the sample).

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None], torch.ones(1))  # N(0, 1)
    >>> found = ed.sampling.encode(denoiser, torch.ones(1, 1), [2.0, 0.01, 0.0], batch_size=None)
    >>> round(float(found.x), 3)  # sqrt(1 + 2^2) / 2: the ODE keeps x / sqrt(1 + sigma^2)
    1.118
    """
    x = check_samples(denoiser, x)
    solver, schedule = solver_from(solver), schedule_from(schedule)
    times = times_up(denoiser, schedule, sigmas, solver, x.device)
    ode = probability_flow(denoiser, schedule, x, labels, batch_size)
    state = x.to(state_type(x.device, dtype)) * float(schedule.scale(times[0]))
    end = follow(ode, solver, state, times)
    latents = end / (float(schedule.sigma(times[-1])) * float(schedule.scale(times[-1])))
    check_finite(latents, numbered, advice=_ADVICE)
    return Carried(latents, ode.evaluations.nfe)


@torch.no_grad()
def decode(
    denoiser: DenoiserLike,
    latents: Tensor | npt.NDArray[np.floating],
    sigmas: Sequence[float] | Tensor,
    *,
    solver: Solver | str = RK45(),  # noqa: B008 (frozen)
    schedule: Schedule | str = EDM(),  # noqa: B008 (frozen)
    labels: Conditions | None = None,
    batch_size: int | None = 16,
    dtype: torch.dtype = torch.float64,
) -> Carried:
    """Follow the ODE from latents at sigma_max down to sigma_min: the inverse of :func:`encode`, and its arguments.

    It ends at sigma_min, where :func:`~elucidiff.sampling.sample` would take one more step, to 0: that step is
    the denoiser itself and has no inverse.

    Raises:
        ValueError: as :func:`encode`.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None], torch.ones(1))  # N(0, 1)
    >>> sigmas = [80.0, 0.01, 0.0]
    >>> there = ed.sampling.encode(denoiser, torch.ones(1, 1), sigmas, batch_size=None)
    >>> round(float(ed.sampling.decode(denoiser, there.x, sigmas, batch_size=None).x), 4)
    1.0
    """
    latents = check_samples(denoiser, latents)
    solver, schedule = solver_from(solver), schedule_from(schedule)
    times = times_up(denoiser, schedule, sigmas, solver, latents.device)[::-1]
    ode = probability_flow(denoiser, schedule, latents, labels, batch_size)
    start = float(schedule.sigma(times[0])) * float(schedule.scale(times[0]))
    end = follow(ode, solver, latents.to(state_type(latents.device, dtype)) * start, times)
    x = end / float(schedule.scale(times[-1]))
    check_finite(x, numbered, advice=_ADVICE)
    return Carried(x, ode.evaluations.nfe)


def round_trip_error(x: Tensor, decoded: Tensor) -> Tensor:
    """Root mean square difference of each sample, (B,), in units of the data.

    >>> import elucidiff as ed
    >>> ed.sampling.round_trip_error(torch.zeros(2, 1, 2), torch.tensor([[[1.0, 7.0]], [[0.0, 0.0]]])).tolist()
    [5.0, 0.0]
    """
    return (x.to(decoded) - decoded).flatten(1).square().mean(1).sqrt()


def times_up(
    denoiser: DenoiserLike, schedule: Schedule, sigmas: Sequence[float] | Tensor, solver: Solver, device: torch.device
) -> list[float]:
    """The times from sigma_min up to sigma_max at which ``solver`` is to stop.

    Raises:
        ValueError: the noise levels are not as for a run, are fewer than two besides 0, or the solver remembers
            earlier steps.
    """
    check_both_ways(solver)
    grid = noise_grid(denoiser, schedule, sigmas, None, device)
    check_ends(grid, "the ODE cannot be followed both ways")
    times = [level.t for level in grid][::-1]
    if len(times) < 2 or times[0] == times[-1]:
        raise ValueError("at least two positive noise levels are needed, sigma_max and sigma_min, and then 0")
    return [times[0], times[-1]] if solver.adaptive else times


def check_both_ways(solver: Solver) -> None:
    """Raise ValueError unless ``solver`` takes each step by itself, so that it can go up as well as down."""
    if not isinstance(solver, RK45 | RK2 | Euler):
        raise ValueError(f"{type(solver).__name__} cannot follow the ODE both ways: use RK45, Heun, RK2 or Euler")


def follow(ode: ProbabilityFlow, solver: Solver, x: Tensor, times: Sequence[float]) -> Tensor:
    """The state at the last of ``times``, for the state ``x`` at the first."""
    for t, t_next in itertools.pairwise(times):
        x = solver.step(ode, x, t, t_next, None).x
    return x


def check_samples(denoiser: DenoiserLike, x: Tensor | npt.NDArray[np.floating]) -> Tensor:
    """``x`` as a tensor, if it is a finite floating-point batch, of the denoiser's shape if it states one.

    Raises:
        TypeError: it is no tensor or array, or ``denoiser`` cannot be called.
        ValueError: it is anything else.
    """
    x = tensor_from(x, "samples")
    finite = x.flatten(1).isfinite().all(1)
    if not bool(finite.all()):
        raise ValueError(
            f"{numbered(int(finite.logical_not().nonzero()[0]))} holds values that are not finite: leave it out"
        )
    shape = as_denoiser(denoiser).sample_shape
    if shape and tuple(x.shape[1:]) != shape:
        raise ValueError(f"samples have shape {tuple(x.shape[1:])}, but the denoiser takes {shape}")
    return x


def slerp(start: Tensor, end: Tensor, weight: float | Tensor) -> Tensor:
    """Spherical interpolation (Shoemake 1985): the direction turns evenly, the length changes linearly.

    With a the direction of ``start``, b that of ``end``, omega the angle between them, and q the unit vector
    orthogonal to a in the plane of both, the direction is

        cos(w omega) a + sin(w omega) q

    This form divides by nothing that becomes small but the length of q before it is made a unit vector, whose error
    sin(w omega) makes small again. So it is exact for parallel directions, and for opposite ones it goes half
    around the sphere (by a way that is arbitrary but always the same).

    Args:
        start: (B, C, *spatial), no sample of length 0.
        end: likewise.
        weight: 0 for ``start`` to 1 for ``end``: one number, or one a sample, (B,).

    Returns:
        (B, C, *spatial), in the wider type of the two.

    Raises:
        ValueError: shapes that differ, or a sample without a direction.

    >>> import elucidiff as ed
    >>> half = ed.sampling.slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
    >>> [round(float(value), 4) for value in half[0]]  # sqrt(1 / 2)
    [0.7071, 0.7071]
    """
    if start.shape != end.shape or start.ndim < 2:
        raise ValueError(f"cannot interpolate between shapes {tuple(start.shape)} and {tuple(end.shape)}")
    dtype = torch.promote_types(start.dtype, end.dtype)
    a, b = start.flatten(1).to(dtype), end.flatten(1).to(dtype)
    w = torch.as_tensor(weight, dtype=dtype, device=a.device).reshape(-1, 1)
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    for name, length in (("start", length_a), ("end", length_b)):
        if not bool(((length > 0) & length.isfinite()).all()):
            raise ValueError(f"a sample of {name} has no direction: it is zero or not finite")
    a, b = a / length_a, b / length_b
    along = (a * b).sum(1, keepdim=True)
    beside = b - along * a
    beside = beside - (beside * a).sum(1, keepdim=True) * a  # once more, for what cancellation left of a
    size = beside.norm(dim=1, keepdim=True)
    omega = torch.atan2(size, along)
    q = torch.where(size > 0, beside / size, _orthogonal(a))
    direction = torch.cos(w * omega) * a + torch.sin(w * omega) * q
    between: Tensor = ((1 - w) * length_a + w * length_b) * direction
    return between.reshape(start.shape)


def path(keys: Tensor, frames: int) -> tuple[Tensor, list[tuple[int, float]]]:
    """Latents on the way from each key to the next.

    Args:
        keys: (K, C, *spatial), at least two.
        frames: latents from one key to the next, both included.

    Returns:
        ((K - 1)(frames - 1) + 1, C, *spatial), each key once, exactly; and where each is: the key before it, and the
        weight of the next.

    Raises:
        ValueError: too few keys or frames, or a key without a direction.
    """
    places = stops(len(keys), frames)
    between = [keys[k : k + 1] if w == 0 else slerp(keys[k : k + 1], keys[k + 1 : k + 2], w) for k, w in places]
    return torch.cat(between), places


def stops(keys: int, frames: int) -> list[tuple[int, float]]:
    """Where the frames are on the way through so many keys: the key before each, and the weight of the next.

    Raises:
        ValueError: there are too few keys or frames.
    """
    if keys < 2:
        raise ValueError(f"there is nothing to interpolate between with {keys} of them: give at least two")
    if frames < 2:
        raise ValueError(f"frames is {frames}, but must be at least 2: both ends are frames")
    inner = [(k, frame / (frames - 1)) for k in range(keys - 1) for frame in range(frames - 1)]
    return [*inner, (keys - 1, 0.0)]


def mixed(rows: Tensor, places: Sequence[tuple[int, float]]) -> Tensor:
    """Labels on the same way: rows of the keys, (K, label_dim), mixed linearly, (frames, label_dim)."""
    return torch.stack([rows[k] if w == 0 else (1 - w) * rows[k] + w * rows[k + 1] for k, w in places])


def _orthogonal(a: Tensor) -> Tensor:
    """A unit vector orthogonal to each row of ``a``: the axis on which it is shortest, made orthogonal."""
    axis = torch.nn.functional.one_hot(a.abs().argmin(1), a.shape[1]).to(a.dtype)
    beside = axis - (axis * a).sum(1, keepdim=True) * a
    direction: Tensor = beside / beside.norm(dim=1, keepdim=True)
    return direction
