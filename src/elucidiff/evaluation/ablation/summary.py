"""What several seeds say together: mean, standard error, and differences between what had the same seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats

TIE = 0.05
"""Chance of telling two equal configurations apart, at which they count as distinguishable."""

_MOST_DECIMALS, _VANISHING = 9, 1e-6


@dataclass(frozen=True)
class Spread:
    """Mean of some values and how well it is known.

    Attributes:
        mean: arithmetic mean; NaN if one of the values is not finite.
        error: standard error of the mean, s / sqrt(n) with s of n - 1 degrees of freedom; NaN for one value.
        count: n.
    """

    mean: float
    error: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        if not all(map(math.isfinite, values)):
            return cls(math.nan, math.nan, len(values))
        error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(fmean(values), error, len(values))

    def text(self, sign: bool = False) -> str:
        """Mean and standard error, such as ``0.1234 ± 0.0056``: to two digits of the error, or three of the mean.

        What would vanish behind nine decimals is written with powers of ten.

        Args:
            sign: whether to write a plus sign.
        """
        if not math.isfinite(self.mean):
            return "not finite"
        decimals = 1 - _magnitude(self.error) if self.error > 0 else 2 - _magnitude(self.mean)
        plus, form = "+" if sign else "", f".{min(max(decimals, 0), _MOST_DECIMALS)}f"
        if decimals > _MOST_DECIMALS and abs(self.mean) < _VANISHING:
            form = ".1e"
        mean = f"{self.mean:{plus}z{form}}"
        return mean if math.isnan(self.error) else f"{mean} ± {self.error:{form}}"

    def may_be_zero(self) -> bool:
        """Whether a mean difference is compatible with none: a t-test, two-sided, with a chance of error of 5%.

        Of a single value nothing can be said; then it is False.
        """
        if self.count < 2 or not math.isfinite(self.mean):
            return False
        return abs(self.mean) <= float(stats.t.ppf(1 - TIE / 2, self.count - 1)) * self.error


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> Spread | None:
    """The spread of the differences ``values - reference`` over the seeds that both have; None if there are none.

    What a seed has in common, such as latents or the order of the data, cancels, so the difference may be known far
    better than either mean.
    """
    common = [seed for seed in values if seed in reference]
    return Spread.of([values[seed] - reference[seed] for seed in common]) if common else None


def _magnitude(value: float) -> int:
    """The power of ten of the first digit."""
    return math.floor(math.log10(abs(value))) if value else 0
