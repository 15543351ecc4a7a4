"""Parts as somebody outside the package writes them: a network, a preconditioning, an objective, an augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import elucidiff as ed


class TwoLayers(nn.Module):
    """Two convolutions and the noise level: f(x, c_noise), and nothing that our networks have beside."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, channels, 3, padding=1)
        self.level = nn.Linear(1, width)
        self.config = {"type": "ddpmpp", "width": width}  # a name that means nothing to us

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        level = self.level(c_noise[:, None].to(x.dtype))
        output: Tensor = self.second(torch.tanh(self.first(x) + level[:, :, None, None]))
        return output


class Labelled(TwoLayers):
    """The same with labels and augmentation labels, which are added to the noise level."""

    def __init__(self, channels: int, width: int, label_dim: int, augment_dim: int) -> None:
        super().__init__(channels, width)
        self.classes = nn.Linear(label_dim, 1, bias=False) if label_dim else None
        self.augmented = nn.Linear(augment_dim, 1, bias=False) if augment_dim else None

    def forward(  # type: ignore[override]
        self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        level = c_noise.to(x.dtype)
        if self.classes is not None and labels is not None:
            level = level + self.classes(labels)[:, 0]
        if self.augmented is not None and augment_labels is not None:
            level = level + self.augmented(augment_labels)[:, 0]
        return super().forward(x, level)


@ed.part("network", "strangers_two_layers")
@dataclass(frozen=True)
class TwoLayersPart(ed.networks.NetworkPart):
    """Two layers.

    Args:
        width: channels between them.
    """

    width: int = 8

    def build(self, sample_shape: Sequence[int], *, label_dim: int = 0, augment_dim: int = 0) -> nn.Module:
        if label_dim or augment_dim:
            return Labelled(sample_shape[0], self.width, label_dim, augment_dim)
        return TwoLayers(sample_shape[0], self.width)


@ed.part("preconditioning", "strangers_half")
@dataclass(frozen=True)
class Half(ed.preconditioning.EDM):
    """EDM's, with half of the network's output."""

    def c_out(self, sigma: float | Tensor) -> Tensor:
        return super().c_out(sigma) / 2


@ed.part("objective", "strangers_flat")
@dataclass(frozen=True)
class Flat(ed.objectives.EDM):
    """EDM's noise levels with a weight of 1.

    Args:
        scale: of the weight.
    """

    scale: float = 1.0

    def weight(self, sigma: float | Tensor) -> Tensor:
        return self.scale * torch.ones_like(torch.as_tensor(sigma))


@ed.part("augmentation", "strangers_sign")
@dataclass(frozen=True)
class Sign(ed.augment.Augmentation):
    """Negates half of the images, and says which."""

    @property
    def label_dim(self) -> int:
        return 1

    def draw(self, n: int, generator: torch.Generator, device: torch.device | str | None = None) -> dict[str, Tensor]:
        return {"sign": torch.randint(2, (n,), generator=generator)}

    def apply(self, images: Tensor, params: object) -> tuple[Tensor, Tensor]:
        negated = params["sign"].to(images)  # type: ignore[index]
        return images * (1 - 2 * negated).reshape(-1, *[1] * (images.ndim - 1)), negated[:, None]
