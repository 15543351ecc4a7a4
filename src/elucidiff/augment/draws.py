"""The random part of augmentation: which transforms each image gets, and how much of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from elucidiff.augment.options import Options


class Source(Protocol):
    """Where the draws come from, one call a draw. Shapes are ``(n,)``, or ``(rows, n)`` for more rows than one."""

    def integers(self, end: int) -> Tensor:
        """Integers 0 ... end - 1, equally likely, int64."""

    def uniform(self, rows: int = 1) -> Tensor:
        """Uniform numbers in [0, 1)."""

    def normal(self, rows: int = 1) -> Tensor:
        """Standard normal numbers."""


@dataclass(frozen=True)
class Generated:
    """Draws for ``n`` images from ``generator``, on its device, in float32 (whatever the images are)."""

    n: int
    generator: torch.Generator

    def integers(self, end: int) -> Tensor:
        return torch.randint(end, (self.n,), generator=self.generator, device=self.generator.device)

    def uniform(self, rows: int = 1) -> Tensor:
        return torch.rand(
            self._shape(rows), generator=self.generator, device=self.generator.device, dtype=torch.float32
        )

    def normal(self, rows: int = 1) -> Tensor:
        return torch.randn(
            self._shape(rows), generator=self.generator, device=self.generator.device, dtype=torch.float32
        )

    def _shape(self, rows: int) -> tuple[int, ...]:
        return (self.n,) if rows == 1 else (rows, self.n)


def _signed(source: Source, rows: int = 1) -> Tensor:
    return source.uniform(rows) * 2 - 1


_VALUES: dict[str, Callable[[Options, Source], Tensor]] = {
    "xflip": lambda options, source: source.integers(2),
    "yflip": lambda options, source: source.integers(2),
    "rotate_int": lambda options, source: source.integers(4),
    "translate_int": lambda options, source: _signed(source, 2),
    "scale": lambda options, source: source.normal(),
    "rotate_frac": lambda options, source: _signed(source) * (math.pi * options.rotate_frac_max),
    "aniso": lambda options, source: source.normal(),
    "translate_frac": lambda options, source: source.normal(2),
    "brightness": lambda options, source: source.normal(),
    "contrast": lambda options, source: source.normal(),
    "lumaflip": lambda options, source: source.integers(2),
    "hue": lambda options, source: _signed(source) * (math.pi * options.hue_max),
    "saturation": lambda options, source: source.normal(),
    "imgfilter": lambda options, source: source.normal(4),
}


def gated_values(options: Options, source: Source) -> dict[str, Tensor]:
    """Draw the parameters w of every active transform, and set them to 0 where the gate does not pass.

    A transform makes its value draws and then one uniform draw g for its gate, for every image; w is kept where
    g < multiplier * p. Thus the number of draws depends on nothing but the options and the number of images. The
    direction of ``aniso`` is drawn after its w, and has a gate of its own, last, against ``aniso_rotate_prob``. Each
    band of ``imgfilter`` has a gate.

    Returns:
        option -> w of shape ``(n,)``, or ``(2, n)`` for the shifts and ``(4, n)`` for the bands of ``imgfilter``;
        ``"aniso_angle"`` beside ``"aniso"``. Counts (flips, quarter turns) are int64, the others float32.
    """
    params: dict[str, Tensor] = {}
    for option in options.active:
        w = _VALUES[option](options, source)
        angle = _signed(source) * math.pi if option == "aniso" else None
        gates = source.uniform(4 if option == "imgfilter" else 1)
        params[option] = _keep(w, gates < getattr(options, option) * options.p)
        if angle is not None:
            params["aniso_angle"] = _keep(angle, source.uniform() < options.aniso_rotate_prob)
    return params


def _keep(w: Tensor, gate: Tensor) -> Tensor:
    return torch.where(gate, w, torch.zeros_like(w))
