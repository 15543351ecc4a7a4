"""The ADM U-Net as it was published (Dhariwal and Nichol 2021), with its own names of weights.

Ours (:class:`elucidiff.networks.ADM`) is the form of Karras et al. 2022, which differs: groups of the normalisation,
heads, resampling, and the order of the attention's channels are choices here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_GROUPS = 32


@dataclass(frozen=True)
class Style:
    """Settings that the blocks of one network share.

    Args:
        embedding: channels of the embedding.
        dropout: probability of dropping a feature.
        scale_and_shift: whether the embedding scales and shifts the second normalisation, or is added before it.
        resample_in_blocks: whether residual blocks change the resolution, or convolutions between them.
        new_order: whether the channels of qkv are (q, k, v), head, channel, or head, (q, k, v), channel.
    """

    embedding: int
    dropout: float
    scale_and_shift: bool
    resample_in_blocks: bool
    new_order: bool


class Residual(nn.Module):
    """A residual block, which may halve ("down") or double ("up") the resolution after its first activation."""

    def __init__(self, style: Style, channels: int, out_channels: int, resample: str = "") -> None:
        super().__init__()
        self.scale_and_shift, self.resample = style.scale_and_shift, resample
        self.in_layers = nn.Sequential(
            nn.GroupNorm(_GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        width = out_channels * (2 if style.scale_and_shift else 1)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(style.embedding, width))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(_GROUPS, out_channels),
            nn.SiLU(),
            nn.Dropout(style.dropout),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        same = out_channels == channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """From (B, channels, H, W) to (B, out_channels, H, W), or half or twice the sides."""
        norm, activate, convolve = self.in_layers
        h = convolve(_resampled(activate(norm(x)), self.resample))
        x = _resampled(x, self.resample)
        told = self.emb_layers(embedding)[..., None, None]
        norm, *rest = self.out_layers
        if self.scale_and_shift:
            scale, shift = told.chunk(2, dim=1)
            h = norm(h) * (1 + scale) + shift
        else:
            h = norm(h + told)
        for layer in rest:
            h = layer(h)
        out: Tensor = self.skip_connection(x) + h
        return out


class Attention(nn.Module):
    """Self-attention over all positions, as a residual."""

    def __init__(self, channels: int, heads: int, new_order: bool) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{heads} heads do not divide {channels} channels")
        self.heads, self.new_order = heads, new_order
        self.norm = nn.GroupNorm(_GROUPS, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), as it came in."""
        flat = x.flatten(2)
        qkv = self.qkv(self.norm(flat))
        if self.new_order:
            q, k, v = qkv.unflatten(1, (3, self.heads, -1)).unbind(1)
        else:
            q, k, v = qkv.unflatten(1, (self.heads, 3, -1)).unbind(2)
        h = F.scaled_dot_product_attention(*(part.transpose(-1, -2) for part in (q, k, v)))
        out: Tensor = flat + self.proj_out(h.transpose(-1, -2).flatten(1, 2))
        return out.view_as(x)


class Downsample(nn.Module):
    """A convolution with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Half the sides."""
        out: Tensor = self.op(x)
        return out


class Upsample(nn.Module):
    """Copies of the nearest value, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Twice the sides."""
        out: Tensor = self.conv(_resampled(x, "up"))
        return out


class OpenAIUNet(nn.Module):
    """The network, called as ``network(x_t, t, labels)``, with t as the model was told and labels one-hot rows.

    Args:
        image_size: side of the images.
        channels: of the images.
        out_channels: C, or 2 C where the variance is learned.
        widths: channels of each level.
        blocks: residual blocks of each encoder level.
        attention: how many times smaller the image is at levels whose blocks attend.
        heads: heads of the encoder and the middle, and of the decoder; not used where ``head_channels`` is given.
        head_channels: channels of a head, or None.
        classes: number of classes, 0 for none.
        features: width of the time features.
        style: what the blocks have in common.

    Raises:
        ValueError: channels are no multiple of 32, or heads do not divide them.
    """

    def __init__(
        self,
        *,
        image_size: int,
        channels: int,
        out_channels: int,
        widths: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        heads: tuple[int, int],
        head_channels: int | None,
        classes: int,
        features: int,
        style: Style,
    ) -> None:
        super().__init__()
        if any(width < _GROUPS or width % _GROUPS for width in widths):
            raise ValueError(f"the levels have {list(widths)} channels, which must be multiples of {_GROUPS}")
        self.features, self.classes = features, classes
        self.sample_shape = (channels, image_size, image_size)

        def attend(width: int, count: int) -> Attention:
            heads = count if head_channels is None else max(1, width // head_channels)
            return Attention(width, heads, style.new_order)

        self.time_embed = nn.Sequential(
            nn.Linear(features, style.embedding), nn.SiLU(), nn.Linear(style.embedding, style.embedding)
        )
        if classes:
            self.label_emb = nn.Embedding(classes, style.embedding)
        width = widths[0]
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(channels, width, 3, padding=1)])])
        skips = [width]
        for level, wide in enumerate(widths):
            attends = 2**level in attention
            for _ in range(blocks):
                layers: list[nn.Module] = [Residual(style, width, wide)]
                width = wide
                layers += [attend(width, heads[0])] if attends else []
                self.input_blocks.append(nn.ModuleList(layers))
                skips.append(width)
            if level < len(widths) - 1:
                down = Residual(style, width, width, "down") if style.resample_in_blocks else Downsample(width)
                self.input_blocks.append(nn.ModuleList([down]))
                skips.append(width)
        self.middle_block = nn.ModuleList(
            [Residual(style, width, width), attend(width, heads[0]), Residual(style, width, width)]
        )
        self.output_blocks = nn.ModuleList()
        for level, wide in reversed(list(enumerate(widths))):
            attends = 2**level in attention
            for index in range(blocks + 1):
                layers = [Residual(style, width + skips.pop(), wide)]
                width = wide
                layers += [attend(width, heads[1])] if attends else []
                if level and index == blocks:
                    up = Residual(style, width, width, "up") if style.resample_in_blocks else Upsample(width)
                    layers.append(up)
                self.output_blocks.append(nn.ModuleList(layers))
        self.out = nn.Sequential(
            nn.GroupNorm(_GROUPS, width), nn.SiLU(), nn.Conv2d(width, out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The prediction, and in further channels the variance, where that is learned.

        Raises:
            ValueError: the network was trained with classes and is not told any.
        """
        embedding = self.time_embed(_features(t, self.features, x.dtype))
        if self.classes:
            if labels is None:
                raise ValueError("the network was trained with classes and has no answer without: give labels")
            embedding = embedding + labels.to(x.dtype) @ self.label_emb.weight
        h, skips = x, []
        for block in self.input_blocks:
            h = _through(block, h, embedding)
            skips.append(h)
        h = _through(self.middle_block, h, embedding)
        for block in self.output_blocks:
            h = _through(block, torch.cat([h, skips.pop()], dim=1), embedding)
        out: Tensor = self.out(h)
        return out


def _through(layers: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    for layer in layers.children():
        h = layer(h, embedding) if isinstance(layer, Residual) else layer(h)
    return h


def _resampled(x: Tensor, how: str) -> Tensor:
    if how == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2, mode="nearest") if how == "up" else x


def _features(t: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """cos(t w_i), then sin(t w_i), with w_i = 10000^(-i / n) for n = width // 2; a zero more for an odd width."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=-1), (0, width % 2)).to(dtype)
