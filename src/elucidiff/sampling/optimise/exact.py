"""The exact ODE solution from each of some seeds, and the error of a solver as a function of its noise levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, as_denoiser
from elucidiff.denoisers.conditions import Conditions, selected
from elucidiff.denoisers.shapes import Labels
from elucidiff.denoisers.tuned import refuse_tuned
from elucidiff.design import steps
from elucidiff.design.schedules import Schedule
from elucidiff.sampling.checks import FiniteTrace, seed_names
from elucidiff.sampling.fixed_batch import FixedBatch
from elucidiff.sampling.grid import noise_grid
from elucidiff.sampling.loop import Step, sample
from elucidiff.sampling.ode import probability_flow
from elucidiff.sampling.seeds import begin
from elucidiff.solvers import Solver
from elucidiff.solvers.unipc import UniPC

# With so many steps the error of this solver is 1e-5 on networks that were tried, which is where float32 ends;
# Heun's method needs 1,000 evaluations for that.
FINE_STEPS, _SOLVER = 128, UniPC(3)
_CHECKED = 16  # seeds whose solutions are compared with those of half as many steps
PATH_EVERY, PATH_ROWS = 4, 8


@dataclass(frozen=True)
class Waypoint:
    """The exact paths of a few seeds at one noise level.

    Attributes:
        sigma: the noise level; 0 at the end.
        x: the samples there, (B, C, *spatial), with sigma(t) = t and s(t) = 1.
        denoised: D(x; sigma); ``x`` itself at the end.
    """

    sigma: float
    x: Tensor
    denoised: Tensor


@dataclass(frozen=True)
class ExactSolutions:
    """Latents, labels, and the exact solution of the probability-flow ODE (Karras et al. 2022, Eq. 1) from each.

    Every schedule and scaling leads to the same solution, so one set serves all solvers. It ends at
    D(x; sigma_min), as the steps of the paper do, whatever D may say below that.

    Attributes:
        denoiser: D, called on batches of one size.
        seeds: one a sample.
        latents: unit Gaussian noise (B, C, *spatial).
        labels: rows (B, label_dim) or (1, label_dim), or other conditions, or None.
        sigma_min, sigma_max: range of noise levels between which a sampler may choose.
        x: the solutions at sigma = 0, (B, C, *spatial).
        path: waypoints of the first few seeds, from sigma_max to 0.
        error: root mean square error of ``x``, at most about.
    """

    denoiser: FixedBatch
    seeds: Sequence[int]
    latents: Tensor
    labels: Conditions | None
    sigma_min: float
    sigma_max: float
    x: Tensor
    path: tuple[Waypoint, ...]
    error: float

    @property
    def std(self) -> float:
        """Standard deviation of the solutions, all values taken together."""
        return float(self.x.std())


def refuse_without_ode(denoiser: DenoiserLike) -> None:
    """Raise ValueError if ``denoiser`` was tuned for few evaluations: there is nothing to solve exactly."""
    refuse_tuned(
        as_denoiser(denoiser, called=False),
        "the distance to its solution",
        "measure the quality of samples instead (--metrics fid; for noise levels `elucidiff search MODEL --over "
        "steps.sigma_min=0.3:4:log`), or take the model that it was tuned from",
    )


def solve_exactly(
    denoiser: DenoiserLike,
    seeds: Sequence[int],
    sigma_min: float,
    sigma_max: float,
    *,
    labels: Labels | Conditions | int | str | None = None,
    any_class: bool = False,
    shape: Sequence[int] | None = None,
    batch_size: int = 16,
    device: torch.device | None = None,
    fine_steps: int = FINE_STEPS,
    between: Callable[[], object] = lambda: None,
) -> ExactSolutions:
    """Follow the ODE from each seed's latent in many steps of high order, which is as good as exactly.

    What changed since half of the steps is more than what is left: the error falls with the fourth power of the
    number of steps if D is smooth, and still with the first where guidance begins and ends at once.

    Args:
        denoiser: as for :meth:`.Sampler.run`; a module is used where it is.
        seeds: one integer a sample; latents and labels are drawn from them as sampling does.
        sigma_min: lowest noise level before 0.
        sigma_max: the noise level at which the latents are.
        labels: as for :meth:`.Sampler.run`.
        any_class: likewise.
        shape: shape (C, *spatial) of a sample; by default the denoiser's ``sample_shape``.
        batch_size: samples in one call of the denoiser.
        device: where the denoiser is; by default where its weights are.
        fine_steps: number of steps; a multiple of 8.
        between: called after each step; may raise to end the work.

    Raises:
        ValueError: shape or labels do not fit, there are no seeds, or the denoiser gave values that are not finite.
    """
    refuse_without_ode(denoiser)
    beginning = begin(denoiser, seeds, labels, shape, device, any_class=any_class)
    latents, rows = beginning.latents, beginning.labels
    batches = FixedBatch(denoiser, batch_size)
    path: list[Waypoint] = []

    def keep(step: Step) -> None:
        between()
        if step.index % PATH_EVERY == 0:
            path.append(Waypoint(step.sigma, step.x[:PATH_ROWS], step.denoised[:PATH_ROWS]))

    def solve(
        latents: Tensor, rows: Conditions | None, n: int, callback: Callable[[Step], None] | None = None
    ) -> Tensor:
        levels = steps.karras(n, sigma_min, sigma_max)
        return sample(
            batches, latents, levels, solver=_SOLVER, labels=rows, callback=callback, names=seed_names(seeds)
        )

    x = solve(latents, rows, fine_steps, keep)
    path.append(Waypoint(0.0, x[:PATH_ROWS], x[:PATH_ROWS]))
    some = None if rows is None else selected(rows, slice(_CHECKED), len(latents))
    coarse = solve(latents[:_CHECKED], some, fine_steps // 2)
    error = float((x[:_CHECKED] - coarse).square().mean().sqrt())
    return ExactSolutions(batches, seeds, latents, rows, sigma_min, sigma_max, x, tuple(path), error)


@dataclass(frozen=True)
class Run:
    """A solver's run from all seeds.

    Attributes:
        sigmas: the noise levels, (N + 1,).
        residual: how far each value of each sample is from the exact solution, (P,).
        nfe: network evaluations per sample.
        places: for each step the samples from which it starts, and what the solver remembered.
    """

    sigmas: Tensor
    residual: Tensor
    nfe: int
    places: tuple[tuple[Tensor, Any], ...]

    @property
    def error(self) -> float:
        """Root mean square of the residual, in units of the data."""
        return float(self.residual.square().mean().sqrt())


@dataclass(frozen=True)
class EndError:
    """The distance between a solver's samples and the exact solutions.

    Args:
        exact: the exact solutions.
        solver: takes the steps.
        schedule: the curve that it follows.
    """

    exact: ExactSolutions
    solver: Solver
    schedule: Schedule

    @torch.no_grad()
    def __call__(self, sigmas: Tensor, before: Run | None = None, first: int = 0) -> Run:
        """Take all steps between ``sigmas``, or only those from step ``first`` on.

        Args:
            sigmas: noise levels (N + 1,), decreasing, the last 0.
            before: a run of as many steps whose noise levels are those of ``sigmas`` up to number ``first``.
            first: the step to begin with; the ones before are taken from ``before``.

        Raises:
            ValueError: the denoiser gave values that are not finite.
        """
        exact = self.exact
        grid = noise_grid(exact.denoiser, self.schedule, sigmas, None, exact.latents.device)
        ode = probability_flow(exact.denoiser, self.schedule, exact.latents, exact.labels, None)
        if before is None:
            x = exact.latents.to(exact.x.dtype) * (grid[0].sigma * float(self.schedule.scale(grid[0].t)))
            places: list[tuple[Tensor, Any]] = [(x, None)]
        else:
            places = list(before.places[: first + 1])
        for level in grid[len(places) - 1 :]:
            advance = self.solver.step(ode, *places[-1][:1], level.t_hat, level.t_next, places[-1][1])
            places.append((advance.x, advance.state))
        x, _ = places.pop()
        residual = (x - exact.x).flatten()
        trace = FiniteTrace()
        for level, (later, _) in zip(grid, [*places[1:], (x, None)], strict=True):
            trace.note(level.sigma, later)
        trace.check(x, seed_names(exact.seeds))
        nfe = int(torch.as_tensor(ode.evaluations.nfe).max())
        return Run(sigmas, residual, nfe, tuple(places))
