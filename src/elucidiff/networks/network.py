"""The base of our networks: settings, attributes, arguments and their checks."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elucidiff.networks import fields
from elucidiff.networks.base import Blueprint, NetworkPart, remember
from elucidiff.networks.padding import Padding, periodic_from, set_periodic
from elucidiff.networks.patches import in_patches, in_pixels

S = TypeVar("S", bound="NetworkSettings")


@dataclass(frozen=True)
class NetworkSettings(NetworkPart):
    """The settings that our networks have in common.

    Args:
        base_channels: channels that the multipliers multiply.
        channel_multipliers: channels of each level over base_channels, from the highest resolution to the lowest.
            Every side of a sample must be a multiple of ``patch_side 2^(levels - 1)``.
        blocks_per_level: residual blocks of each encoder level.
        attention_resolutions: resolutions whose blocks attend. The resolution of a level is the larger side of
            the sample, halved once a level; the input's own size does not change where attention is.
        dropout: probability of dropping a feature in a residual branch.
        label_dropout: probability, in training, of replacing the labels of an item with zeros, for guidance.
        label_presence: whether one more column of the labels tells that there is a label; for label vectors, which
            may be zeros themselves. Training sets it where they are dropped.
        out_channels: channels of the output; none: those of the samples.
        condition_channels: channels of a field that the network is told beside the sample, on a grid of any size: it
            is brought to the sample's by cubic convolution, and follows its channels. 0: none, or what the training
            data have.
        condition_dropout: probability, in training, of leaving out the field of an item, and its labels with it, for
            guidance and for samples without; one more channel then tells that there is a field.
        padding: "zeros" or "periodic" for each spatial dimension, or one for all: what layers see beyond a border.
            For latitude and longitude, zeros/periodic: the network then commutes with shifts along longitude by
            multiples of its downsampling. If it is left out, zeros.
        patch_side: side of the patches that the network takes for its positions, such as 2: the values of 2 x 2
            pixels become channels before the first layer, and the channels of the last one pixels, so that all
            between has a quarter of the positions to compute (Hoogeboom et al. 2023, arXiv 2301.11093, Sec. 3.3). The
            highest of ``attention_resolutions`` is then that of the patches.

    Raises:
        ValueError: a setting is out of range.

    >>> import elucidiff as ed
    >>> ed.networks.DDPMPPSettings(channel_multipliers=(1, 2)).base_channels
    128
    >>> ed.networks.DDPMPPSettings(dropout=1.5)
    Traceback (most recent call last):
        ...
    ValueError: dropout is a probability, but 1.5 is not in [0, 1]
    """

    base_channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks_per_level: int = 4
    attention_resolutions: tuple[int, ...] = (16,)
    dropout: float = 0.1
    label_dropout: float = 0.0
    label_presence: bool = False
    out_channels: int | None = None
    condition_channels: int = 0
    condition_dropout: float = 0.0
    padding: tuple[Padding, ...] = ()
    patch_side: int = 1

    def __post_init__(self) -> None:
        for name in ("channel_multipliers", "attention_resolutions", "resample_filter", "padding"):
            if hasattr(self, name):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("out_channels", "base_channels", "embedding_multiplier", "noise_multiplier", "patch_side"):
            value = getattr(self, name, None)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.blocks_per_level < 0:
            raise ValueError(f"blocks_per_level must not be negative, but is {self.blocks_per_level}")
        if self.condition_channels < 0:
            raise ValueError(f"condition_channels must not be negative, but is {self.condition_channels}")
        for name in ("dropout", "label_dropout", "condition_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, but {getattr(self, name)} is not in [0, 1]")
        if not self.channel_multipliers or min(self.channel_multipliers) < 1:
            multipliers = list(self.channel_multipliers)
            raise ValueError(f"channel_multipliers {multipliers} must be one or more positive integers")

    def levels_and_blocks(self) -> tuple[int, int]:
        """See :meth:`.NetworkPart.levels_and_blocks`."""
        return len(self.channel_multipliers), self.blocks_per_level


def settings_from(cls: type[S], settings: S | None, choices: dict[str, Any]) -> S:
    """The settings that a constructor was given as an object or one by one.

    Raises:
        TypeError: both were given, or a setting is unknown or of the wrong type.
        ValueError: a setting is out of range.
    """
    if settings is None:
        return cls(**choices)
    if choices:
        raise TypeError(f"{next(iter(choices))} is given beside settings: give one or the other")
    return settings


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
        condition_channels: channels of the field that it is told beside ``x``, 0 for none.
        condition_dropout: probability, in training, of leaving it out.
        patch_side: side of the patches of pixels that are its positions.
        stem_channels: channels that enter the first layer: those of ``x``, and of the field behind them, of a patch.
        head_channels: channels that leave the last layer: ``out_channels`` of a patch.
        downsampling: every side of ``x`` must be a multiple of this.
        settings: the settings that it was built from.
        stem: the layer that the input enters, in the type in which the network computes.

    >>> import elucidiff as ed
    >>> network = ed.networks.UNet((1, 8, 8), base_channels=8, channel_multipliers=(1, 2), blocks_per_level=1)
    >>> isinstance(network, ed.networks.Network), network.sample_shape, network.downsampling
    (True, (1, 8, 8), 2)
    """

    stem: nn.Module

    def __init__(
        self, sample_shape: Sequence[int], settings: NetworkSettings, label_dim: int = 0, augment_dim: int = 0
    ) -> None:
        super().__init__()
        self.settings = settings
        self.sample_shape = tuple(int(side) for side in sample_shape)
        if not 2 <= len(self.sample_shape) <= 4 or min(self.sample_shape) < 1:
            raise ValueError(
                f"sample_shape {self.sample_shape} is not (channels, *spatial) with 1 to 3 spatial dimensions"
            )
        for name, width in (("label_dim", label_dim), ("augment_dim", augment_dim)):
            if width < 0:
                raise ValueError(f"{name} must not be negative, but is {width}")
        self.in_channels, self.dims = self.sample_shape[0], len(self.sample_shape) - 1
        self.out_channels = self.in_channels if settings.out_channels is None else settings.out_channels
        self.label_dim, self.label_dropout, self.augment_dim = label_dim, settings.label_dropout, augment_dim
        self.condition_channels = settings.condition_channels
        self.condition_dropout = settings.condition_dropout if self.condition_channels else 0.0
        self.patch_side = settings.patch_side
        pixels = self.patch_side**self.dims
        self.stem_channels = pixels * (self.in_channels + self.condition_channels + (self.condition_dropout > 0))
        self.head_channels = pixels * self.out_channels
        self.label_presence = bool(settings.label_presence and label_dim)
        self.label_width = label_dim + self.label_presence
        self.periodic = periodic_from(settings.padding, self.dims)
        remember(self, self.blueprint)
        self.downsampling = self.patch_side * 2 ** (len(settings.channel_multipliers) - 1)
        self._check_sides(self.sample_shape[1:])
        # For samples that are not square the larger side counts: attention costs the square of all positions, and
        # this never places it at a level that is larger than the same setting would give on a square sample.
        nominal = max(self.sample_shape[1:]) // self.patch_side
        self.level_attention = [
            nominal >> level in settings.attention_resolutions for level in range(len(settings.channel_multipliers))
        ]
        self.level_channels = [settings.base_channels * multiplier for multiplier in settings.channel_multipliers]

    def wrap_borders(self) -> None:
        """Make the layers periodic where the settings say so; constructors end with it."""
        if self.periodic:
            set_periodic(self, self.periodic)

    @property
    def blueprint(self) -> Blueprint:
        """The blueprint of the same network, with new starting values."""
        return Blueprint(self.settings, self.sample_shape, self.label_dim, self.augment_dim)

    def forward(
        self,
        x: Tensor,
        noise_labels: Tensor,
        class_labels: Tensor | Mapping[str, Tensor] | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """The raw output F.

        Args:
            x: ``(B, C, *spatial)``, the scaled noisy input.
            noise_labels: ``(B,)`` or ``(1,)``, the transformed noise level c_noise, best in float32 or float64.
            class_labels: ``(B, label_dim)`` or ``(1, label_dim)``, one-hot or soft; None: zeros. With
                ``label_presence`` a last column may follow, 1 where there is a label and 0 where there is none;
                without that column all rows are labels. With ``condition_channels`` a mapping of ``"field"``,
                ``(B, condition_channels, *spatial)`` or ``(1, ...)`` on a grid of any size, and of ``"labels"``.
            augment_labels: ``(B, augment_dim)`` or ``(1, augment_dim)``; None: zeros.

        Returns:
            ``(B, out_channels, *spatial)`` in the type of the parameters.

        Raises:
            ValueError: a shape does not fit.
        """
        field, labels = fields.split(class_labels)
        self.check_inputs(x, noise_labels, labels, augment_labels)
        x = x.to(cast("Tensor", self.stem.weight).dtype)
        if self.condition_channels:
            field, labels = self._some_dropped(field, labels, x.shape[0])
            x = fields.beside(x, field, self.condition_channels, self.condition_dropout > 0)
        elif field is not None:
            raise ValueError("a field was given to a network that takes none: leave it out")
        output = self.compute(in_patches(x, self.patch_side), self.embed(noise_labels, labels, augment_labels))
        return in_pixels(output, self.patch_side)

    @abstractmethod
    def embed(self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """The embedding of noise level, class and augmentation, ``(B or 1, embedding channels)``."""

    @abstractmethod
    def compute(self, x: Tensor, embedding: Tensor) -> Tensor:
        """The raw output F, given the embedding, of an input ``(B, stem_channels, *spatial)`` in the type of the
        parameters."""

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

    def _some_dropped(
        self, field: Tensor | None, labels: Tensor | None, batch: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """The field and the labels, in training those of some items 0, as for none."""
        if not (self.training and self.condition_dropout) or field is None:
            return field, labels
        if field.shape[1] == self.condition_channels:
            field = torch.cat([field, torch.ones_like(field[:, :1])], dim=1)
        if labels is not None and self.label_presence and labels.shape[1] == self.label_dim:
            labels = F.pad(labels, (0, 1), value=1.0)
        kept = torch.rand(batch, device=field.device) >= self.condition_dropout
        field = field * kept.reshape(-1, *[1] * (field.ndim - 1))
        return field, None if labels is None else labels * kept[:, None]

    def _check_sides(self, sides: Sequence[int]) -> None:
        if any(side % self.downsampling or side < 1 for side in sides):
            levels = len(self.settings.channel_multipliers)
            patches = f" of patches of side {self.patch_side}" if self.patch_side > 1 else ""
            raise ValueError(
                f"size {'x'.join(map(str, sides))} does not fit {levels} levels{patches}: "
                f"pad or crop every side to a multiple of {self.downsampling}, or use fewer channel_multipliers"
            )
