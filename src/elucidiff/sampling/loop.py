"""The sampling loop: Karras et al. 2022, Algorithm 2, for any schedule, scaling and solver."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, DenoiserModule, as_denoiser
from elucidiff.denoisers.clipping import Clipped, Clipping, UsualClip
from elucidiff.denoisers.conditions import Conditions
from elucidiff.design.schedules import EDM, Schedule
from elucidiff.design.steps import Steps
from elucidiff.devices import state_type
from elucidiff.parts import resolve
from elucidiff.sampling.checks import (
    FiniteTrace,
    Names,
    check_arguments,
    check_combination,
    check_history,
    count_from,
    is_count,
    latents_from,
    numbered,
    schedule_from,
    seed_names,
    solver_from,
)
from elucidiff.sampling.churn import Churn, Restart
from elucidiff.sampling.grid import levels_from, noise_grid, start_of, warn_of_range
from elucidiff.sampling.ode import from_infinity, probability_flow, steps_from_infinity
from elucidiff.sampling.seeds import SeededNoise, begin, noise_for
from elucidiff.solvers import Heun, Solver

Noise = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Step:
    """A step, as a callback gets it. With scaling, ``x`` and ``x_hat`` are scaled, ``denoised`` is not.

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

    >>> import elucidiff as ed
    >>> seen = []
    >>> denoiser = ed.ideal.DataPosterior(torch.tensor([[-1.0], [1.0]]))
    >>> x = ed.sample(denoiser, 1, [80.0, 1.0, 0.0], callback=seen.append)
    >>> [(step.index, step.sigma, step.nfe) for step in seen]
    [(0, 80.0, 2), (1, 1.0, 3)]
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


@dataclass(frozen=True)
class SampleResult:
    """The result of a run.

    Attributes:
        x: the samples (B, C, *spatial), float64 (float32 on a device without it); images are in [-1, 1].
        nfe: network evaluations per sample: one number, or (B,) from an adaptive solver.
        seeds: the seed of each sample.
        labels: the labels used, rows (B, label_dim), or (1, label_dim) for all, or None. Where the data number the
            classes otherwise than 0 to label_dim - 1, the columns are these numbers: see
            :meth:`.KnownLabels.by_number`. Conditions are those that were given.
        sigmas: the noise levels asked for, (N + 1,) float64, within the denoiser's range.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.DataPosterior(torch.tensor([[-1.0], [1.0]]))
    >>> result = ed.Sampler(steps=ed.steps.Karras(6)).run(denoiser, seeds=range(3))
    >>> result.x.shape, result.nfe, result.seeds, len(result.sigmas)
    (torch.Size([3, 1]), 11, [0, 1, 2], 7)
    """

    x: Tensor
    nfe: int | Tensor
    seeds: list[int]
    labels: Conditions | None
    sigmas: Tensor

    @property
    def nfe_each(self) -> Tensor:
        """Network evaluations of each sample (B,), integers, on the CPU."""
        return torch.as_tensor(self.nfe).cpu().expand(len(self.seeds))


@dataclass(frozen=True)
class Prepared:
    """A :class:`.Sampler` made ready for one denoiser: the choices among the arguments of :func:`sample`.

    Attributes:
        sigmas: noise levels (N + 1,), float64.
        solver: takes the steps.
        schedule: sigma(t) and s(t).
        churn: noise to add, or None.
        restarts: parts of the run to repeat.
    """

    sigmas: Tensor
    solver: Solver
    schedule: Schedule
    churn: Churn | None = None
    restarts: tuple[Restart, ...] = ()

    def sample(
        self,
        denoiser: DenoiserLike,
        latents: Tensor,
        *,
        labels: Conditions | None = None,
        noise: Noise | None = None,
        callback: Callable[[Step], object] | None = None,
        batch_size: int | None = 16,
        names: Names | None = None,
    ) -> Tensor:
        """Draw samples by these choices; see :func:`sample` for the arguments, and for what it raises."""
        return sample(
            denoiser,
            latents,
            self.sigmas,
            solver=self.solver,
            schedule=self.schedule,
            churn=self.churn,
            restarts=self.restarts,
            labels=labels,
            noise=noise,
            callback=callback,
            batch_size=batch_size,
            names=names,
        )


