"""The U-Net of denoising-diffusion-pytorch (lucidrains), with its own names of weights.

Attention at most levels is linear in the number of positions (Shen et al. 2018); both kinds have a few learned keys
and values beside those of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_T = TypeVar("_T")
_MEMORY = 4


class Norm(nn.Module):
    """Channels of each position at unit length, times sqrt(C) and a learned factor."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), as it came in."""
        return F.normalize(x, dim=1) * self.g * math.sqrt(x.shape[1])


class Block(nn.Module):
    """Convolution, norm, a scale and shift if there is one, SiLU."""

    def __init__(self, channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm = Norm(out_channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, scale_shift: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """From (B, channels, H, W) to (B, out_channels, H, W)."""
        x = self.norm(self.proj(x))
        if scale_shift is not None:
            scale, shift = scale_shift
            x = x * (scale + 1) + shift
        out: Tensor = self.dropout(F.silu(x))
        return out


class Residual(nn.Module):
    """Two blocks, the first of which the time scales and shifts, as a residual."""

    def __init__(self, channels: int, out_channels: int, time: int, dropout: float) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * out_channels))
        self.block1 = Block(channels, out_channels, dropout)
        self.block2 = Block(out_channels, out_channels, 0.0)
        same = channels == out_channels
        self.res_conv = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """From (B, channels, H, W) to (B, out_channels, H, W)."""
        scale, shift = self.mlp(time)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = self.block2(self.block1(x, (scale, shift))) + self.res_conv(x)
        return out


