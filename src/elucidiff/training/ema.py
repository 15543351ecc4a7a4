"""Exponential moving averages (EMA) of a network's weights, which sample far better than the weights themselves."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from elucidiff.training.processes import own_part


def ema_beta(images_seen: int, batch_size: int, half_life_images: float, rampup_ratio: float | None) -> float:
    """The factor of the old average in one update: ``beta = 0.5^(batch / half-life)``, Karras et al. 2022, App. F.

    Early in training the half-life is shortened to ``rampup_ratio * images_seen``, so that the random weights of the
    start are forgotten. The first update has ``images_seen = 0`` and so beta = 0: the average becomes the weights.

    Args:
        images_seen: training images before this update.
        batch_size: images in this update.
        half_life_images: images after which a weight's share in the average has halved.
        rampup_ratio: longest half-life as a share of the images seen; None for no ramp-up.

    Returns:
        beta in [0, 1): ``average <- beta * average + (1 - beta) * weights``.

    >>> import elucidiff as ed
    >>> round(ed.training.ema_beta(10**9, 512, 500_000, 0.05), 6)
    0.99929
    """
    half_life = half_life_images if rampup_ratio is None else min(half_life_images, images_seen * rampup_ratio)
    return float(0.5 ** (batch_size / max(half_life, 1e-8)))


class AverageProfile(Protocol):
    """The memory of an average: what one update leaves of the old one."""

    def beta(self, images_seen: int, batch_size: int) -> float:
        """The old average's factor in an update made ``images_seen`` images into the training."""


@dataclass(frozen=True)
class HalfLife:
    """The paper's average: exponential, with a ramp-up; see :func:`ema_beta`."""

    images: float
    rampup_ratio: float | None = 0.05

    def beta(self, images_seen: int, batch_size: int) -> float:
        """:func:`ema_beta` with this half-life."""
        return ema_beta(images_seen, batch_size, self.images, self.rampup_ratio)


class WeightAverage:
    """A network whose parameters are a moving average of another's.

    Only parameters are averaged. Buffers (filters, frequencies, statistics of batches) are taken as they are.

    Args:
        network: the network to follow; the average starts as a copy of it.
        profile: how much the average remembers.

    Attributes:
        network: the network with the averaged weights, in evaluation mode.
        beta: the old average's factor in the last update; 0 before the first.
    """

    def __init__(self, network: nn.Module, profile: AverageProfile) -> None:
        self.profile = profile
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.beta = 0.0
        self._followed = network

    def update(self, images_seen: int, batch_size: int) -> None:
        """Move the average towards the followed network's present weights.

        Args:
            images_seen: training images before this update.
            batch_size: images in this update.
        """
        self.beta = self.profile.beta(images_seen, batch_size)
        averages, followed = _values(self.network), _values(self._followed)
        torch._foreach_lerp_(averages, followed, 1.0 - self.beta)
        for mine, theirs in zip(self.network.buffers(), self._followed.buffers(), strict=True):
            mine.copy_(theirs)


class EMA(WeightAverage):
    """The paper's average, with :func:`ema_beta`: exponential, with a ramp-up.

    ::

        >>> network = torch.nn.Linear(2, 2)
        >>> ema = EMA(network, half_life_images=1000)
        >>> ema.update(images_seen=0, batch_size=64)  # after every optimiser step
        >>> torch.equal(ema.network.weight, network.weight)
        True

    Args:
        network: the network to follow; the average starts as a copy of it.
        half_life_images: images after which a weight's share in the average has halved.
        rampup_ratio: longest half-life as a share of the images seen; None for no ramp-up.
    """

    def __init__(
        self, network: nn.Module, half_life_images: float = 500e3, rampup_ratio: float | None = 0.05
    ) -> None:
        super().__init__(network, HalfLife(half_life_images, rampup_ratio))


def _values(network: nn.Module) -> list[Tensor]:
    return [own_part(parameter.detach()) for parameter in network.parameters()]