@torch.no_grad()
def sample(
    denoiser: DenoiserLike,
    latents: Tensor | npt.NDArray[np.floating] | int,
    sigmas: Steps | str | Sequence[float] | Tensor | None = None,
    *,
    solver: Solver | str | None = None,
    schedule: Schedule | str = EDM(),  # noqa: B008 (frozen)
    churn: Churn | None = None,
    restarts: Sequence[Restart] = (),
    clip: Clipping | str | float | None = UsualClip(),  # noqa: B008 (frozen)
    labels: Conditions | None = None,
    noise: Noise | None = None,
    callback: Callable[[Step], object] | None = None,
    batch_size: int | None = 16,
    dtype: torch.dtype = torch.float64,
    names: Names | None = None,
) -> Tensor:
    """Draw samples by following the probability-flow ODE from noise to data: Karras et al. 2022, Algorithms 1 and 2.

    Algorithm 2 is written for sigma = t, s = 1. For other schedules noise is raised to the same levels, and scaled.

    Args:
        denoiser: D, called as ``denoiser(x, sigma)`` or, with labels, ``denoiser(x, sigma, labels)``. If it has a
            method ``round_sigma``, all noise levels of the grid, raised ones included, pass through it.
        latents: unit Gaussian noise (B, C, *spatial), a tensor on the denoiser's device or a NumPy array. Or how many
            samples: then latents, labels that are not given, and noise are drawn from the seeds 0, 1, 2, ..., as
            :meth:`.Sampler.run` draws them, for a denoiser that states its ``sample_shape``.
        sigmas: noise levels (N + 1,), decreasing, the last 0; or steps, such as ``ed.steps.Karras(18)`` or
            "karras:n=18", within the denoiser's range; see :mod:`elucidiff.design.steps`. By default 18 karras steps;
            if neither they nor ``solver``, ``churn`` or ``restarts`` are given, what the model itself says
            (:meth:`.Sampler.usual`). The first
            level may be infinite, for a denoiser that has an answer to pure noise (rectified flow, zero terminal
            SNR). One-step solvers on the flow schedule go from there as from anywhere; for all others the first step
            is the exact one for a denoised image that does not change, to D + sigma_1 n.
        solver: takes the steps; an object, a name or a text form, such as "rk2:alpha=0.5" (Heun's); see
            :mod:`elucidiff.solvers`.
        schedule: sigma(t) and s(t), the curve in (t, x) that the solver follows; an object, or a name such as "vp".
        churn: noise to add before each step; None for none.
        restarts: parts of the run to repeat with fresh noise.
        clip: how D is held within a range, an object or a text form such as "clamp" or "threshold:ratio=0.99"; None
            for not at all. By default as the model itself says where its noise levels and solver are its own, too,
            and not at all where you choose them.
        labels: class indices (B,) or rows (B, label_dim); for a denoiser that takes conditions, or says nothing, any
            tensor or mapping of tensors, (B, ...), or (1, ...) for all samples.
        noise: called as ``noise(x, index)`` once a step for unit Gaussian noise like ``x``, also at steps outside
            the churn's range, so that a generator advances evenly; never called if no step is raised. A stochastic
            solver's own noise is one more call at each step. By default each sample has its own generator, seeded by
            its latent; pass :class:`.SeededNoise` to choose the seeds.
        callback: called with a :class:`Step` after each step.
        batch_size: number of samples in every call of a denoiser that is an ``nn.Module``, smaller batches padded, so
            that a sample's bits do not depend on the others: see :class:`.FixedBatch`. A larger one suits
            accelerators, but gives other last bits; None calls the denoiser on all samples at once, as is always done
            with other callables.
        dtype: floating type of the solver's state, float64 or float32; float64 becomes float32 on a device without
            it.
        names: what to call each sample in messages; by default by its seed, or its number.

    Returns:
        The samples, (B, C, *spatial), of type ``dtype``; all finite.

    Raises:
        TypeError: an argument is not of its kind.
        ValueError: an argument is out of its range, not finite, or does not fit the others; or
            (:class:`.NotFiniteError`) a sample became NaN or infinite: the message says at which step.

    >>> import elucidiff as ed
    >>> points = torch.tensor([[-1.0], [1.0]])
    >>> x = ed.sample(ed.ideal.DataPosterior(points), torch.tensor([[-0.5], [0.9]]), ed.steps.karras(18))
    >>> x.round(decimals=3).flatten().tolist()
    [-1.0, 1.0]
    """
    denoiser = as_denoiser(denoiser)
    check_arguments(churn, restarts, noise, callback)
    if sigmas is None and solver is None and churn is None and not restarts:
        usual = denoiser.usual
        sigmas, solver, usual_clip = usual.steps, usual.solver, usual.clip
    else:
        usual_clip = None
    if clip is not None and (held := resolve("clip", clip).beside(usual_clip)) is not None:
        denoiser = Clipped(denoiser, held)
    solver, schedule = solver_from(Heun() if solver is None else solver), schedule_from(schedule)
    if is_count(latents):
        beginning = begin(denoiser, range(count_from(latents)), labels, None, None)
        latents, labels = beginning.latents, beginning.labels
        noise = beginning.noise if noise is None else noise
    latents = latents_from(latents)
    check_combination(solver, churn, restarts)
    sigmas = levels_from(sigmas, denoiser)
    warn_of_range(sigmas, denoiser, frames=2)  # itself, and what no_grad makes of it
    sigmas = _whole_interval(sigmas, schedule, solver) if solver.adaptive else sigmas
    dtype = state_type(latents.device, dtype)
    grid = noise_grid(denoiser, schedule, sigmas, churn, latents.device, restarts)
    check_history(solver, grid)
    ode = probability_flow(denoiser, schedule, latents, labels, batch_size)
    raised = any(level.std > 0 for level in grid)
    unseeded = noise is None
    noise = noise_for(latents) if noise is None and (raised or solver.stochastic) else noise
    names = names or (seed_names(noise.seeds) if isinstance(noise, SeededNoise) and not unseeded else numbered)
    trace = FiniteTrace()

    # x_0 ~ N(0, sigma(t_0)^2 s(t_0)^2 I)
    x = latents.to(dtype) * start_of(grid, schedule)
    state = None
    for index, level in enumerate(grid):
        # Raise the noise level from t to t_hat (lines 4 to 6).
        x_hat = x
        if raised and noise is not None:
            epsilon = noise(x, index)
            if level.std > 0:
                x_hat = level.rescale * x + level.std * epsilon
        # Step from t_hat to t_next (lines 7 to 11).
        if math.isinf(level.sigma) and not steps_from_infinity(solver, schedule):
            step = from_infinity(ode, x_hat, level.t_next)
        else:
            step = solver.step(ode, x_hat, level.t_hat, level.t_next, None if level.restarts else state)
        if callback is not None:
            place = (level.t, level.sigma, x, level.t_hat, level.sigma_hat, x_hat)
            callback(Step(index, *place, step.denoised, ode.evaluations.nfe))
        x, state = step.x, step.state
        if solver.stochastic and noise is not None:
            x = x + step.std * noise(x, index)
        trace.note(level.sigma, x)
    trace.check(x, names)
    return x


