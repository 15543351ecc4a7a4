"""The straightforward way to train: the paper's loop as one would first write it down in PyTorch.

Eager float32, NCHW, one process, ``torch.optim.Adam`` as it comes, averages one parameter after the other. This is
the other side of the benchmarks, not part of the library.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.plain import PlainDDPMpp
from elucidiff.networks import UNet
from elucidiff.training.config import TrainingConfig


class PlainTraining:
    """Trains a copy of ``network``, which must be a :meth:`UNet.ddpmpp` in two dimensions, with the EDM objective.

    Args:
        network: the network with its starting weights.
        config: the settings: learning rate and its ramp, Adam, average, sigma_data, P_mean and P_std.
    """

    def __init__(self, network: UNet, config: TrainingConfig) -> None:
        self.config = config
        self.network = PlainDDPMpp(network)
        self.network.dropout = config.network.dropout
        self.parameters = {name: nn.Parameter(value.clone()) for name, value in self.network.weights.items()}
        self.network.weights = self.parameters
        self.averages = {name: value.detach().clone() for name, value in self.parameters.items()}
        self.optimiser = torch.optim.Adam(self.parameters.values(), betas=config.adam_betas, eps=config.adam_eps)
        self.images_seen = 0

    def step(
        self,
        images: Tensor,
        labels: Tensor,
        level: Tensor | None = None,
        noise: Tensor | None = None,
        decay: float = 1.0,
    ) -> float:
        """One update on images in [-1, 1] ``(B, C, H, W)``; the mean weighted loss of an element before it.

        Args:
            images: clean images.
            labels: one-hot rows ``(B, label_dim)``.
            level: standard normal draws ``(B,)``, which become noise levels; None: drawn here.
            noise: unit noise; None: drawn here.
            decay: factor on the learning rate.
        """
        config, count, sd = self.config, len(images), self.config.sigma_data
        noise_levels = config.objective.noise
        level = torch.randn(count) if level is None else level
        noise = torch.randn_like(images) if noise is None else noise
        sigma = noise_levels.from_base(level).reshape(-1, 1, 1, 1)

        self.optimiser.zero_grad()
        x = images + sigma * noise
        c_skip = sd**2 / (sigma**2 + sd**2)
        c_out = sigma * sd / (sigma**2 + sd**2).sqrt()
        c_in = 1 / (sd**2 + sigma**2).sqrt()
        denoised = c_skip * x + c_out * self.network(c_in * x, (sigma.log() / 4).flatten(), labels)
        weight = (sigma**2 + sd**2) / (sigma * sd) ** 2
        loss = weight * (denoised - images) ** 2
        (loss.sum() / count).backward()

        ramp = min(self.images_seen / max(config.lr_ramp_images, 1e-8), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = config.lr * ramp * decay
        for parameter in self.parameters.values():
            if parameter.grad is not None:
                torch.nan_to_num(parameter.grad, nan=0.0, posinf=1e5, neginf=-1e5, out=parameter.grad)
        self.optimiser.step()

        half_life = config.ema_half_life_images
        if config.ema_rampup_ratio is not None:
            half_life = min(half_life, self.images_seen * config.ema_rampup_ratio)
        beta = math.pow(0.5, count / max(half_life, 1e-8))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self.averages[name].copy_(parameter.lerp(self.averages[name], beta))
        self.images_seen += count
        return loss.mean().item()
