"""Whether a backend computes what the network is: looked at once, before anything is drawn with it."""

from __future__ import annotations

import torch
from torch import Tensor

from elucidiff.denoisers.preconditioned import Denoiser

TOLERANCE = 1e-4
"""The largest difference that rounding may make, relative to the largest value (or to 1, if that is more)."""

_LEVELS = (2e-3, 80.0)


def check_agreement(made: Denoiser, denoiser: Denoiser, batch: int, device: torch.device) -> None:
    """Compare two denoisers on one random batch, of noise levels over the whole range.

    Args:
        made: the one that a backend computes.
        denoiser: the one that it was made of.
        batch: samples to compare.
        device: where both are.

    Raises:
        ValueError: they differ by more than :data:`TOLERANCE`.
    """
    difference = _difference(made, denoiser, batch, device)
    if not difference <= TOLERANCE:
        raise ValueError(
            f"it returns other numbers: they differ by {difference:.1e} of the largest, and rounding by {TOLERANCE:g}"
        )


@torch.no_grad()
def _difference(made: Denoiser, denoiser: Denoiser, batch: int, device: torch.device) -> float:
    generator = torch.Generator().manual_seed(0)
    low, high = (min(max(level, denoiser.sigma_min), denoiser.sigma_max) for level in _LEVELS)
    sigma = torch.linspace(0, 1, batch, dtype=torch.float64).mul(torch.tensor(high / low).log()).exp().mul(low)
    x = torch.randn((batch, *denoiser.sample_shape), generator=generator)
    x = x * (1 + sigma.square()).sqrt().float().reshape(-1, *[1] * (x.ndim - 1))
    labels: Tensor | None = None
    if denoiser.label_dim:
        classes = torch.arange(batch) % denoiser.label_dim
        labels = torch.nn.functional.one_hot(classes, denoiser.label_dim).float()
    given = (x.to(device), sigma.to(device, torch.float32), None if labels is None else labels.to(device))
    expected, found = denoiser(*given), made(*given)
    if not bool(expected.isfinite().all()):
        return 0.0  # the network itself fails, which whoever draws with it says better
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1.0))
