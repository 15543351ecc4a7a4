"""Scalings that are measured: every channel of floating-point data in units of its own spread."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.data.dataset import Dataset
from elucidiff.data.moments import Moments
from elucidiff.data.scaling import AsStored, Pixels, Scaling, Transparent, has_alpha, moments_of
from elucidiff.devices import widest_type
from elucidiff.parts import part

__all__ = ["Automatic", "Log", "Range", "Standard", "choose_scaling"]

# Stands for a value of 0 on a logarithmic scale: so many standard deviations below the mean logarithm.
_BELOW = 2.0
# Channels are left as they are if their means and spreads are those of data that somebody has scaled.
_CENTRED, _ALIKE, _NARROW, _WIDE = 0.5, 2.0, 0.2, 2.0
# A channel that is nowhere negative has a heavy tail if its spread is so many times its mean, and its highest value
# so many spreads above that: of a normal, uniform or exponential distribution neither is.
_TAIL, _FAR = 1.2, 10.0


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

    @property
    def linear(self) -> bool:
        """No."""
        return False

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


@part("scaling", "auto")
@dataclass(frozen=True)
class Automatic(Scaling):
    """The scaling that suits the data: see :func:`choose_scaling`.

    >>> import elucidiff as ed
    >>> pictures = ed.data.Dataset.from_arrays(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    >>> ed.data.Automatic().measured(pictures)
    Pixels()
    """

    def measured(self, dataset: Dataset) -> Scaling:
        """The chosen one, measured."""
        return choose_scaling(dataset)[0].measured(dataset)

    def to_model(self, stored: Tensor) -> Tensor:
        """Refuse: it has to be measured first."""
        self._refuse()

    def to_data(self, x: Tensor) -> Tensor:
        """Refuse: it has to be measured first."""
        self._refuse()

    def log_slope(self, stored: Tensor) -> Tensor:
        """Refuse: it has to be measured first."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ValueError("the scaling auto has not been measured: call measured(dataset) first")


def choose_scaling(dataset: Dataset) -> tuple[Scaling, str]:
    """The scaling that suits a data set, not yet measured, and why.

    8-bit data are ``pixels``, or ``transparent`` if they have an alpha channel. Floating-point data that somebody has
    centred and scaled already stay as they are (``none``); others become ``standard``, where a channel is positive
    with a heavy tail ``log`` for that channel.

    >>> import elucidiff as ed
    >>> fields = 280 + 10 * torch.randn(100, 1, 4, 4, generator=torch.Generator().manual_seed(0))  # kelvin
    >>> ed.data.choose_scaling(ed.data.Dataset.from_arrays(fields))
    (Standard(means=(), stds=()), 'mean 280.4, standard deviation 10.3: undone when the model is sampled')
    """
    if has_alpha(dataset.shape, dataset.dtype):
        return Transparent(), "8-bit levels become -1 to 1, and white what lies under wholly transparent pixels"
    if dataset.dtype == torch.uint8:
        return Pixels(), "8-bit levels become -1 to 1"
    moments = moments_of(dataset)
    means, stds = moments.means, moments.channel_stds
    lows, highs = moments.lows, moments.highs
    heavy = [
        channel
        for channel in range(len(means))
        if lows[channel] >= 0
        and stds[channel] > _TAIL * means[channel]
        and highs[channel] > means[channel] + _FAR * stds[channel]
    ]
    if heavy:
        chosen = Log() if len(heavy) == len(means) else Log(channels=tuple(heavy))
        which = "every channel is positive" if len(heavy) == len(means) else f"{_called(heavy)} positive"
        others = "" if len(heavy) == len(means) else "; the others become mean 0, standard deviation 1"
        return chosen, f"{which} with a heavy tail{others}; undone when the model is sampled"
    narrow, wide = float(stds.min()), float(stds.max())
    if wide == 0:
        return AsStored(), "every channel is constant"
    if narrow > _NARROW and wide < min(_WIDE, _ALIKE * narrow) and float((means.abs() / stds).max()) < _CENTRED:
        return AsStored(), f"they are centred and alike: standard deviations {narrow:.3g} to {wide:.3g}"
    each = f"mean {float(means[0]):.4g}, standard deviation {narrow:.3g}"
    if len(means) > 1:
        each = f"{len(means)} channels with standard deviations {narrow:.3g} to {wide:.3g}"
    return Standard(), f"{each}: undone when the model is sampled"


def _called(channels: Sequence[int]) -> str:
    names = ", ".join(map(str, channels))
    return f"channel {names} is" if len(channels) == 1 else f"channels {names} are"


def _column(values: Sequence[float], wide: Tensor) -> Tensor:
    """Values by channel so that they fit ``(B, C, *spatial)``; one for all channels, or one each."""
    if len(values) not in (1, wide.shape[1]):
        raise ValueError(f"the scaling was made for {len(values)} channels, but these data have {wide.shape[1]}")
    return torch.tensor(values, dtype=wide.dtype, device=wide.device).reshape(-1, *[1] * (wide.ndim - 2))


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
