"""The loss of a model on unseen images, alike for all models, whatever they were trained with."""

from __future__ import annotations

import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.evaluation import loss_per_sigma


def held_out_loss(
    denoiser: ed.Denoiser,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    sigma_data: float = 0.5,
    quantiles: int = 24,
    batch_size: int = 50,
) -> float:
    """The loss of Karras et al. 2022, Eq. 2, with the paper's p_train and lambda (their defaults for CIFAR-10).

    The mean over the quantiles of p_train; the same images and the same noise for every model.
    """
    objective = ed.objectives.EDM(sigma_data=sigma_data)
    levels = torch.special.ndtri((torch.arange(quantiles, dtype=torch.float64) + 0.5) / quantiles)
    losses = loss_per_sigma(
        denoiser,
        images,
        objective.noise.from_base(levels),
        weight=objective.weight,
        generator=torch.Generator().manual_seed(1),
        labels=labels,
        batch_size=batch_size,
    )
    return float(losses.mean())
