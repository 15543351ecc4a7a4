"""DDPM++ and NCSN++ as they were published (Song et al. 2021), with their own names and order of weights.

Ours (:class:`elucidiff.networks.UNet`) is the form of Karras et al. 2022, Appendix F. The layers here are numbered in
the order in which they are used, beginning with those of the embedding, and blocks of either kind are in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "swish": F.silu,
    "elu": F.elu,
    "relu": F.relu,
    "lrelu": lambda x: F.leaky_relu(x, 0.2),
}
_EPS = 1e-6


@dataclass(frozen=True)
class Settings:
    """The entries of ``config.model`` and ``config.data`` that make the network, under their names there."""

    image_size: int
    num_channels: int
    centered: bool
    nf: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    attn_resolutions: tuple[int, ...]
    num_scales: int = 1000
    dropout: float = 0.1
    nonlinearity: str = "swish"
    resamp_with_conv: bool = True
    conditional: bool = True
    fir: bool = False
    fir_kernel: tuple[float, ...] = (1, 3, 3, 1)
    skip_rescale: bool = True
    resblock_type: Literal["ddpm", "biggan"] = "biggan"
    progressive: Literal["none", "output_skip", "residual"] = "none"
    progressive_input: Literal["none", "input_skip", "residual"] = "none"
    progressive_combine: Literal["sum", "cat"] = "sum"
    embedding_type: Literal["positional", "fourier"] = "positional"
    scale_by_sigma: bool = False

    @property
    def activate(self) -> Callable[[Tensor], Tensor]:
        """The activation."""
        return ACTIVATIONS[self.nonlinearity]

    @property
    def rescale(self) -> float:
        """Factor on the sum of a branch and what goes past it."""
        return math.sqrt(0.5) if self.skip_rescale else 1.0


class NCSNpp(nn.Module):
    """The network, called as ``network(x, label)``: 999 t for positional embeddings, sigma for Fourier's.

    Args:
        settings: of the published configuration.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        c = self.settings = settings
        self.sample_shape = (c.num_channels, c.image_size, c.image_size)
        self.register_buffer("sigmas", torch.zeros(c.num_scales, dtype=torch.float64))
        self.sigmas: Tensor
        fourier = c.embedding_type == "fourier"
        layers: list[nn.Module] = [FourierFeatures(c.nf)] if fourier else []
        if c.conditional:
            layers += [nn.Linear(2 * c.nf if fourier else c.nf, 4 * c.nf), nn.Linear(4 * c.nf, 4 * c.nf)]
        layers.append(_convolution(c.num_channels, c.nf, 3))
        widths = [c.nf * multiplier for multiplier in c.ch_mult]
        attends = [c.image_size // 2**level in c.attn_resolutions for level in range(len(widths))]
        last = len(widths) - 1

        skips, width, side = [c.nf], c.nf, c.num_channels
        for level, wide in enumerate(widths):
            for _ in range(c.num_res_blocks):
                layers.append(Residual(c, width, wide))
                width = wide
                layers += [Attention(c, width)] if attends[level] else []
                skips.append(width)
            if level == last:
                break
            layers.append(_resampling(c, width, "down"))
            if c.progressive_input == "input_skip":
                layers.append(Combine(c, side, width))
                width *= 2 if c.progressive_combine == "cat" else 1
            elif c.progressive_input == "residual":
                layers.append(Resampled(c, side, width, "down"))
                side = width
            skips.append(width)
        layers += [Residual(c, width, width), Attention(c, width), Residual(c, width, width)]

        side = 0
        for level in reversed(range(len(widths))):
            for _ in range(c.num_res_blocks + 1):
                layers.append(Residual(c, width + skips.pop(), widths[level]))
                width = widths[level]
            layers += [Attention(c, width)] if attends[level] else []
            if c.progressive == "output_skip" or (c.progressive == "residual" and level == last):
                side = c.num_channels if c.progressive == "output_skip" else width
                layers += [_norm(width), _convolution(width, side, 3)]
            elif c.progressive == "residual":
                layers.append(Resampled(c, side, width, "up"))
                side = width
            layers += [_resampling(c, width, "up")] if level else []
        if c.progressive != "output_skip":
            layers += [_norm(width), _convolution(width, c.num_channels, 3)]
        self.all_modules = nn.ModuleList(layers)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """The trained function: the score for Fourier embeddings and ``scale_by_sigma``, else -std times the score.

        Args:
            x: samples (B, C, H, W) in the units of the data.
            label: (B,).
        """
        c, layers = self.settings, iter(self.all_modules)
        embedding = self._embedding(label, layers, x.dtype)
        if not c.centered:
            x = 2 * x - 1
        h = next(layers)(x)
        skips, side = [h], x
        levels = range(len(c.ch_mult))
        for level in levels:
            for _ in range(c.num_res_blocks):
                h = self._attended(next(layers)(h, embedding), layers)
                skips.append(h)
            if level == levels[-1]:
                break
            h = next(layers)(h, embedding)
            if c.progressive_input == "input_skip":
                side = resampled(side, c, "down")
                h = next(layers)(side, h)
            elif c.progressive_input == "residual":
                side = h = (next(layers)(side, None) + h) * c.rescale
            skips.append(h)
        h = next(layers)(h, embedding)
        h = next(layers)(h)
        h = next(layers)(h, embedding)

        out: Tensor | None = None
        for level in reversed(levels):
            for _ in range(c.num_res_blocks + 1):
                h = next(layers)(torch.cat([h, skips.pop()], dim=1), embedding)
            h = self._attended(h, layers)
            if c.progressive == "output_skip" or (c.progressive == "residual" and out is None):
                norm, convolve = next(layers), next(layers)
                here = convolve(c.activate(norm(h)))
                out = here if out is None else resampled(out, c, "up") + here
            elif c.progressive == "residual":
                out = h = (next(layers)(out, None) + h) * c.rescale
            h = next(layers)(h, embedding) if level else h
        if c.progressive == "output_skip" and out is not None:
            h = out
        else:
            norm, convolve = next(layers), next(layers)
            h = convolve(c.activate(norm(h)))
        if c.scale_by_sigma:
            sigma = label if c.embedding_type == "fourier" else self.sigmas[label.long()]
            h = h / sigma.to(h.dtype)[:, None, None, None]
        result: Tensor = h
        return result

    def _embedding(self, label: Tensor, layers: Iterator[nn.Module], dtype: torch.dtype) -> Tensor | None:
        c = self.settings
        fourier = c.embedding_type == "fourier"
        features = next(layers)(label.log()) if fourier else _positional(label, c.nf)
        if not c.conditional:
            return None
        first, second = next(layers), next(layers)
        embedding: Tensor = second(c.activate(first(features.to(dtype))))
        return embedding

    def _attended(self, h: Tensor, layers: Iterator[nn.Module]) -> Tensor:
        """``h`` past the attention of its level, where it has one."""
        if h.shape[-1] not in self.settings.attn_resolutions:
            return h
        attended: Tensor = next(layers)(h)
        return attended


class FourierFeatures(nn.Module):
    """sin(2 pi w log sigma), then the cosines, with fixed random w."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("W", torch.randn(width))
        self.W: Tensor

    def forward(self, log_sigma: Tensor) -> Tensor:
        """From (B,) to (B, 2 width)."""
        angles = 2 * math.pi * log_sigma[:, None] * self.W
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Dense(nn.Module):
    """A linear map of the channels at every position: x W + b."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(channels, out_channels))
        self.b = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """From (B, channels, H, W) to (B, out_channels, H, W)."""
        return torch.einsum("bchw,cd->bdhw", x, self.W) + self.b[:, None, None]


class Residual(nn.Module):
    """A residual block, of BigGAN's kind with an optional change of resolution, or of DDPM's."""

    def __init__(self, c: Settings, channels: int, out_channels: int, resample: str = "") -> None:
        super().__init__()
        self.settings, self.resample = c, resample
        self.GroupNorm_0 = _norm(channels)
        self.Conv_0 = _convolution(channels, out_channels, 3)
        if c.conditional:
            self.Dense_0 = nn.Linear(4 * c.nf, out_channels)
        self.GroupNorm_1 = _norm(out_channels)
        self.Dropout_0 = nn.Dropout(c.dropout)
        self.Conv_1 = _convolution(out_channels, out_channels, 3)
        if channels != out_channels or resample:
            if c.resblock_type == "biggan":
                self.Conv_2 = _convolution(channels, out_channels, 1)
            else:
                self.NIN_0 = Dense(channels, out_channels)

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """From (B, channels, H, W) to (B, out_channels, H, W), or half or twice the sides."""
        activate = self.settings.activate
        h = activate(self.GroupNorm_0(x))
        if self.resample:
            h, x = (resampled(part, self.settings, self.resample) for part in (h, x))
        h = self.Conv_0(h)
        if embedding is not None:
            h = h + self.Dense_0(activate(embedding))[:, :, None, None]
        h = self.Conv_1(self.Dropout_0(activate(self.GroupNorm_1(h))))
        if hasattr(self, "Conv_2"):
            x = self.Conv_2(x)
        elif hasattr(self, "NIN_0"):
            x = self.NIN_0(x)
        out: Tensor = (x + h) * self.settings.rescale
        return out


class Attention(nn.Module):
    """Self-attention over all positions with one head, as a residual."""

    def __init__(self, c: Settings, channels: int) -> None:
        super().__init__()
        self.rescale = c.rescale
        self.GroupNorm_0 = _norm(channels)
        self.NIN_0, self.NIN_1, self.NIN_2, self.NIN_3 = (Dense(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), as it came in."""
        h = self.GroupNorm_0(x)
        # One head, as a dimension of its own: exporters know no attention without.
        heads = (layer(h).flatten(2).mT[:, None] for layer in (self.NIN_0, self.NIN_1, self.NIN_2))
        h = F.scaled_dot_product_attention(*heads)[:, 0].mT.reshape(x.shape)
        out: Tensor = (x + self.NIN_3(h)) * self.rescale
        return out


class Combine(nn.Module):
    """The input at a lower resolution joins the trunk: added to it, or put before its channels."""

    def __init__(self, c: Settings, channels: int, trunk: int) -> None:
        super().__init__()
        self.add = c.progressive_combine == "sum"
        self.Conv_0 = _convolution(channels, trunk, 1)

    def forward(self, side: Tensor, trunk: Tensor) -> Tensor:
        """The trunk, joined."""
        side = self.Conv_0(side)
        return side + trunk if self.add else torch.cat([side, trunk], dim=1)


class Resampled(nn.Module):
    """Half ("down") or twice ("up") the sides, with a convolution; filtered, if ``fir``.

    Without a filter the convolution that goes down has its zeros at the far borders alone, and going up copies of the
    nearest value come before it. With it, the convolution with stride 2 comes after the filter, or before it.
    """

    def __init__(self, c: Settings, channels: int, out_channels: int, how: str) -> None:
        super().__init__()
        self.settings, self.how = c, how
        if c.fir:
            self.Conv2d_0 = nn.Conv2d(channels, out_channels, 3)
        else:
            down = how == "down"
            self.Conv_0 = nn.Conv2d(channels, out_channels, 3, stride=2 if down else 1, padding=0 if down else 1)

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """From (B, channels, H, W) to (B, out_channels, H / 2, W / 2), or twice the sides."""
        c, down = self.settings, self.how == "down"
        out: Tensor
        if not c.fir:
            x = F.pad(x, (0, 1, 0, 1)) if down else resampled(x, c, "up")
            out = self.Conv_0(x)
            return out
        weight, bias, taps = self.Conv2d_0.weight, self.Conv2d_0.bias, len(c.fir_kernel)
        if down:
            margin = taps - 2 + 2  # of the filter, and of the convolution behind it
            x = _filtered(x, c, ((margin + 1) // 2, margin // 2))
            return F.conv2d(x, weight, bias, stride=2)
        x = F.conv_transpose2d(x, weight.flip(2, 3).transpose(0, 1), stride=2)
        margin = taps - 2 - 2
        out = 4 * _filtered(x, c, ((margin + 1) // 2 + 1, margin // 2 + 1))
        return out if bias is None else out + bias[:, None, None]


class Plain(nn.Module):
    """Half or twice the sides without weights, in the place of a layer."""

    def __init__(self, c: Settings, how: str) -> None:
        super().__init__()
        self.settings, self.how = c, how

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(B, C, H, W), resampled."""
        return resampled(x, self.settings, self.how)


def resampled(x: Tensor, c: Settings, how: str) -> Tensor:
    """Half or twice the sides without weights: by the filter, or by averages and copies of the nearest value."""
    if not c.fir:
        return F.avg_pool2d(x, 2) if how == "down" else F.interpolate(x, scale_factor=2, mode="nearest")
    margin = len(c.fir_kernel) - 2
    if how == "down":
        return _filtered(x, c, ((margin + 1) // 2, margin // 2))[:, :, ::2, ::2]
    spread = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    spread[:, :, ::2, ::2] = x
    return 4 * _filtered(spread, c, ((margin + 1) // 2 + 1, margin // 2))


def _filtered(x: Tensor, c: Settings, padding: tuple[int, int]) -> Tensor:
    """``x`` with so many zeros before and after each dimension, under the separable filter of sum 1."""
    taps = torch.tensor(c.fir_kernel, dtype=x.dtype, device=x.device)
    kernel = (torch.outer(taps, taps) / taps.sum() ** 2).flip(0, 1).expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, padding * 2), kernel, groups=x.shape[1])


def _resampling(c: Settings, width: int, how: str) -> nn.Module:
    """The layer that changes the resolution of the trunk."""
    if c.resblock_type == "biggan":
        return Residual(c, width, width, how)
    return Resampled(c, width, width, how) if c.resamp_with_conv else Plain(c, how)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=_EPS)


def _convolution(channels: int, out_channels: int, side: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, side, padding=side // 2)


def _positional(label: Tensor, width: int) -> Tensor:
    """sin(label w_i), then the cosines, with w_i = 10000^(-i / (n - 1)) for n = width // 2."""
    half = width // 2
    index = torch.arange(half, device=label.device, dtype=torch.float32)
    angles = label.float()[:, None] * torch.exp(-math.log(10000) * index / (half - 1))
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=-1), (0, width % 2))
