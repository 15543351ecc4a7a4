"""From the values of a data set to what a denoiser sees, and back: the one seam between both.

A data set holds values in its owner's units: 8-bit levels, kelvin, millivolts. A denoiser sees them scaled, so that
noise levels mean the same in every channel. A :class:`Scaling` takes values either way::

    scaling = ed.data.scaling_of(denoiser)         # what the model was trained with
    x = scaling.to_model(dataset.images([0, 1]))   # float32, what the denoiser sees
    fields = scaling.to_data(x)                    # in the data's own type and units

Whoever reads data for a model, or shows or writes what one made, asks it and does no arithmetic of its own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.data.dataset import Dataset
from elucidiff.data.moments import Moments
from elucidiff.denoisers.base import AnyDenoiser
from elucidiff.devices import widest_type
from elucidiff.parts import part

__all__ = [
    "AsStored",
    "Log",
    "Pixels",
    "Range",
    "Scaling",
    "Standard",
    "is_picture",
    "scaling_of",
    "to_uint8",
    "to_unit",
]

_VALUES_AT_ONCE = 1 << 22
# Stands for a value of 0 on a logarithmic scale: so many standard deviations below the mean logarithm.
_BELOW = 2.0


def is_picture(shape: Sequence[int]) -> bool:
    """True if samples of ``shape`` (C, *spatial) can be shown as they are: two dimensions, grey, RGB or RGBA."""
    return len(shape) == 3 and shape[0] in (1, 3, 4)


def to_unit(images: Tensor) -> Tensor:
    """Images as float32 in the units of the noise levels.

    8-bit images become x / 127.5 - 1, in [-1, 1], the range that sigma_data = 0.5 of Karras et al. 2022 (Table 1)
    refers to. Floating-point data keep their values; a :class:`Scaling` brings them to the units of a model.

    Args:
        images: uint8 or floating point, any shape.

    Returns:
        float32, of the same shape and on the same device.

    Raises:
        ValueError: ``images`` are neither uint8 nor floating point.

    >>> import torch
    >>> import elucidiff as ed
    >>> ed.data.to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [-1.0, 1.0]
    """
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(127.5).sub_(1)
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}, but must be uint8 (0..255) or floating point")
    return images.to(torch.float32)


def to_uint8(x: Tensor) -> Tensor:
    """Images in [-1, 1] as 8-bit ones: 127.5 x + 128, clipped to [0, 255] and truncated; same shape.

    >>> import torch
    >>> import elucidiff as ed
    >>> ed.data.to_uint8(torch.tensor([-1.0, 1.0])).tolist()
    [0, 255]
    """
    return (x * 127.5 + 128).clip(0, 255).to(torch.uint8)


class Scaling(ABC):
    """An invertible function of every value, by channel, between data and what a denoiser sees.

    Where it depends on the data, it is chosen first (``Standard()``) and then :meth:`measured`; a model keeps the
    measured one in ``facts["data"]["scaling"]``, where :func:`scaling_of` finds it.

    >>> import elucidiff as ed, torch
    >>> fields = 280 + 10 * torch.randn(100, 1, 4, 4, generator=torch.Generator().manual_seed(0))  # kelvin
    >>> scaling = ed.data.Standard().measured(ed.data.Dataset.from_arrays(fields))
    >>> x = scaling.to_model(fields)
    >>> abs(float(x.mean())) < 1e-6, round(float(x.std()), 2)
    (True, 1.0)
    >>> bool((scaling.to_data(x) - fields).abs().max() < 1e-4)
    True
    """

    def measured(self, dataset: Dataset) -> Scaling:
        """This with what it takes from a training set: itself unless stated otherwise.

        Raises:
            ValueError: the data have no such scale: a channel is constant, or has values without a logarithm.
        """
        return self

    @abstractmethod
    def to_model(self, stored: Tensor) -> Tensor:
        """Values as a denoiser sees them, for values ``(B, C, *spatial)`` as the data set holds them.

        Returns:
            float32, of the same shape and on the same device; NaN where a value is missing.

        Raises:
            ValueError: they have another type or number of channels than those that were measured.
        """

    @abstractmethod
    def to_data(self, x: Tensor) -> Tensor:
        """Samples ``(B, C, *spatial)`` in the type and the units of the data: uint8, or float32."""

    @abstractmethod
    def log_slope(self, stored: Tensor) -> Tensor:
        """ln |det d to_model / d stored| of each image, float64 ``(B,)``: what a change of variables adds.

        ln p(stored) = ln p(to_model(stored)) + log_slope(stored). Missing values do not count.
        """

    @property
    def eight_bits(self) -> bool:
        """True if the data are 8-bit levels, which samples are rounded to."""
        return False

    @property
    def data_dtype(self) -> torch.dtype:
        """Type of what :meth:`to_data` gives."""
        return torch.uint8 if self.eight_bits else torch.float32

    def data_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape ``(C, *spatial)`` of what :meth:`to_data` gives of a sample of ``shape``."""
        return tuple(shape)

    @property
    def units(self) -> str:
        """The meaning of values that :meth:`to_data` gives, in words."""
        return "in the units of the training data"

    @property
    def inverse(self) -> str:
        """The meaning of values that a denoiser sees, in words."""
        return f"scaled by {parts.to_text(self)}: undo it for the units of the training data"


