"""The error of single steps, by noise level and by rho (Karras et al. 2022, App. D.1 and Fig. 13)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.shapes import Labels
from elucidiff.design import steps
from elucidiff.design.schedules import EDM
from elucidiff.sampling.checks import seed_names
from elucidiff.sampling.fixed_batch import FixedBatch
from elucidiff.sampling.grid import clamp_range
from elucidiff.sampling.loop import Step, sample
from elucidiff.sampling.ode import probability_flow
from elucidiff.sampling.seeds import begin
from elucidiff.solvers import Heun, Solver
from elucidiff.solvers.unipc import UniPC

Array = npt.NDArray[np.float64]

RHOS = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0)
_FINE, _LEAST, _FINE_SOLVER = 160, 8, UniPC(3)
"""All steps together are solved exactly by so many steps of this method, or so many each where that is more: for a
float32 network that is as good as exactly."""


@dataclass(frozen=True)
class StepErrors:
    """Errors of karras steps (Karras et al. 2022, Eq. 5) with some rho, in units of the data.

    Attributes:
        rho: the exponents, ``(R,)``.
        sigma: where each step starts, ``(R, N - 1)``. The last step of all, to 0, has no error: it ends at the
            denoised image by definition.
        local: root mean square error of a single step from the exact solution, ``(R, N - 1)``.
        end: root mean square distance to the exact solution after all steps, ``(R,)``.
    """

    rho: Array
    sigma: Array
    local: Array
    end: Array

    @property
    def total(self) -> Array:
        """Sum of the local errors, ``(R,)``."""
        return np.asarray(self.local.sum(1))

    @property
    def unevenness(self) -> Array:
        """Standard deviation of the local errors over their mean: 0 if all steps err alike, ``(R,)``."""
        return np.asarray(self.local.std(1) / self.local.mean(1))

    @property
    def most_even(self) -> float:
        """The rho whose steps err most alike: what the theory asks for, about 3."""
        return float(self.rho[self.unevenness.argmin()])

    @property
    def best(self) -> float:
        """The rho with which samples end nearest to the exact solutions."""
        return float(self.rho[self.end.argmin()])


def step_errors(
    denoiser: DenoiserLike,
    seeds: Sequence[int],
    *,
    n: int = 18,
    rhos: Sequence[float] = RHOS,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    solver: Solver = Heun(),  # noqa: B008 (frozen)
    labels: Labels | Conditions | int | None = None,
    shape: Sequence[int] | None = None,
    batch_size: int = 16,
    progress: Callable[[int], object] = lambda done: None,
) -> StepErrors:
    """Take single steps from the exact solution of the ODE (Karras et al. 2022, Eq. 1), and see where they end.

    Args:
        denoiser: as for :meth:`.Sampler.run`; used where it is.
        seeds: one integer a sample.
        n: number of steps N.
        rhos: exponents to compare.
        sigma_min: lowest noise level before 0, in units of the data; clamped to the denoiser's range.
        sigma_max: highest noise level, likewise.
        solver: a one-step method with fixed steps.
        labels: as for :meth:`.Sampler.run`.
        shape: shape (C, *spatial) of a sample; by default the denoiser's ``sample_shape``.
        batch_size: samples in one call of the denoiser.
        progress: called with the number of exponents that are done.

    Raises:
        ValueError: there are no exponents or fewer than 3 steps, the solver is not of that kind, labels or shape do
            not fit, or the denoiser gave values that are not finite.
    """
    if not rhos or n < 3:
        raise ValueError(
            f"{n} steps with {len(rhos)} exponents make no comparison: choose 3 steps or more, and a rho"
        )
    if solver.adaptive or solver.multistep or solver.stochastic:
        raise ValueError(f"{type(solver).__name__} takes no single steps: choose heun, euler or rk2")
    low, high = clamp_range(denoiser, sigma_min, sigma_max)
    beginning = begin(denoiser, seeds, labels, shape, None)
    batches = FixedBatch(denoiser, batch_size)
    schedule = EDM()
    sigma, local, end = [], [], []
    for done, rho in enumerate(rhos):
        levels = steps.karras(n, low, high, rho)
        exact = _exact_solution(batches, seeds, beginning.latents, beginning.labels, levels)
        ode = probability_flow(batches, schedule, beginning.latents, beginning.labels, None)
        with torch.no_grad():
            errors = [
                _rms(solver.step(ode, exact[k], t, t_next, None).x - exact[k + 1])
                for k, (t, t_next) in enumerate(zip(levels[:-2].tolist(), levels[1:-1].tolist(), strict=True))
            ]
        ours = sample(batches, beginning.latents, levels, solver=solver, labels=beginning.labels)
        sigma.append(levels[:-2].numpy())
        local.append(errors)
        end.append(_rms(ours - exact[-1]))
        progress(done + 1)
    return StepErrors(np.asarray(rhos, dtype=np.float64), np.stack(sigma), np.asarray(local), np.asarray(end))


def _exact_solution(
    denoiser: FixedBatch, seeds: Sequence[int], latents: Tensor, labels: Conditions | None, levels: Tensor
) -> list[Tensor]:
    """The solution at each of the noise levels ``(N + 1,)``."""
    found: list[Tensor] = []
    each = max(_LEAST, math.ceil(_FINE / (len(levels) - 2)))

    def keep(step: Step) -> None:
        if step.index % each == 0:
            found.append(step.x)

    x = sample(
        denoiser,
        latents,
        _refined(levels, each),
        solver=_FINE_SOLVER,
        labels=labels,
        callback=keep,
        names=seed_names(seeds),
    )
    return [*found, x]


def _refined(levels: Tensor, each: int) -> Tensor:
    """The same levels, each step but the last, to 0, in ``each`` steps that are even in their seventh root."""
    roots = levels[:-1] ** (1 / 7)
    inner = torch.arange(each, dtype=levels.dtype) / each
    between = (roots[:-1, None] + inner * roots.diff()[:, None]) ** 7
    between[:, 0] = levels[:-2]  # to the bit
    return torch.cat([between.flatten(), levels[-2:]])


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())