class LinearAttention(nn.Module):
    """Queries over channels and keys over positions are softmaxes; values are summed before queries look at them."""

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.norm = Norm(channels)
        self.mem_kv = nn.Parameter(torch.randn(2, heads, width, _MEMORY))
        self.to_qkv = nn.Conv2d(channels, 3 * heads * width, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(heads * width, channels, 1), Norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The residual for (B, C, H, W)."""
        q, k, v = self.to_qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, self.width)).unbind(1)
        k, v = _with_memory(self.mem_kv, k, v, dim=-1)
        q = q.softmax(dim=-2) / math.sqrt(self.width)
        context = torch.einsum("bhdn,bhen->bhde", k.softmax(dim=-1), v)
        looked = torch.einsum("bhde,bhdn->bhen", context, q)
        out: Tensor = self.to_out(looked.reshape(x.shape[0], -1, *x.shape[2:]))
        return out


class Attention(nn.Module):
    """Softmax attention of all positions and the learned keys."""

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.norm = Norm(channels)
        self.mem_kv = nn.Parameter(torch.randn(2, heads, _MEMORY, width))
        self.to_qkv = nn.Conv2d(channels, 3 * heads * width, 1, bias=False)
        self.to_out = nn.Conv2d(heads * width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """What is to be added to (B, C, H, W)."""
        qkv = self.to_qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, self.width))
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        k, v = _with_memory(self.mem_kv, k, v, dim=-2)
        h = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.to_out(h.transpose(-1, -2).reshape(x.shape[0], -1, *x.shape[2:]))
        return out


class TimeFeatures(nn.Module):
    """sin(t w_i), then the cosines, with w_i = theta^(-i / (n - 1)) for n = width // 2."""

    def __init__(self, width: int, theta: float) -> None:
        super().__init__()
        self.width, self.theta = width, theta

    def forward(self, t: Tensor) -> Tensor:
        """From (B,) to (B, width)."""
        half = self.width // 2
        index = torch.arange(half, device=t.device, dtype=torch.float32)
        angles = t.float()[:, None] * torch.exp(-math.log(self.theta) * index / (half - 1))
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class RandomTimeFeatures(nn.Module):
    """t, sin(2 pi w t) and cos(2 pi w t), with w fixed at random or learned."""

    def __init__(self, width: int, learned: bool) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(width // 2), requires_grad=learned)

    def forward(self, t: Tensor) -> Tensor:
        """From (B,) to (B, width + 1)."""
        t = t.to(self.weights.dtype)[:, None]
        angles = 2 * math.pi * t * self.weights
        return torch.cat([t, angles.sin(), angles.cos()], dim=-1)


class LucidUnet(nn.Module):
    """``Unet``, called as ``network(x, t)``, with its own names of settings.

    Args:
        image_size: side of the images, or height and width.
        dim: channels of the first level, times the first of ``dim_mults``.
        init_dim: channels of the stem, ``dim`` by default.
        out_dim: channels of the output, those of the images by default.
        dim_mults: channels of each level over ``dim``.
        channels: of the images.
        learned_variance: whether there are twice as many output channels.
        learned_sinusoidal_cond: whether the frequencies of the time are learned.
        random_fourier_features: whether they are random.
        learned_sinusoidal_dim: number of these.
        sinusoidal_pos_emb_theta: the lowest frequency's inverse, otherwise.
        dropout: probability of dropping a feature.
        attn_dim_head: channels of a head; one, or one a level.
        attn_heads: heads; one number, or one a level.
        full_attn: whether attention is not linear; one, or one a level; by default at the last level alone.

    Raises:
        ValueError: a setting a level has not as many entries as levels.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int],
        dim: int,
        init_dim: int | None = None,
        out_dim: int | None = None,
        dim_mults: Sequence[int] = (1, 2, 4, 8),
        channels: int = 3,
        learned_variance: bool = False,
        learned_sinusoidal_cond: bool = False,
        random_fourier_features: bool = False,
        learned_sinusoidal_dim: int = 16,
        sinusoidal_pos_emb_theta: float = 10000,
        dropout: float = 0.0,
        attn_dim_head: int | Sequence[int] = 32,
        attn_heads: int | Sequence[int] = 4,
        full_attn: Any = None,
    ) -> None:
        super().__init__()
        count = len(dim_mults)
        sides = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
        self.sample_shape = (channels, *sides)
        stem = dim if init_dim is None else init_dim
        widths = [stem, *(dim * multiplier for multiplier in dim_mults)]
        full: list[bool] = [False] * (count - 1) + [True]
        if full_attn:
            full = _a_level("full_attn", full_attn, count)
        heads, head_widths = (
            _a_level("attn_heads", attn_heads, count),
            _a_level("attn_dim_head", attn_dim_head, count),
        )
        time = 4 * dim
        self.init_conv = nn.Conv2d(channels, stem, 7, padding=3)
        fixed = not (learned_sinusoidal_cond or random_fourier_features)
        features: nn.Module = (
            TimeFeatures(dim, sinusoidal_pos_emb_theta)
            if fixed
            else RandomTimeFeatures(learned_sinusoidal_dim, not random_fourier_features)
        )
        told = dim if fixed else learned_sinusoidal_dim + 1
        self.time_mlp = nn.Sequential(features, nn.Linear(told, time), nn.GELU(), nn.Linear(time, time))

        def attention(level: int, width: int) -> nn.Module:
            kind = Attention if full[level] else LinearAttention
            return kind(width, heads[level], head_widths[level])

        def residual(width: int, wide: int) -> Residual:
            return Residual(width, wide, time, dropout)

        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, (width, wide) in enumerate(pairwise(widths)):
            down: nn.Module = nn.Conv2d(width, wide, 3, padding=1)
            if level < count - 1:
                down = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * width, wide, 1))
            blocks = [residual(width, width), residual(width, width), attention(level, width), down]
            self.downs.append(nn.ModuleList(blocks))
        width = widths[-1]
        self.mid_block1 = residual(width, width)
        self.mid_attn = Attention(width, heads[-1], head_widths[-1])
        self.mid_block2 = residual(width, width)
        for level, (width, wide) in reversed(list(enumerate(pairwise(widths)))):
            up: nn.Module = nn.Conv2d(wide, width, 3, padding=1)
            if level:
                up = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), up)
            blocks = [residual(wide + width, wide), residual(wide + width, wide), attention(level, wide), up]
            self.ups.append(nn.ModuleList(blocks))
        self.final_res_block = residual(2 * stem, stem)
        outputs = out_dim if out_dim is not None else channels * (2 if learned_variance else 1)
        self.final_conv = nn.Conv2d(stem, outputs, 1)

    def forward(
        self, x: Tensor, t: Tensor, class_labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """The trained function, for t as the wrapper tells it: an index, or log(sigma) / 4."""
        time = self.time_mlp[1:](self.time_mlp[0](t).to(x.dtype))
        x = self.init_conv(x)
        stem, skips = x, []
        for level in self.downs:
            first, second, attend, down = level.children()
            x = first(x, time)
            skips.append(x)
            x = second(x, time)
            x = x + attend(x)
            skips.append(x)
            x = down(x)
        x = self.mid_block1(x, time)
        x = self.mid_block2(x + self.mid_attn(x), time)
        for level in self.ups:
            first, second, attend, up = level.children()
            x = first(torch.cat([x, skips.pop()], dim=1), time)
            x = second(torch.cat([x, skips.pop()], dim=1), time)
            x = up(x + attend(x))
        x = self.final_res_block(torch.cat([x, stem], dim=1), time)
        out: Tensor = self.final_conv(x)
        return out


def _with_memory(memory: Tensor, k: Tensor, v: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Keys and values with the learned ones before them along ``dim``."""
    learned = memory[:, None].expand(-1, k.shape[0], -1, -1, -1)
    return torch.cat([learned[0], k], dim=dim), torch.cat([learned[1], v], dim=dim)


def _a_level(name: str, value: _T | Sequence[_T], count: int) -> list[_T]:
    """A setting for each of ``count`` levels."""
    if not isinstance(value, list | tuple):
        return [value] * count  # type: ignore[list-item]
    if len(value) != count:
        raise ValueError(f"{name} has {len(value)} entries for {count} levels")
    return list(value)