@part("scaling", "pixels")
@dataclass(frozen=True)
class Pixels(Scaling):
    """8-bit levels v as x = v / 127.5 - 1, in [-1, 1]; samples are rounded to 8 bits.

    >>> import elucidiff as ed, torch
    >>> ed.data.Pixels().to_data(torch.tensor([-1.0, 0.2, 1.0])).tolist()
    [0, 153, 255]
    """

    def to_model(self, stored: Tensor) -> Tensor:
        """:func:`to_unit`; floating-point values are taken to be in [-1, 1] already."""
        return to_unit(stored)

    def to_data(self, x: Tensor) -> Tensor:
        """:func:`to_uint8`."""
        return to_uint8(x)

    def log_slope(self, stored: Tensor) -> Tensor:
        """-n ln(127.5), n values an image."""
        return _of_each(stored, -math.log(127.5) * stored[:1].numel())

    @property
    def eight_bits(self) -> bool:
        """Yes."""
        return True

    @property
    def units(self) -> str:
        """See :class:`Scaling`."""
        return "8-bit levels"

    @property
    def inverse(self) -> str:
        """See :class:`Scaling`."""
        return "in [-1, 1]: 127.5 x + 127.5 brings them back to 0..255"


@part("scaling", "none")
@dataclass(frozen=True)
class AsStored(Scaling):
    """Floating-point data as they are; 8-bit data become ``pixels``."""

    def measured(self, dataset: Dataset) -> Scaling:
        """:class:`Pixels` for 8-bit data, else itself."""
        return Pixels() if dataset.dtype == torch.uint8 else self

    def to_model(self, stored: Tensor) -> Tensor:
        """The values themselves."""
        return to_unit(stored)

    def to_data(self, x: Tensor) -> Tensor:
        """The values themselves."""
        return x.to(torch.float32)

    @property
    def inverse(self) -> str:
        """See :class:`Scaling`."""
        return self.units

    def log_slope(self, stored: Tensor) -> Tensor:
        """0."""
        return _of_each(stored, 0.0)


