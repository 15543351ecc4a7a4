"""The straightforward way: DDPM++ and Heun's method as one would first write them down in PyTorch.

Eager float32, NCHW, the default memory allocator, one process, no fused attention, every resampling a depthwise
convolution with its filter. This is the other side of the benchmarks, not part of the library; the weights are those
of a library network, by name.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from elucidiff.networks import DDPMPPSettings, NetworkSettings, UNet
from elucidiff.training import TrainingConfig

Weights = Mapping[str, Tensor]


def with_standard_layers(config: TrainingConfig) -> TrainingConfig:
    """The settings with the paper's DDPM++ in place of magnitude-preserving layers, which this side does not have."""
    common = {entry.name: getattr(config.network, entry.name) for entry in dataclasses.fields(NetworkSettings)}
    network = DDPMPPSettings(**common)
    return dataclasses.replace(config, network=network, learned_loss_weighting=False, lr=min(config.lr, 2e-3))


class PlainDDPMpp:
    """DDPM++ from the weights of ``network``, which must be a :meth:`UNet.ddpmpp` in two dimensions."""

    def __init__(self, network: UNet) -> None:
        self.weights: Weights = {name: value.detach() for name, value in network.state_dict().items()}
        self.network = network
        self.sample_shape, self.label_dim = network.sample_shape, network.label_dim
        self.dropout = 0.0

    def __call__(
        self,
        x: Tensor,
        noise_labels: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        w = self.weights
        e = self._embedding(noise_labels, class_labels)
        h = F.conv2d(x, w["stem.weight"], w["stem.bias"], padding=1)
        skips = [h]
        for i, level in enumerate(self.network.encoder):
            for j in range(len(level.enter)):
                h = self._block(h, e, f"encoder.{i}.enter.{j}", "down")
                skips.append(h)
            for j in range(len(level.blocks)):
                h = self._block(h, e, f"encoder.{i}.blocks.{j}")
                skips.append(h)
        for i, level in enumerate(self.network.decoder):
            for j in range(len(level.enter)):
                h = self._block(h, e, f"decoder.{i}.enter.{j}", "up" if i else None)
            for j in range(len(level.blocks)):
                h = self._block(torch.cat([h, skips.pop()], dim=1), e, f"decoder.{i}.blocks.{j}")
        return self._convolve(F.silu(self._normalise(h, "heads.0.norm")), "heads.0.conv")

    def _embedding(self, noise_labels: Tensor, class_labels: Tensor | None) -> Tensor:
        w = self.weights
        half = w["embed1.weight"].shape[1] // 2
        frequencies = (1 / 10000) ** (torch.arange(half, dtype=torch.float32) / (half - 1))
        phases = torch.outer(noise_labels, frequencies)
        e = torch.cat([phases.sin(), phases.cos()], dim=1)
        if class_labels is not None and self.label_dim:
            scaled = class_labels * math.sqrt(self.label_dim)
            e = e + F.linear(scaled, w["embed_labels.weight"], w["embed_labels.bias"])
        for name in ("embed1", "embed2"):
            e = F.silu(F.linear(e, w[f"{name}.weight"], w[f"{name}.bias"]))
        return e

    def _block(self, x: Tensor, e: Tensor, name: str, resample: str | None = None) -> Tensor:
        h = F.silu(self._normalise(x, f"{name}.norm1"))
        if resample:
            h, x = _resample(h, resample), _resample(x, resample)
        h = self._convolve(h, f"{name}.conv1")
        shift = F.linear(e, self.weights[f"{name}.embed.weight"], self.weights[f"{name}.embed.bias"])
        h = F.silu(self._normalise(h + shift[:, :, None, None], f"{name}.norm2"))
        h = self._convolve(F.dropout(h, self.dropout), f"{name}.conv2")
        if f"{name}.skip.weight" in self.weights:
            x = F.conv2d(x, self.weights[f"{name}.skip.weight"], self.weights[f"{name}.skip.bias"])
        x = (h + x) * math.sqrt(0.5)
        if f"{name}.attention.qkv.weight" in self.weights:
            x = self._attend(x, f"{name}.attention")
        return x

    def _attend(self, x: Tensor, name: str) -> Tensor:
        w = self.weights
        b, c, height, width = x.shape
        tokens = self._normalise(x, f"{name}.norm").reshape(b, c, height * width).transpose(1, 2)
        q, k, v = F.linear(tokens, w[f"{name}.qkv.weight"], w[f"{name}.qkv.bias"]).chunk(3, dim=2)
        attention = torch.einsum("bqc,bkc->bqk", q, k / math.sqrt(c)).softmax(dim=2)
        mixed = torch.einsum("bqk,bkc->bqc", attention, v)
        out = F.linear(mixed, w[f"{name}.out.weight"], w[f"{name}.out.bias"])
        return (x + out.transpose(1, 2).reshape(b, c, height, width)) * math.sqrt(0.5)

    def _normalise(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        groups = min(32, x.shape[1] // 4)
        while x.shape[1] % groups:
            groups -= 1
        return F.group_norm(x, groups, weight, bias, eps=1e-6)

    def _convolve(self, x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], padding=1)


def _resample(x: Tensor, direction: str) -> Tensor:
    """The filter (1, 1) as a depthwise convolution of stride 2, or its transpose."""
    channels = x.shape[1]
    kernel = torch.full((channels, 1, 2, 2), 0.25)
    if direction == "down":
        return F.conv2d(x, kernel, groups=channels, stride=2)
    return F.conv_transpose2d(x, kernel * 4, groups=channels, stride=2)


@torch.no_grad()
def plain_heun(
    network: Callable[..., Tensor], latents: Tensor, sigmas: Tensor, labels: Tensor, sigma_data: float
) -> Tensor:
    """Algorithm 1 of Karras et al. 2022 with sigma = t, s = 1, float64 state and a float32 network."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        x32, s = x.to(torch.float32), sigma.to(torch.float32).reshape(-1, 1, 1, 1)
        c_skip = sigma_data**2 / (s**2 + sigma_data**2)
        c_out = s * sigma_data / (s**2 + sigma_data**2).sqrt()
        c_in = 1 / (sigma_data**2 + s**2).sqrt()
        out = network(c_in * x32, (s.log() / 4).flatten(), labels)
        return (c_skip * x32 + c_out * out).to(torch.float64)

    x = latents.to(torch.float64) * sigmas[0]
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        d = (x - denoise(x, sigma)) / sigma
        x_next = x + (sigma_next - sigma) * d
        if i < len(sigmas) - 2:
            d_next = (x_next - denoise(x_next, sigma_next)) / sigma_next
            x_next = x + (sigma_next - sigma) * (0.5 * d + 0.5 * d_next)
        x = x_next
    return x