def _whole_interval(levels: Tensor, schedule: Schedule, solver: Solver) -> Tensor:
    """The steps of an adaptive solver: from the first to the last positive noise level, and from there to 0.

    Where it cannot begin in pure noise, the step from there to the second level is one by itself.
    """
    if levels.ndim != 1 or len(levels) <= 3:
        return levels
    alone = bool(levels[0].isinf()) and not steps_from_infinity(solver, schedule)
    return levels[[0, 1, -2, -1] if alone else [0, -2, -1]]


def count_evaluations(prepared: Prepared, denoiser: DenoiserLike) -> int:
    """Network evaluations per sample of a run: counted, on one number instead of an image.

    Those of an adaptive solver depend on the samples, and are more than what is counted here.

    Args:
        prepared: the run.
        denoiser: is asked what a call costs, which under guidance depends on the noise level.
    """
    counted = 0

    def count(step: Step) -> None:
        nonlocal counted
        counted = int(torch.as_tensor(step.nfe).max())

    prepared.sample(_CostOnly(denoiser), torch.zeros(1, 1), callback=count)
    return counted


class _CostOnly(DenoiserModule):
    """A denoiser that answers 0, at the cost of another one, for samples of any shape."""

    depends_on_batch = False

    def __init__(self, denoiser: DenoiserLike) -> None:
        super().__init__()
        self.evaluations = as_denoiser(denoiser).evaluations  # type: ignore[method-assign]

    def forward(self, x: Tensor, sigma: Tensor, labels: Conditions | None = None) -> Tensor:
        return torch.zeros_like(x)
