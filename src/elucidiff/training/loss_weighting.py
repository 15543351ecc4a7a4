"""A weight for every noise level that is learned along the way: Karras et al. 2024 (arXiv 2312.02696), App. B.4."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elucidiff.networks.layers import FourierEmbedding


def uncertainty_weighted(loss: Tensor, log_variance: Tensor) -> Tensor:
    """``exp(-u) loss + u``, Eq. 21 (after Kendall et al. 2018): to be minimised over the network and u(sigma).

    Args:
        loss: weighted loss of every element, ``(B, C, *spatial)``.
        log_variance: u(sigma), ``(B,)`` or ``(B, 1, ...)``; of a published network, :meth:`.EDM2.log_variance`.

    Returns:
        Shaped like ``loss``.
    """
    u = log_variance.reshape(-1, *[1] * (loss.ndim - 1))
    return loss * torch.exp(-u) + u


class LossWeighting(nn.Module):
    """``exp(-u(sigma)) loss + u(sigma)`` with a learned u, Eq. 21 (after Kendall et al. 2018).

    For a fixed denoiser the minimiser is u(sigma) = ln E[loss | sigma], so at every noise level the network sees a
    loss of mean 1 and no level drowns the gradients of the others. u is a linear layer on sines and cosines of
    ln(sigma) / 4 (the EDM preconditioning's c_noise) at random frequencies. It starts at 0, where the loss is as it
    was, learns with the network, and is of no use afterwards.

    Args:
        channels: number of features, even.
    """

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.features = FourierEmbedding(channels, scale=1.0)
        self.linear = nn.Linear(channels, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def log_loss(self, sigma: Tensor) -> Tensor:
        """u(sigma), shaped ``(B,)`` like ``sigma``."""
        # In float32 whatever the network computes in: exp magnifies rounding, and there is next to nothing to save.
        with torch.autocast(sigma.device.type, enabled=False):
            u: Tensor = self.linear(self.features(sigma.float().log() / 4)).squeeze(1)
        return u

    def forward(self, loss: Tensor, sigma: Tensor) -> Tensor:
        """What to minimise instead of the loss.

        Args:
            loss: weighted loss of every element, ``(B, C, *spatial)``.
            sigma: noise levels, ``(B,)``.

        Returns:
            ``exp(-u) loss + u``, shaped like ``loss``.
        """
        return uncertainty_weighted(loss, self.log_loss(sigma))
