"""A denoiser in closed form, whose ODE curves enough for noise levels to matter."""

from __future__ import annotations

import torch

from elucidiff.denoisers.ideal import GaussianMixture


def mixture(classes: int = 0) -> GaussianMixture:
    """Four narrow Gaussians in two dimensions, of different sizes."""
    means = torch.tensor([[1.0, 0.4], [-0.7, 0.9], [-0.5, -1.0], [0.8, -0.6]], dtype=torch.float64)
    spreads = torch.tensor([0.02, 0.05, 0.01, 0.1], dtype=torch.float64)
    covariances = spreads[:, None, None] * torch.eye(2, dtype=torch.float64)
    labels = torch.arange(4) % classes if classes else None
    return GaussianMixture(means[:, None], covariances, torch.tensor([0.3, 0.2, 0.3, 0.2]), labels)
