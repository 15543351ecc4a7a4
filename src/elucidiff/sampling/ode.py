"""The probability-flow ODE of any schedule and scaling: Karras et al. 2022, Eq. 4.

Times and noise levels stay on the CPU, where a solver can decide by them; only the samples live on the device. So a
solver with fixed steps never waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from elucidiff.denoisers.base import AnyDenoiser, DenoiserLike, as_denoiser, ask
from elucidiff.denoisers.conditions import Conditions, check_count, each, selected
from elucidiff.design.schedules import Schedule
from elucidiff.sampling.fixed_batch import FixedBatch
from elucidiff.solvers.base import Solver, StepResult, Time, coefficient


@dataclass
class Evaluations:
    """Network evaluations per sample, counted where they happen."""

    of_all: int = 0
    of_some: Tensor | None = None

    def count(self, cost: Tensor, rows: Tensor | None, batch: int) -> None:
        """Note ``cost`` evaluations, () or one a sample, of all samples or of the ``rows`` among ``batch``."""
        if rows is None and cost.ndim == 0:
            self.of_all += int(cost)
        else:
            self.of_some = torch.zeros(batch, dtype=torch.int64) if self.of_some is None else self.of_some
            self.of_some[slice(None) if rows is None else rows] += cost

    @property
    def nfe(self) -> int | Tensor:
        """Evaluations so far: one number if it is the same for all samples, else (B,)."""
        return self.of_all if self.of_some is None else self.of_all + self.of_some


@dataclass(frozen=True)
class ProbabilityFlow:
    """dx/dt = (sigma'/sigma + s'/s) x - (sigma' s / sigma) D(x/s; sigma): Karras et al. 2022, Eq. 4.

    An :class:`.ODE`, as solvers see it.

    Args:
        denoiser: D.
        schedule: sigma(t) and s(t).
        batch: number of samples B.
        labels: label rows or other conditions, one a sample or one for all; or None.
        rows: indices (on the CPU) of the samples that this ODE is about, or None for all; see :meth:`select`.
    """

    denoiser: AnyDenoiser
    schedule: Schedule
    batch: int
    labels: Conditions | None = None
    rows: Tensor | None = None
    evaluations: Evaluations = field(default_factory=Evaluations)

    def select(self, rows: Tensor) -> ProbabilityFlow:
        """The same ODE for the samples with the indices ``rows`` (on the CPU) alone; evaluations count here too."""
        labels = None if self.labels is None else selected(self.labels, rows, self.batch)
        return replace(self, labels=labels, rows=rows)

    def denoise(self, x: Tensor, t: Time) -> Tensor:
        """D(x/s; sigma) at time ``t`` in the type of ``x``: one network evaluation, or as many as the denoiser says.

        D depends on sigma^2, so a sigma below 0, to which an odd schedule may lead, is asked for as -sigma. Where
        sigma is infinite, ``x`` is the noise itself, of unit variance, and the denoiser is told that: D(x; infinity).

        Raises:
            ValueError: the denoiser returned another shape than that of ``x``.
        """
        sigma, scale = at_times(t, lambda t: (self.schedule.sigma(t), self.schedule.scale(t)))
        level = sigma.abs()
        return self.ask(x / coefficient(torch.where(level.isinf(), 1.0, scale), x), level)

    def ask(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x; sigma) for unscaled ``x`` at noise levels ``sigma``, on the CPU; see :meth:`denoise`."""
        sigma = sigma.to(x.dtype)
        cost = self.denoiser.evaluations(sigma)
        denoised = ask(self.denoiser, x, sigma, self.labels)
        self.evaluations.count(cost, self.rows, self.batch)
        if denoised.shape != x.shape:
            raise ValueError(f"the denoiser returned shape {tuple(denoised.shape)} for {tuple(x.shape)}")
        return denoised.to(x.dtype)

    def velocity(self, x: Tensor, t: Time, denoised: Tensor) -> Tensor:
        """dx/dt at ``x`` and ``t``, given D(x/s; sigma) there."""
        of_x, of_denoised = at_times(t, self.schedule.ode)
        return coefficient(of_x, x) * x - coefficient(of_denoised, x) * denoised

    def norm(self, values: Tensor) -> Tensor:
        """The size of each sample of ``values``, (B,), by which an adaptive solver measures errors: root mean square.

        Row by row, since the order in which a joint reduction sums depends on the size of the batch.
        """
        return torch.stack([torch.linalg.vector_norm(row.flatten()) for row in values]) / math.sqrt(values[0].numel())


def probability_flow(
    denoiser: DenoiserLike,
    schedule: Schedule,
    latents: Tensor,
    labels: object | None,
    batch_size: int | None,
) -> ProbabilityFlow:
    """The ODE for a batch, with the labels checked and made into rows once, before the work starts.

    A denoiser whose bits depend on the size of the batch, as those of a module may, is called on ``batch_size``
    samples at a time (None: on all). Other callables are called as they are.

    Raises:
        ValueError: the labels do not fit the denoiser or the batch, or ``batch_size`` is not positive.
    """
    described = as_denoiser(denoiser)
    conditions = None
    if labels is not None:
        given = described.known_labels.resolved(labels)
        check_count(given, len(latents))
        conditions = each(given, lambda value: value.to(latents.device))
    if batch_size is not None and described.depends_on_batch:
        described = FixedBatch(described, batch_size)
    return ProbabilityFlow(described, schedule, len(latents), conditions)


def at_times(t: Time, function: Callable[[Time], Sequence[Tensor]]) -> Sequence[Tensor]:
    """Values of a function of time.

    A vector of times is padded to whole multiples of the processor's vectors: elements beyond may be computed by
    other code, with another last bit, and a sample would depend on its place in the batch.
    """
    if not isinstance(t, Tensor):
        return function(t)
    count = len(t)
    padded = t[torch.arange(count + -count % 64).clamp_max(count - 1)]
    return [values[:count] for values in function(padded)]


def steps_from_infinity(solver: Solver, schedule: Schedule) -> bool:
    """True if the ODE is finite in pure noise, and ``solver`` follows it from there as from anywhere.

    It is on the flow schedule, where dx/dt = (x - D) / t begins at t = 1 with unit noise, for solvers that go by it.
    Others work in y = x / s and sigma, which are infinite.
    """
    t = float(schedule.time(math.inf))
    return solver.begins_at_infinity and math.isfinite(t) and bool(torch.stack(schedule.ode(t)).isfinite().all())


def from_infinity(ode: ProbabilityFlow, x: Tensor, t_next: float) -> StepResult:
    """The exact solution for a denoised image that does not change: y' = D(n; infinity) + sigma' n, with y = x / s.

    That is DDIM's step. Its error is of second order in the flow schedule's time, so those of second-order methods
    stay of theirs.

    Args:
        ode: evaluates D.
        x: unit noise n.
        t_next: end of the step.
    """
    schedule = ode.schedule
    denoised = ode.ask(x, torch.tensor(math.inf, dtype=torch.float64))
    sigma, scale = float(schedule.sigma(t_next)), float(schedule.scale(t_next))
    return StepResult(scale * (denoised + sigma * x), denoised)
