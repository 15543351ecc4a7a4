"""How many network evaluations a sample takes, found without the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elucidiff.sampling.loop import Step, sample
from elucidiff.sampling.sampler import Prepared


def count_evaluations(prepared: Prepared, denoiser: Any) -> int:
    """Network evaluations per sample of a run: counted, on one number instead of an image.

    Those of an adaptive solver depend on the samples, and are more than what is counted here.

    Args:
        prepared: the run.
        denoiser: is asked what a call costs, if it says so, as under guidance.
    """
    counted = 0

    def count(step: Step) -> None:
        nonlocal counted
        counted = int(torch.as_tensor(step.nfe).max())

    sample(
        _CostOnly(denoiser),
        torch.zeros(1, 1),
        prepared.sigmas,
        solver=prepared.solver,
        schedule=prepared.schedule,
        churn=prepared.churn,
        restarts=prepared.restarts,
        callback=count,
    )
    return counted


@dataclass(frozen=True)
class _CostOnly:
    """A denoiser that answers 0, at the cost of another one."""

    denoiser: Any

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)

    @property
    def evaluations(self) -> Callable[[Tensor], Tensor]:
        """See :func:`.evaluations_of`; there is none where the other has none."""
        counted: Callable[[Tensor], Tensor] = self.denoiser.evaluations
        return counted
