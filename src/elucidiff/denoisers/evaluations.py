"""What a call of a denoiser costs: the one place that knows that some evaluate two networks, and not always."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elucidiff.devices import onto


def evaluations_of(denoiser: Any, sigma: Tensor) -> Tensor:
    """Network evaluations, of each sample, that one call of ``denoiser`` at these noise levels costs.

    Args:
        denoiser: D. Its ``evaluations(sigma)`` is asked if it has one; others cost 1.
        sigma: noise levels, () or (B,), in the type in which the denoiser is told them.

    Returns:
        Integers, shaped like ``sigma``.
    """
    if _counts_itself(denoiser):
        counted: Tensor = denoiser.evaluations(sigma)
        return counted
    return torch.ones_like(sigma, dtype=torch.int64)


def told(denoiser: Any, sigma: float | Tensor, x: Tensor) -> Tensor:
    """Noise levels as ``denoiser`` is to be told them along with ``x``: in its type and on its device.

    A denoiser that counts its evaluations decides by the noise level what to evaluate. It is told noise levels where
    they are, which is on the CPU in a sampler, so that it need not wait for an accelerator.
    """
    levels = torch.as_tensor(sigma, dtype=x.dtype)
    return levels if _counts_itself(denoiser) else onto(levels, x.device)


def _counts_itself(denoiser: Any) -> bool:
    return hasattr(denoiser, "evaluations")
