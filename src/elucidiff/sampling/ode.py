"""The probability-flow ODE of any schedule and scaling: Karras et al. 2022, Eq. 4.

Times and noise levels stay on the CPU, where a solver can decide by them; only the samples live on the device. So a
solver with fixed steps never waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers.evaluations import evaluations_of, told
from elucidiff.denoisers.known_labels import known_labels
from elucidiff.denoisers.shapes import check_label_count
from elucidiff.design.schedules import Schedule
from elucidiff.devices import onto
from elucidiff.sampling.chunks import FixedBatch
from elucidiff.solvers.base import Time, coefficient


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
        denoiser: D, called as ``denoiser(x, sigma)`` or, with labels, ``denoiser(x, sigma, labels)``.
        schedule: sigma(t) and s(t).
        batch: number of samples B.
        labels: class labels, one row a sample, or None.
        rows: indices (on the CPU) of the samples that this ODE is about, or None for all; see :meth:`select`.
    """

    denoiser: Callable[..., Tensor]
    schedule: Schedule
    batch: int
    labels: Tensor | None = None
    rows: Tensor | None = None
    evaluations: Evaluations = field(default_factory=Evaluations)

    def select(self, rows: Tensor) -> ProbabilityFlow:
        """The same ODE for the samples with the indices ``rows`` (on the CPU) alone; evaluations count here too."""
        labels = self.labels
        if labels is not None and len(labels) == self.batch:
            labels = labels[onto(rows, labels.device)]
        return replace(self, labels=labels, rows=rows)

    def denoise(self, x: Tensor, t: Time) -> Tensor:
        """D(x/s; sigma) at time ``t`` in the type of ``x``: one network evaluation, or as many as the denoiser says.

        D depends on sigma^2, so a sigma below 0, to which an odd schedule may lead, is asked for as -sigma. Where
        sigma is infinite, ``x`` is the noise itself, of unit variance, and the denoiser is told that: D(x; infinity).

        Raises:
            ValueError: the denoiser returned another shape than that of ``x``.
        """
        sigma, scale = at_times(t, self.schedule.sigma, self.schedule.scale)
        level = sigma.abs()
        return self.ask(x / coefficient(torch.where(level.isinf(), 1.0, scale), x), level)

    def ask(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x; sigma) for unscaled ``x`` at noise levels ``sigma``, on the CPU; see :meth:`denoise`."""
        sigma = sigma.to(x.dtype)
        cost = evaluations_of(self.denoiser, sigma)
        sigma = told(self.denoiser, sigma, x)
        arguments = (x, sigma) if self.labels is None else (x, sigma, self.labels)
        denoised = self.denoiser(*arguments)
        self.evaluations.count(cost, self.rows, self.batch)
        if denoised.shape != x.shape:
            raise ValueError(f"the denoiser returned shape {tuple(denoised.shape)} for {tuple(x.shape)}")
        return denoised.to(x.dtype)

    def velocity(self, x: Tensor, t: Time, denoised: Tensor) -> Tensor:
        """dx/dt at ``x`` and ``t``, given D(x/s; sigma) there."""
        of_x, of_denoised = at_times(t, lambda t: self.schedule.ode(t)[0], lambda t: self.schedule.ode(t)[1])
        return coefficient(of_x, x) * x - coefficient(of_denoised, x) * denoised

    def norm(self, values: Tensor) -> Tensor:
        """The size of each sample of ``values``, (B,), by which an adaptive solver judges errors: root mean square.

        Row by row, since the order in which a joint reduction sums depends on the size of the batch.
        """
        return torch.stack([torch.linalg.vector_norm(row.flatten()) for row in values]) / math.sqrt(values[0].numel())


def probability_flow(
    denoiser: Callable[..., Tensor],
    schedule: Schedule,
    latents: Tensor,
    labels: Any | None,
    batch_size: int | None,
) -> ProbabilityFlow:
    """The ODE for a batch, with the labels checked and made into rows once, before the work starts.

    A denoiser that is a module is called on ``batch_size`` samples at a time (None: on all), since the last bits of a
    network's output depend on the size of its batch. Other callables are called as they are.

    Raises:
        ValueError: the labels do not fit the denoiser or the batch, or ``batch_size`` is not positive.
    """
    if labels is not None:
        if getattr(denoiser, "label_dim", None) is not None:
            labels = known_labels(denoiser).rows(labels)
        labels = torch.as_tensor(labels)
        check_label_count(labels, latents)
        labels = labels.to(latents.device)
    if batch_size is not None and isinstance(denoiser, nn.Module):
        denoiser = FixedBatch(denoiser, batch_size)
    return ProbabilityFlow(denoiser, schedule, len(latents), labels)


def at_times(t: Time, *functions: Callable[[Time], Tensor]) -> list[Tensor]:
    """Values of functions of time.

    A vector of times is padded to whole multiples of the processor's vectors: elements beyond may be computed by
    other code, with another last bit, and a sample would depend on its place in the batch.
    """
    if not isinstance(t, Tensor):
        return [function(t) for function in functions]
    count = len(t)
    padded = t[torch.arange(count + -count % 64).clamp_max(count - 1)]
    return [function(padded)[:count] for function in functions]
