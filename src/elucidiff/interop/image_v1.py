"""The U-Net "image_v1" of k-diffusion, with its own names of weights.

All normalisation is by groups and without learned factors: the noise level, mapped by two layers, gives them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AdaptiveNorm(nn.Module):
    """Group normalisation times (1 + weight) plus bias, both from the condition."""

    def __init__(self, mapped: int, channels: int) -> None:
        super().__init__()
        self.groups = max(1, channels // 32)
        self.mapper = nn.Linear(mapped, 2 * channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W), as it came in."""
        weight, bias = self.mapper(condition)[..., None, None].chunk(2, dim=1)
        out: Tensor = F.group_norm(x, self.groups) * (1 + weight) + bias
        return out


class Convolutions(nn.Module):
    """A residual block: norm, GELU and convolution, twice."""

    def __init__(self, mapped: int, channels: int, middle: int, out_channels: int) -> None:
        super().__init__()
        self.main = nn.ModuleDict(
            {
                "0": AdaptiveNorm(mapped, channels),
                "2": nn.Conv2d(channels, middle, 3, padding=1),
                "4": AdaptiveNorm(mapped, middle),
                "6": nn.Conv2d(middle, out_channels, 3, padding=1),
            }
        )
        same = channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """From (B, channels, H, W) to (B, out_channels, H, W)."""
        h = x
        for norm, convolution in (("0", "2"), ("4", "6")):
            h = self.main[convolution](F.gelu(self.main[norm](h, condition)))
        out: Tensor = h + self.skip(x)
        return out


class Attention(nn.Module):
    """Self-attention over all positions, as a residual, with a head for every 64 channels."""

    def __init__(self, mapped: int, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // 64)
        if channels % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {channels} channels")
        self.norm_in = AdaptiveNorm(mapped, channels)
        self.qkv_proj = nn.Conv2d(channels, 3 * channels, 1)
        self.out_proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W), as it came in."""
        qkv = self.qkv_proj(self.norm_in(x, condition)).flatten(2).unflatten(1, (3, self.heads, -1))
        h = F.scaled_dot_product_attention(*qkv.transpose(-1, -2).unbind(1))
        out: Tensor = x + self.out_proj(h.transpose(-1, -2).reshape(x.shape))
        return out


class Resample(nn.Module):
    """Half or twice the sides by the filter [1, 3, 3, 1] / 8, stored with the weights; borders are reflected."""

    def __init__(self, up: bool) -> None:
        super().__init__()
        self.up = up
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / (4 if up else 8)
        self.register_buffer("kernel", torch.outer(taps, taps))
        self.kernel: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) with half or twice the sides."""
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, -1, -1)
        x = F.pad(x, (1, 1, 1, 1), "reflect")
        if self.up:
            return F.conv_transpose2d(x, kernel, stride=2, padding=3, groups=channels)
        return F.conv2d(x, kernel, stride=2, groups=channels)


