"""Means and standard deviations of a data set, and whether they fit what training assumes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Of pictures in [-1, 1], the standard deviation is within a factor of two of the paper's 0.5, save for the rarest.
_UNFIT = 2.0
_UNEVEN = 10.0
_OFF_CENTRE = 3.0


@dataclass
class Moments:
    """Mean, variance and range of each channel, of images that come in pieces. Missing values (NaN) are left out.

    The pieces are merged as by Chan, Golub and LeVeque (1983), so that a mean far from 0 costs no digits.

    Attributes:
        images: number of images so far.
        places: number of values that each channel would have so far if none were missing.
        counts: number of values of each channel so far, float64 ``(C,)``.
        means: of each channel, float64 ``(C,)``.
        lows, highs: the lowest and the highest value of each channel, float64 ``(C,)``.

    >>> moments = Moments()
    >>> moments.add(torch.tensor([[[1.0, 3.0], [5.0, float("nan")]]]))
    >>> moments.means.tolist(), moments.counts.tolist()
    ([2.0, 5.0], [2.0, 1.0])
    """

    images: int = 0
    places: int = 0
    counts: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    means: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    lows: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    highs: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    _squares: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))

    def add(self, images: Tensor) -> None:
        """Take in images ``(B, C, *spatial)``."""
        if not len(images):
            return
        flat = images.transpose(0, 1).flatten(1).double()
        missing = flat.isnan()
        counts = (~missing).sum(1).double()
        means = flat.nansum(1) / counts.clamp_min(1)
        squares = (flat - means[:, None]).square().nansum(1)
        lows, highs = flat.masked_fill(missing, math.inf).amin(1), flat.masked_fill(missing, -math.inf).amax(1)
        if not self.images:
            self.counts, self.means, self._squares = (torch.zeros_like(means) for _ in range(3))
            self.lows, self.highs = lows, highs
        apart, total = means - self.means, self.counts + counts
        share = counts / total.clamp_min(1)
        self._squares += squares + apart.square() * (self.counts * share)
        self.means += apart * share
        self.images, self.places, self.counts = self.images + len(images), self.places + flat.shape[1], total
        self.lows, self.highs = torch.minimum(self.lows, lows), torch.maximum(self.highs, highs)

    @property
    def lowest(self) -> float:
        """The lowest of all values; infinite if there are none."""
        return float(self.lows.min()) if self.images else math.inf

    @property
    def highest(self) -> float:
        """The highest of all values; minus infinity if there are none."""
        return float(self.highs.max()) if self.images else -math.inf

    @property
    def missing(self) -> float:
        """Share of the values that are missing."""
        return 1 - float(self.counts.mean()) / self.places if self.images else 0.0

    @property
    def mean(self) -> float:
        """Mean of all values."""
        return float(self.means.mean())

    @property
    def channel_stds(self) -> Tensor:
        """Standard deviation of each channel about its own mean, float64 ``(C,)``."""
        return self._variances.sqrt()

    @property
    def _variances(self) -> Tensor:
        return self._squares / self.counts.clamp_min(1)

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the data: root of the mean variance of the channels, each about its own mean.

        Karras et al. 2022 (Table 1, App. B.6) derive the preconditioning from the standard deviation of the data,
        0.5. A mean other than 0 is nothing that a denoiser has to find out, so it does not count, nor does what the
        means of the channels differ by. It is *not* the root mean square about 0.
        """
        return math.sqrt(float(self._variances.mean()))

    @property
    def norm(self) -> float:
        """Root mean square of an image's Euclidean distance from the channels' means."""
        return math.sqrt(float(self._squares.sum()) / self.images)

    def misfits(self, name: str, sigma_data: float, is_8_bit: bool) -> tuple[str, ...]:
        """Ways in which the data do not fit a training for a given sigma_data, in a line each.

        Args:
            name: of the data set.
            sigma_data: standard deviation for which preconditioning and noise levels are made.
            is_8_bit: whether the images are stored as such, and so cannot be in a wrong unit.
        """
        found, std = [], self.sigma_data
        if std == 0:
            return (f"every channel of {name} has the same value everywhere: there is nothing to learn",)
        ratio = std / sigma_data
        if not 1 / _UNFIT < ratio < _UNFIT:
            factor = f"{ratio:.3g} times" if ratio > 1 else f"1/{1 / ratio:.3g} of"
            found.append(
                f"the standard deviation of {name} is {std:.3g}, {factor} sigma_data ({sigma_data:g}), to which the "
                f"network's input and the noise levels are scaled: {self._remedy(std, ratio, is_8_bit)}"
            )
        narrowest, widest = (float(each) for each in self.channel_stds.aminmax())
        if widest > _UNEVEN * narrowest:
            found.append(
                f"the channels of {name} have standard deviations from {narrowest:.3g} to {widest:.3g}, which no "
                "sigma_data suits: train with --normalise standard, and leave out any that is constant"
            )
        farthest = float((self.means.abs() / self.channel_stds.clamp_min(std / _UNEVEN)).max())
        if not is_8_bit and farthest > _OFF_CENTRE:
            found.append(
                f"the mean of {name} is {farthest:.3g} standard deviations from 0, which sigma_data takes no account "
                "of: train with --normalise standard"
            )
        return tuple(found)

    def _remedy(self, std: float, ratio: float, is_8_bit: bool) -> str:
        settings = f"set sigma_data to {std:.2g} and add {math.log(ratio):.2g} to p_mean"
        if is_8_bit:
            return settings
        if self.looks_8_bit:
            return (
                f"its values are 0 to {self.highest:g}, as of 8-bit pictures: save them as uint8, or as x / 127.5 - 1"
            )
        return f"train with --normalise standard, or {settings}"

    @property
    def looks_8_bit(self) -> bool:
        """True if the values are those of pictures in 0..255, which floating-point data can hold unscaled."""
        return self.lowest >= 0 and 64 < self.highest <= 255
