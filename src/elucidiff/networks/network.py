"""What every network is to the rest of the library: its attributes, its arguments and their checks."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Network(nn.Module):
    """Base of the networks F of Karras et al. 2022, Eq. 7.

    Parameters may be cast (``.half()``, ``.bfloat16()``, ``.double()``) or run under ``torch.autocast``. The input is
    cast to the type of the parameters; the features of the noise level, the statistics of the normalisations and the
    attention weights stay in float32 in half precision.

    Attributes:
        sample_shape: ``(C, *spatial)`` that the network was made for. Other sizes work too, if they divide.
        in_channels: channels of ``x``.
        out_channels: channels of the output.
        label_dim: width of the class labels, 0 for none.
        label_dropout: probability, in training, of replacing the labels of an item with zeros.
        label_presence: whether one more column of the labels tells that there is a label; for label vectors, which
            may be zeros themselves.
        augment_dim: width of the augmentation labels, 0 for none.
        downsampling: every side of ``x`` must be a multiple of this.
        config: JSON-able settings from which :func:`elucidiff.networks.build` makes the same network.
        stem: the layer that the input enters, in the type in which the network computes.
    """

    stem: nn.Module

    def __init__(
        self,
        sample_shape: Sequence[int],
        *,
        out_channels: int | None,
        base_channels: int,
        channel_multipliers: Sequence[int],
        blocks_per_level: int,
        attention_resolutions: Sequence[int],
        dropout: float,
        label_dim: int,
        label_dropout: float,
        label_presence: bool,
        augment_dim: int,
        embedding_multiplier: int,
    ) -> None:
        super().__init__()
        self.sample_shape = tuple(int(side) for side in sample_shape)
        if not 2 <= len(self.sample_shape) <= 4 or min(self.sample_shape) < 1:
            raise ValueError(
                f"sample_shape {self.sample_shape} is not (channels, *spatial) with 1 to 3 spatial dimensions"
            )
        self.in_channels, self.dims = self.sample_shape[0], len(self.sample_shape) - 1
        self.out_channels = self.in_channels if out_channels is None else out_channels
        self.label_dim, self.label_dropout, self.augment_dim = label_dim, label_dropout, augment_dim
        self.label_presence = bool(label_presence and label_dim)
        self.label_width = label_dim + self.label_presence
        self.config: dict[str, Any] = {
            "sample_shape": list(self.sample_shape),
            "out_channels": self.out_channels,
            "base_channels": base_channels,
            "channel_multipliers": list(channel_multipliers),
            "blocks_per_level": blocks_per_level,
            "attention_resolutions": list(attention_resolutions),
            "dropout": dropout,
            "label_dim": label_dim,
            "label_dropout": label_dropout,
            "label_presence": self.label_presence,
            "augment_dim": augment_dim,
            "embedding_multiplier": embedding_multiplier,
        }
        for name in ("out_channels", "base_channels", "embedding_multiplier"):
            if self.config[name] < 1:
                raise ValueError(f"{name} must be at least 1, not {self.config[name]}")
        for name in ("blocks_per_level", "label_dim", "augment_dim"):
            if self.config[name] < 0:
                raise ValueError(f"{name} must not be negative, but is {self.config[name]}")
        for name in ("dropout", "label_dropout"):
            if not 0 <= self.config[name] <= 1:
                raise ValueError(f"{name} is a probability, but {self.config[name]} is not in [0, 1]")
        if not channel_multipliers or min(channel_multipliers) < 1:
            raise ValueError(f"channel_multipliers {list(channel_multipliers)} must be one or more positive integers")
        self.downsampling = 2 ** (len(channel_multipliers) - 1)
        self._check_sides(self.sample_shape[1:])
        # For samples that are not square the larger side counts: attention costs the square of all positions, and
        # this never places it at a level that is larger than the same setting would give on a square sample.
        nominal = max(self.sample_shape[1:])
        self.level_attention = [
            nominal >> level in attention_resolutions for level in range(len(channel_multipliers))
        ]
        self.level_channels = [base_channels * multiplier for multiplier in channel_multipliers]

    def forward(
        self,
        x: Tensor,
        noise_labels: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """The raw output F.

        Args:
            x: ``(B, C, *spatial)``, the scaled noisy input.
            noise_labels: ``(B,)`` or ``(1,)``, the transformed noise level c_noise, best in float32 or float64.
            class_labels: ``(B, label_dim)`` or ``(1, label_dim)``, one-hot or soft; None: zeros. With
                ``label_presence`` a last column may follow, 1 where there is a label and 0 where there is none;
                without that column all rows are labels.
            augment_labels: ``(B, augment_dim)`` or ``(1, augment_dim)``; None: zeros.

        Returns:
            ``(B, out_channels, *spatial)`` in the type of the parameters.

        Raises:
            ValueError: a shape does not fit.
        """
        self.check_inputs(x, noise_labels, class_labels, augment_labels)
        embedding = self.embed(noise_labels, class_labels, augment_labels)
        return self.compute(x.to(cast("Tensor", self.stem.weight).dtype), embedding)

    @abstractmethod
    def embed(self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """The embedding of noise level, class and augmentation, ``(B or 1, embedding channels)``."""

    @abstractmethod
    def compute(self, x: Tensor, embedding: Tensor) -> Tensor:
        """The raw output F of an input in the type of the parameters, given its embedding."""

    def check_inputs(
        self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None
    ) -> None:
        """Raise ValueError, in one line, for inputs that do not fit the network."""
        if x.ndim != self.dims + 2 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, but this network takes (batch, {self.in_channels}, "
                f"{self.dims} spatial dimension{'s' if self.dims > 1 else ''})"
            )
        self._check_sides(x.shape[2:])
        if noise_labels.ndim != 1 or noise_labels.shape[0] not in (1, x.shape[0]):
            raise ValueError(
                f"noise_labels has shape {tuple(noise_labels.shape)}, but must be ({x.shape[0]},) or (1,)"
            )
        for name, labels, width in (
            ("class_labels", class_labels, (self.label_dim, self.label_width)),
            ("augment_labels", augment_labels, (self.augment_dim,)),
        ):
            if labels is not None and (
                labels.ndim != 2 or labels.shape[0] not in (1, x.shape[0]) or labels.shape[1] not in width
            ):
                raise ValueError(
                    f"{name} has shape {tuple(labels.shape)}, but this network takes ({x.shape[0]}, {width[0]})"
                )

    def class_labels_or_zeros(self, class_labels: Tensor | None, like: Tensor) -> Tensor:
        """The class labels in the type of ``like``: one row of zeros if there are none, some rows 0 in training."""
        if class_labels is None:
            return like.new_zeros(1, self.label_width)
        class_labels = class_labels.to(like.dtype)
        if self.label_presence:
            if class_labels.shape[1] == self.label_dim:
                class_labels = F.pad(class_labels, (0, 1), value=1.0)
            # Two parts of length about 1 make one of length 1.
            class_labels = class_labels * math.sqrt(0.5)
        if self.training and self.label_dropout:
            # In float32: half precision has so few numbers below 1 that small probabilities would be rounded.
            kept = torch.rand_like(class_labels[:, :1], dtype=torch.float32) >= self.label_dropout
            class_labels = class_labels * kept
        return class_labels

    def _check_sides(self, sides: Sequence[int]) -> None:
        if any(side % self.downsampling or side < 1 for side in sides):
            raise ValueError(
                f"size {'x'.join(map(str, sides))} does not fit {int(math.log2(self.downsampling)) + 1} levels: "
                f"pad or crop every side to a multiple of {self.downsampling}, or use fewer channel_multipliers"
            )