class NoiseFeatures(nn.Module):
    """cos(2 pi w c), then sin(2 pi w c), with fixed random w."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(width // 2, 1))
        self.weight: Tensor

    def forward(self, c_noise: Tensor) -> Tensor:
        """From (B,) to (B, width)."""
        angles = 2 * math.pi * c_noise[:, None] * self.weight.T
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Levels(nn.Module):
    """The levels of the U-Net, from the highest resolution down and up again."""

    def __init__(
        self, mapped: int, depths: Sequence[int], channels: Sequence[int], attention: Sequence[bool], skipped: int
    ) -> None:
        super().__init__()
        down, up = [], []
        last = len(depths) - 1
        for level, (depth, wide) in enumerate(zip(depths, channels, strict=True)):
            outer = channels[max(0, level - 1)]
            resampled = level > skipped

            def blocks(widths: list[int], wide: int = wide, attends: bool = attention[level]) -> list[nn.Module]:
                layers: list[nn.Module] = []
                for before, after in pairwise(widths):
                    layers.append(Convolutions(mapped, before, wide, after))
                    layers += [Attention(mapped, after)] if attends else []
                return layers

            descending = blocks([outer] + [wide] * depth)
            down.append(nn.ModuleList([Resample(up=False) if resampled else nn.Identity(), *descending]))
            inside = wide if level == last else 2 * wide
            ascending = blocks([inside] + [wide] * (depth - 1) + [outer])
            up.append(nn.ModuleList([*ascending, Resample(up=True) if resampled else nn.Identity()]))
        self.d_blocks = nn.ModuleList(down[skipped:])
        self.u_blocks = nn.ModuleList(reversed(up[skipped:]))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W), as it came in. The deepest level takes no skip."""
        skips = []
        for block in self.d_blocks:
            x = _through(block, x, condition)
            skips.append(x)
        for index, block in enumerate(self.u_blocks):
            skip = skips.pop()
            x = _through(block, torch.cat([x, skip], dim=1) if index else x, condition)
        return x


class ImageV1(nn.Module):
    """The network, called as F(c_in x; c_noise) with c_noise = log(sigma) / 4.

    Args:
        channels_in: of the images.
        size: height and width of the images.
        mapping_out: width of the condition.
        depths: blocks of each level.
        channels: of each level.
        self_attn_depths: whether the blocks of each level attend.
        patch_size: side of the squares of pixels that are taken as channels.
        skip_stages: levels left out at the top.
        augment: width of the augmentation condition, which is zero while sampling.
        has_variance: whether there is a channel more, for the variance.

    Raises:
        ValueError: the settings do not fit each other.
    """

    def __init__(
        self,
        *,
        channels_in: int,
        size: Sequence[int],
        mapping_out: int,
        depths: Sequence[int],
        channels: Sequence[int],
        self_attn_depths: Sequence[bool],
        patch_size: int = 1,
        skip_stages: int = 0,
        augment: int = 0,
        has_variance: bool = False,
    ) -> None:
        super().__init__()
        if not len(depths) == len(channels) == len(self_attn_depths) or not 0 <= skip_stages < len(depths):
            raise ValueError("depths, channels and self_attn_depths must be of one length, more than skip_stages")
        if mapping_out % 2 or min(depths) < 1 or patch_size < 1:
            raise ValueError("mapping_out must be even, patch_size at least 1, and every level have a block")
        self.sample_shape = (channels_in, *size)
        self.patch_size, self.has_variance = patch_size, has_variance
        pixels = channels_in * patch_size**2
        outer = channels[max(0, skip_stages - 1)]
        self.timestep_embed = NoiseFeatures(mapping_out)
        if augment:
            self.mapping_cond = nn.Linear(augment, mapping_out, bias=False)
        self.mapping = nn.Sequential(
            nn.Linear(mapping_out, mapping_out), nn.GELU(), nn.Linear(mapping_out, mapping_out), nn.GELU()
        )
        self.proj_in = nn.Conv2d(pixels, outer, 1)
        self.proj_out = nn.Conv2d(outer, pixels + has_variance, 1)
        self.u_net = Levels(mapping_out, depths, channels, self_attn_depths, skip_stages)

    def forward(
        self, x: Tensor, c_noise: Tensor, class_labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """F, (B, C, H, W), without the channel of the variance."""
        told = self.timestep_embed(c_noise.to(x.dtype).reshape(-1))
        if augment_labels is not None:
            told = told + self.mapping_cond(augment_labels)
        x = F.pixel_unshuffle(x, self.patch_size)
        x = self.proj_out(self.u_net(self.proj_in(x), self.mapping(told)))
        return F.pixel_shuffle(x[:, :-1] if self.has_variance else x, self.patch_size)


def _through(layers: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    for layer in layers.children():
        x = layer(x, condition) if isinstance(layer, Convolutions | Attention) else layer(x)
    return x
