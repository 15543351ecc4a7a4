"""The sampling loop: Karras et al. 2022, Algorithm 2, for any schedule, scaling and solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.denoisers.precision import widest_type
from elucidiff.design.schedules import EDM, Schedule
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.combining import check_combination, check_history
from elucidiff.sampling.grid import noise_grid
from elucidiff.sampling.ode import probability_flow
from elucidiff.sampling.restart import Restart
from elucidiff.sampling.seeds import noise_for
from elucidiff.solvers import Heun, Solver

Noise = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Step:
    """What a callback is told about a step. With scaling, ``x`` and ``x_hat`` are scaled, ``denoised`` is not.

    Attributes:
        index: number of the step, from 0.
        t: time at which the step starts.
        sigma: noise level there.
        x: the samples there, (B, C, *spatial).
        t_hat: time after churn or a restart raised the noise; equal to ``t`` without, as are the next two.
        sigma_hat: noise level there.
        x_hat: the samples there, from which the solver starts.
        denoised: D(x_hat / s; sigma_hat), (B, C, *spatial).
        nfe: network evaluations per sample so far, this step's included: one number, or (B,) from an adaptive solver.
    """

    index: int
    t: float
    sigma: float
    x: Tensor
    t_hat: float
    sigma_hat: float
    x_hat: Tensor
    denoised: Tensor
    nfe: int | Tensor


@torch.no_grad()
def sample(
    denoiser: Callable[..., Tensor],
    latents: Tensor,
    sigmas: Sequence[float] | Tensor,
    *,
    solver: Solver = Heun(),  # noqa: B008 (frozen)
    schedule: Schedule = EDM(),  # noqa: B008 (frozen)
    churn: Churn | None = None,
    restarts: Sequence[Restart] = (),
    labels: Tensor | None = None,
    noise: Noise | None = None,
    callback: Callable[[Step], object] | None = None,
    batch_size: int | None = 16,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw samples by following the probability-flow ODE from noise to data: Karras et al. 2022, Algorithms 1 and 2.

    Algorithm 2 is written for sigma = t, s = 1. For other schedules noise is raised to the same levels, and scaled.

    Args:
        denoiser: D, called as ``denoiser(x, sigma)`` or, with labels, ``denoiser(x, sigma, labels)``. If it has a
            method ``round_sigma``, all noise levels of the grid, raised ones included, pass through it.
        latents: unit Gaussian noise (B, C, *spatial), on the denoiser's device.
        sigmas: noise levels (N + 1,), decreasing, the last 0; see :mod:`elucidiff.design.steps`.
        solver: takes the steps; see :mod:`elucidiff.solvers`.
        schedule: sigma(t) and s(t), the curve in (t, x) that the solver follows.
        churn: noise to add before each step; None for none.
        restarts: parts of the run to repeat with fresh noise.
        labels: class indices (B,) or rows (B, label_dim).
        noise: called as ``noise(x, index)`` once a step for unit Gaussian noise like ``x``, also at steps outside
            the churn's range, so that a generator advances evenly; never called if no step is raised. A stochastic
            solver's own noise is one more call at each step. By default each sample has its own generator, seeded by
            its latent; pass :class:`.SeededNoise` to choose the seeds.
        callback: called with a :class:`Step` after each step.
        batch_size: number of samples in every call of a denoiser that is an ``nn.Module``, smaller batches padded, so
            that a sample's bits do not depend on the others: see :class:`.FixedBatch`. A larger one suits
            accelerators, but gives other last bits; None calls the denoiser on all samples at once, as is always done
            with other callables.
        dtype: floating type of the solver's state; float64 becomes float32 on a device without it.

    Returns:
        The samples, (B, C, *spatial), of type ``dtype``.

    Raises:
        ValueError: an argument is out of its range, not finite, or does not fit the others.
    """
    check_latents(latents)
    check_combination(solver, churn, restarts)
    sigmas = _whole_interval(sigmas) if solver.adaptive else sigmas
    grid = noise_grid(denoiser, schedule, sigmas, churn, latents.device, restarts)
    check_history(solver, grid)
    ode = probability_flow(denoiser, schedule, latents, labels, batch_size)
    raised = any(level.spread > 0 for level in grid)
    noise = noise_for(latents) if noise is None and (raised or solver.stochastic) else noise
    dtype = widest_type(latents.device, dtype)

    # x_0 ~ N(0, sigma(t_0)^2 s(t_0)^2 I)
    x = latents.to(dtype) * (grid[0].sigma * float(schedule.scale(grid[0].t)))
    state = None
    for index, level in enumerate(grid):
        # Raise the noise level from t to t_hat (lines 4 to 6).
        x_hat = x
        if raised and noise is not None:
            epsilon = noise(x, index)
            if level.spread > 0:
                x_hat = level.rescale * x + level.spread * epsilon
        # Step from t_hat to t_next (lines 7 to 11).
        step = solver.step(ode, x_hat, level.t_hat, level.t_next, None if level.restarts else state)
        if callback is not None:
            place = (level.t, level.sigma, x, level.t_hat, level.sigma_hat, x_hat)
            callback(Step(index, *place, step.denoised, ode.evaluations.nfe))
        x, state = step.x, step.state
        if solver.stochastic and noise is not None:
            x = x + step.std * noise(x, index)
    return x


def check_latents(latents: Tensor) -> None:
    """Raise ValueError unless ``latents`` is a finite floating-point batch. A meta tensor has no values to check."""
    if latents.ndim < 2 or not latents.is_floating_point():
        raise ValueError(
            f"latents must be floating point (B, C, *spatial), not {latents.dtype} {tuple(latents.shape)}"
        )
    if not latents.is_meta and not bool(latents.isfinite().all()):
        raise ValueError("latents hold values that are not finite")


def _whole_interval(sigmas: Sequence[float] | Tensor) -> Tensor:
    """The two steps of an adaptive solver: from the first to the last positive noise level, and from there to 0."""
    levels = torch.as_tensor(sigmas, dtype=torch.float64)
    if levels.ndim != 1 or len(levels) < 3:
        raise ValueError("an adaptive solver needs at least two positive noise levels, to start and to end at")
    return levels[[0, -2, -1]]
