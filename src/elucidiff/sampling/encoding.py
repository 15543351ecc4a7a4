"""From data to latents and back along the probability-flow ODE."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.denoisers.base import AnyDenoiser, DenoiserLike, as_denoiser
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.tuned import refuse_tuned
from elucidiff.design.schedules import EDM, Schedule
from elucidiff.design.steps import Karras
from elucidiff.devices import state_type
from elucidiff.sampling.checks import check_finite, numbered, schedule_from, solver_from, tensor_from
from elucidiff.sampling.grid import check_ends, noise_grid, usual_range
from elucidiff.sampling.ode import ProbabilityFlow, probability_flow
from elucidiff.sampling.sampler import Sampler
from elucidiff.solvers import RK2, RK45, Euler, Solver

_ADVICE = "look for NaN in the denoiser's output, or take more steps"


class Carried(NamedTuple):
    """A batch that the ODE has carried to its other end.

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
    refuse_tuned(as_denoiser(denoiser, called=False), "following it both ways")
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


def check_follows_ode(sampler: Sampler) -> None:
    """Raise ValueError where a sampler does more than follow the model's own ODE, from noise to data or back."""
    check_both_ways(sampler.solver)
    for name, why in (
        ("churn", "adds noise, so there is no way back"),
        ("restarts", "add noise, so there is no way back"),
        ("guidance", "leads away from what the model knows"),
    ):
        if getattr(sampler, name) is not None:
            raise ValueError(f"{name} {why}: leave --{name} out")
    if sampler.clip not in (None, Sampler().clip):
        raise ValueError("clip holds D back from what the model knows: leave --clip out")


def usual_both_ways(denoiser: AnyDenoiser, tolerance: float) -> Sampler:
    """The sampler by which the ODE is followed both ways where nobody chooses: RK45 over the range of the data.

    Args:
        denoiser: whose data they are.
        tolerance: relative and absolute, of each step.

    Raises:
        ValueError: it was tuned for few evaluations, and has no ODE.
    """
    refuse_tuned(denoiser, "this")
    return Sampler(Karras(64, *usual_range(denoiser)), solver=RK45(tolerance, tolerance))


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