class _Measured(Scaling):
    """The base of scalings that are measured: y = (g(x) - centre) / spread in each channel."""

    def measured(self, dataset: Dataset) -> Scaling:
        """This with what it takes from a data set, where that is not given.

        Raises:
            ValueError: see :meth:`Scaling.measured`.
        """
        if dataset.dtype == torch.uint8:
            self._refuse(dataset.dtype)
        if self._spreads:
            self.to_model(dataset.images([0]))  # refuses another number of channels
            return self
        moments = moments_of(dataset)
        _refuse_constant(dataset.name, moments)
        return self._with(dataset, moments)

    @abstractmethod
    def _with(self, dataset: Dataset, moments: Moments) -> Scaling:
        """This with what it takes from a data set, whose moments are known."""

    @property
    @abstractmethod
    def _centres(self) -> tuple[float, ...]: ...

    @property
    @abstractmethod
    def _spreads(self) -> tuple[float, ...]: ...

    def to_model(self, stored: Tensor) -> Tensor:
        """(g(x) - centre) / spread, computed in float64."""
        wide = self._wide(stored)
        return ((self._curved(wide) - _column(self._centres, wide)) / _column(self._spreads, wide)).float()

    def to_data(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`to_model`, computed in float64."""
        wide = x.to(widest_type(x.device))
        return self._straight(wide * _column(self._spreads, wide) + _column(self._centres, wide)).float()

    def log_slope(self, stored: Tensor) -> Tensor:
        """Sum of ln g'(x) - ln(spread) over all values that are not missing."""
        wide = self._wide(stored)
        slopes = self._log_curve(wide) - _column(self._spreads, wide).log()
        return slopes.masked_fill(wide.isnan(), 0.0).double().flatten(1).sum(1)

    def _wide(self, stored: Tensor) -> Tensor:
        if not stored.is_floating_point():
            self._refuse(stored.dtype)
        if not self._spreads:
            raise ValueError(f"{parts.name_of(self)} has not been measured: call measured(dataset) first")
        return stored.to(widest_type(stored.device))

    def _refuse(self, dtype: torch.dtype) -> NoReturn:
        raise ValueError(
            f"the scaling {parts.name_of(self)} is for floating-point data in units of their own, and these are "
            f"{str(dtype).removeprefix('torch.')}: leave --normalise out"
        )

    def _curved(self, wide: Tensor) -> Tensor:
        return wide

    def _straight(self, wide: Tensor) -> Tensor:
        return wide

    def _log_curve(self, wide: Tensor) -> Tensor:
        return torch.zeros_like(wide)


@part("scaling", "standard")
@dataclass(frozen=True)
class Standard(_Measured):
    """Each channel with mean 0 and standard deviation 1: y = (x - mean) / std. The usual choice.

    Args:
        means: of each channel, measured if they are not given.
        stds: standard deviation of each channel, likewise.

    >>> import elucidiff as ed, torch
    >>> ed.data.Standard((280.0,), (10.0,)).to_model(torch.tensor([[[300.0]]])).tolist()
    [[[2.0]]]
    """

    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_columns(means=self.means, stds=self.stds)
        _check_above_0(stds=self.stds)

    def _with(self, dataset: Dataset, moments: Moments) -> Scaling:
        return replace(self, means=tuple(moments.means.tolist()), stds=tuple(moments.channel_stds.tolist()))

    @property
    def _centres(self) -> tuple[float, ...]:
        return self.means

    @property
    def _spreads(self) -> tuple[float, ...]:
        return self.stds


@part("scaling", "range")
@dataclass(frozen=True)
class Range(_Measured):
    """Each channel from -1, its lowest value, to 1, its highest: y = 2 (x - low) / (high - low) - 1.

    It suits values between hard limits, such as shares. One outlier makes all others small.

    Args:
        lows: the value of each channel that becomes -1, measured if they are not given.
        highs: the value of each channel that becomes 1, likewise.

    >>> import elucidiff as ed, torch
    >>> ed.data.Range((0.0,), (100.0,)).to_model(torch.tensor([[[75.0]]])).tolist()
    [[[0.5]]]
    """

    lows: tuple[float, ...] = ()
    highs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_columns(lows=self.lows, highs=self.highs)
        if not all(low < high for low, high in zip(self.lows, self.highs, strict=True)):
            raise ValueError(f"lows are {self.lows} and highs {self.highs}: every low must be below its high")

    def _with(self, dataset: Dataset, moments: Moments) -> Scaling:
        return replace(self, lows=tuple(moments.lows.tolist()), highs=tuple(moments.highs.tolist()))

    @property
    def _centres(self) -> tuple[float, ...]:
        return tuple((low + high) / 2 for low, high in zip(self.lows, self.highs, strict=True))

    @property
    def _spreads(self) -> tuple[float, ...]:
        return tuple((high - low) / 2 for low, high in zip(self.lows, self.highs, strict=True))


@part("scaling", "log")
@dataclass(frozen=True)
class Log(_Measured):
    """The logarithm of positive channels with heavy tails, with mean 0 and std 1: y = (ln(x + offset) - mean) / std.

    For rain, concentrations, energies. Where a channel has zeros, the offset is exp(m - 2 s), m and s the mean and
    the standard deviation of ln x over its positive values: zeros come to lie just below the small ones. Samples
    below 0 become 0. Channels that are not named are treated as by ``standard``.

    Args:
        channels: numbers of the channels whose logarithm is taken; all if none are given.
        offsets: what is added to each channel before the logarithm, measured if they are not given.
        means: of each channel, or of its logarithm; likewise.
        stds: standard deviation of each channel, or of its logarithm; likewise.

    >>> import elucidiff as ed, torch
    >>> scaling = ed.data.Log(offsets=(0.0,), means=(0.0,), stds=(2.0,))
    >>> scaling.to_data(torch.tensor([[[0.5]]])).tolist()  # e
    [[[2.7182817459106445]]]
    """

    channels: tuple[int, ...] = ()
    offsets: tuple[float, ...] = ()
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.stds:  # while they are measured, offsets come first
            _check_columns(offsets=self.offsets, means=self.means, stds=self.stds)
        _check_above_0(stds=self.stds)
        if not all(0 <= offset < math.inf for offset in self.offsets):
            raise ValueError(f"offsets are {self.offsets}, but must not be negative")

    def _with(self, dataset: Dataset, moments: Moments) -> Scaling:
        channels, lows = range(dataset.shape[0]), moments.lows.tolist()
        for channel in self.channels or channels:
            if channel not in channels:
                raise ValueError(f"log:channels has {channel}, but {dataset.name} has channels 0 to {channels[-1]}")
            if lows[channel] < 0:
                raise ValueError(
                    f"channel {channel} of {dataset.name} goes down to {lows[channel]:g}, and values "
                    "below 0 have no logarithm: name the channels that are to have one, as in log:channels=0/2"
                )
        positive = moments_of(dataset, lambda piece: piece.double().where(piece > 0, math.nan).log())
        below = (positive.means - _BELOW * positive.channel_stds).exp()
        taken = set(self.channels or channels)
        zeros = torch.tensor([low == 0 and channel in taken for channel, low in enumerate(lows)])
        curve = replace(self, offsets=tuple(torch.where(zeros, below, 0.0).tolist()))
        curved = moments_of(dataset, lambda piece: curve._curved(piece.double()))
        return replace(curve, means=tuple(curved.means.tolist()), stds=tuple(curved.channel_stds.tolist()))

    @property
    def _centres(self) -> tuple[float, ...]:
        return self.means

    @property
    def _spreads(self) -> tuple[float, ...]:
        return self.stds

    def _curved(self, wide: Tensor) -> Tensor:
        logs = (wide + _column(self.offsets, wide)).clamp_min(torch.finfo(wide.dtype).tiny).log()
        return torch.where(self._taken(wide), logs, wide)

    def _straight(self, wide: Tensor) -> Tensor:
        values = (wide.exp() - _column(self.offsets, wide)).clamp_min(0)
        return torch.where(self._taken(wide), values, wide)

    def _log_curve(self, wide: Tensor) -> Tensor:
        return torch.where(self._taken(wide), -(wide + _column(self.offsets, wide)).log(), 0.0)

    def _taken(self, wide: Tensor) -> Tensor:
        """True for the channels that have a logarithm, (C, 1, ...)."""
        numbers = torch.arange(wide.shape[1], device=wide.device)
        chosen = torch.tensor(self.channels or range(wide.shape[1]), device=wide.device)
        return torch.isin(numbers, chosen).reshape(-1, *[1] * (wide.ndim - 2))


def scaling_of(denoiser: AnyDenoiser) -> Scaling:
    """The scaling that a model was trained with, by its facts.

    One that does not tell, as from elsewhere, is taken to be of 8-bit pictures if its samples have the shape of
    pictures, as nearly all are; of others values are kept as they are.

    Raises:
        ValueError: the facts hold something else.

    >>> import elucidiff as ed
    >>> ed.data.scaling_of(ed.ideal.DataPosterior(torch.zeros(2, 3, 8, 8)))
    Pixels()
    """
    facts = denoiser.facts.get("data")
    known: dict[str, Any] = facts if isinstance(facts, dict) else {}
    if "scaling" in known:
        found: Scaling = parts.from_plain("scaling", known["scaling"])
        return found
    pictures = "uint8" if is_picture(denoiser.sample_shape) else "float32"
    return Pixels() if known.get("dtype", pictures) == "uint8" else AsStored()


def moments_of(dataset: Dataset, change: Callable[[Tensor], Tensor] = lambda stored: stored) -> Moments:
    """Moments of all values of a data set, read in pieces.

    Args:
        dataset: the data.
        change: of values ``(n, C, *spatial)``, such as :meth:`Scaling.to_model`; none by default.
    """
    moments, size = Moments(), max(1, _VALUES_AT_ONCE // math.prod(dataset.shape))
    for start in range(0, len(dataset), size):
        moments.add(change(dataset.images(range(start, min(start + size, len(dataset))))))
    return moments


def _column(values: Sequence[float], wide: Tensor) -> Tensor:
    """Values by channel so that they fit ``(B, C, *spatial)``; one for all channels, or one each."""
    if len(values) not in (1, wide.shape[1]):
        raise ValueError(f"the scaling was made for {len(values)} channels, but these data have {wide.shape[1]}")
    return torch.tensor(values, dtype=wide.dtype, device=wide.device).reshape(-1, *[1] * (wide.ndim - 2))


def _of_each(stored: Tensor, value: float) -> Tensor:
    return torch.full((len(stored),), value, dtype=widest_type(stored.device), device=stored.device)


def _refuse_constant(name: str, moments: Moments) -> None:
    for channel, (count, low, high) in enumerate(
        zip(moments.counts.tolist(), moments.lows.tolist(), moments.highs.tolist(), strict=True)
    ):
        if not count:
            raise ValueError(f"channel {channel} of {name} has no values at all: leave it out")
        if low == high:
            raise ValueError(
                f"channel {channel} of {name} is {low:g} everywhere, so there is no scale to measure: leave it out"
            )


def _check_columns(**columns: tuple[float, ...]) -> None:
    if len({len(values) for values in columns.values()}) > 1:
        names = " and ".join(columns)
        raise ValueError(f"{names} must be given together, a value for each channel: they are {columns}")
    for name, values in columns.items():
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f"{name} are {values}, but must be finite")


def _check_above_0(**columns: tuple[float, ...]) -> None:
    for name, values in columns.items():
        if not all(value > 0 for value in values):
            raise ValueError(f"{name} are {values}, but must be positive")
