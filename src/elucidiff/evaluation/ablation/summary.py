"""What several seeds say together: mean, standard error, and differences between what had the same seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


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

        Args:
            sign: whether to write a plus sign.
        """
        if not math.isfinite(self.mean):
            return "not finite"
        decimals = 1 - _magnitude(self.error) if self.error > 0 else 2 - _magnitude(self.mean)
        decimals = min(max(decimals, 0), 9)
        mean = f"{self.mean:{'+' if sign else ''}z.{decimals}f}"
        return mean if math.isnan(self.error) else f"{mean} ± {self.error:.{decimals}f}"


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
