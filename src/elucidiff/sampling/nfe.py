"""How many network evaluations a sample takes, found without the network."""

from __future__ import annotations

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserLike, DenoiserModule, as_denoiser
from elucidiff.denoisers.conditions import Conditions
from elucidiff.sampling.loop import Step, sample
from elucidiff.sampling.sampler import Prepared


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


class _CostOnly(DenoiserModule):
    """A denoiser that answers 0, at the cost of another one, for samples of any shape."""

    depends_on_batch = False

    def __init__(self, denoiser: DenoiserLike) -> None:
        super().__init__()
        self.evaluations = as_denoiser(denoiser).evaluations  # type: ignore[method-assign]

    def forward(self, x: Tensor, sigma: Tensor, labels: Conditions | None = None) -> Tensor:
        return torch.zeros_like(x)
