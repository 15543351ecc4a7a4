"""The spacings of home samplers: those of flows, of tables of discrete times, and of published schedules.

A network that came from elsewhere was trained, and is sampled at home, along its own time. These are noise levels
spaced evenly in such a time, in units of images in [-1, 1], the noise at them unscaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from elucidiff.design.noise_tables import Betas, Spacing, alpha_bars, spaced_times
from elucidiff.design.steps.base import Spaced, with_zero
from elucidiff.design.values import check_positive
from elucidiff.parts import part

_NEARLY_NOISE = 1000.0


@part("steps", "flow")
@dataclass(frozen=True)
class Flow(Spaced):
    """Even steps of the time of a flow: sigma_i = k t_i / (1 - t_i), t_i = t_0 (1 - i/N) (Lipman et al. 2023).

    t = sigma / (k + sigma) runs from noise at 1 to data at 0. k is the shift of Esser et al. 2024, by which more of
    the steps are where there is much noise; samplers that choose it by the size of the image call ln k mu. With
    ``sigma_max=inf`` the first level is t = 1, pure noise, for denoisers that have an answer there.

    Args:
        sigma_min: lowest noise level before 0, at which the last step begins; by default t_0 / N, as the steps go on.
        sigma_max: highest noise level, by default 1000 k.
        shift: k, the noise level of the time 1/2.

    Raises:
        ValueError: a value is out of its range.

    >>> import elucidiff as ed
    >>> ed.steps.Flow(4, sigma_max=float("inf"))().tolist()
    [inf, 3.0, 1.0, 0.3333333333333333, 0.0]
    >>> ed.steps.Flow(2, sigma_max=float("inf"), shift=3.0)().tolist()
    [inf, 3.0, 0.0]
    """

    endless: ClassVar[bool] = True

    shift: float = 1.0

    def __post_init__(self) -> None:
        check_positive(shift=self.shift)
        super().__post_init__()

    def usual_range(self) -> tuple[float, float]:
        """From 1000 k down to where N even steps get before 0."""
        high = _NEARLY_NOISE * self.shift if self.sigma_max is None else self.sigma_max
        return float(self._levels(self._time(high), None)[-1]) * (1 if self.n > 1 else 1e-3), high

    def range_within(self, lowest: float = 0.0, highest: float = math.inf) -> tuple[float, float]:
        """As :meth:`.Spaced.range_within`; where the lowest level is not given, it follows from the highest."""
        begun = replace(self, sigma_max=min(self.usual_range()[1], highest))
        return super(Flow, begun).range_within(lowest, highest)

    def between(self, sigma_min: float, sigma_max: float) -> Tensor:
        """Even steps down from ``sigma_max``; to ``sigma_min``, or at least not below it."""
        last = None if self.sigma_min is None else self._time(sigma_min)
        return with_zero(self._levels(self._time(sigma_max), last).clamp(min=sigma_min))

    def _time(self, sigma: float) -> float:
        return 1.0 if math.isinf(sigma) else sigma / (self.shift + sigma)

    def _levels(self, first: float, last: float | None) -> Tensor:
        end = 0.0 if last is None else last
        places = torch.arange(self.n, dtype=torch.float64) / (self.n if last is None else max(self.n - 1, 1))
        t = first + places * (end - first)
        return self.shift * t / (1 - t)


@dataclass(frozen=True)
class OfTable(Spaced):
    """Levels of a table of alpha-bars, at times that are spaced in some way: sigma = sqrt((1 - abar) / abar).

    Args:
        sigma_min: lowest noise level; by default that of the table. Levels beyond the range are moved to its ends.
        sigma_max: highest noise level; likewise.
        betas: how beta runs from ``beta_start`` to ``beta_end``: linear; scaled_linear, linear in sqrt(beta), as in
            Stable Diffusion; squaredcos_cap_v2, the cosine of improved DDPM, which has no such ends.
        beta_start: 0.0001 in DDPM, 0.00085 in Stable Diffusion.
        beta_end: 0.02 in DDPM, 0.012 in Stable Diffusion.
        times: T, the length of the table.
        offset: added to the times of leading steps.
        extra: points that are made beyond N and left out at the end, by leading and linspace: 1 in DPM-Solver++.
        zero_snr: whether the table is stretched to end in pure noise (Lin et al. 2023), an infinite level.
        whole: whether times are rounded; else levels between those of the table are interpolated in time.

    Raises:
        ValueError: a value is out of its range.

    >>> import elucidiff as ed
    >>> steps = ed.parts.parse("steps", "linspace:n=4")
    >>> sigmas = steps.within()
    >>> isinstance(steps, ed.steps.OfTable), len(sigmas), bool((sigmas.diff() < 0).all())
    (True, 5, True)
    >>> round(float(sigmas[0]), 1)  # the last level of DDPM's table: sqrt((1 - 4.04e-5) / 4.04e-5)
    157.4
    """

    spacing: ClassVar[Spacing]
    endless: ClassVar[bool] = True

    betas: Betas = "linear"
    beta_start: float = 0.0001
    beta_end: float = 0.02
    times: int = 1000
    offset: int = 0
    extra: int = 0
    zero_snr: bool = False
    whole: bool = True

    def __post_init__(self) -> None:
        for name, least, most in (("times", 2, 1 << 20), ("offset", 0, 1 << 20), ("extra", 0, 1 << 20)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}: it must lie between {least} and {most}")
        if self.n > self.times:
            raise ValueError(f"n is {self.n}, but there are only {self.times} times")
        super().__post_init__()

    def usual_range(self) -> tuple[float, float]:
        """That of the table."""
        table = self._table()
        return float(table[0]), float(table[-1])

    def between(self, sigma_min: float, sigma_max: float) -> Tensor:
        """The levels at the times of :meth:`visited`, moved into the range."""
        table, times = self._table(), self.visited().numpy()
        if self.whole:
            levels = table[times.round().astype(np.int64).clip(0, self.times - 1)]
        else:
            levels = np.interp(times, np.arange(self.times), table)
        return with_zero(torch.from_numpy(levels).clamp(sigma_min, sigma_max))

    def visited(self) -> Tensor:
        """The times, decreasing, float64 (N,)."""
        times = spaced_times(self.spacing, self.times, self.times, self.n, self.offset, self.extra)
        return torch.from_numpy(times.clip(0, self.times - 1))

    def _table(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        bars = alpha_bars(self.betas, self.beta_start, self.beta_end, self.times, zero_terminal_snr=self.zero_snr)
        with np.errstate(divide="ignore"):
            sigmas: np.ndarray[tuple[int], np.dtype[np.float64]] = np.sqrt((1 - bars) / bars)
        return sigmas


@part("steps", "trailing")
@dataclass(frozen=True)
class Trailing(OfTable):
    """Times of a table from its last one down in equal strides of T / N: :class:`OfTable`.

    >>> import elucidiff as ed
    >>> ed.steps.Trailing(4).visited().tolist()
    [999.0, 749.0, 499.0, 249.0]
    """

    spacing: ClassVar[Spacing] = "trailing"


@part("steps", "leading")
@dataclass(frozen=True)
class Leading(OfTable):
    """Times of a table in equal strides that end at its first, or at ``offset``: :class:`OfTable`.

    >>> import elucidiff as ed
    >>> ed.steps.Leading(4, offset=1).visited().tolist()
    [751.0, 501.0, 251.0, 1.0]
    """

    spacing: ClassVar[Spacing] = "leading"


@part("steps", "linspace")
@dataclass(frozen=True)
class Linspace(OfTable):
    """Times of a table spaced evenly between its two ends: :class:`OfTable`.

    >>> import elucidiff as ed
    >>> ed.steps.Linspace(4).visited().tolist()
    [999.0, 666.0, 333.0, 0.0]
    """

    spacing: ClassVar[Spacing] = "linspace"


@part("steps", "ays")
@dataclass(frozen=True)
class AYS(Spaced):
    """The schedules that Sabour et al. 2024 ("Align Your Steps", arXiv 2404.14507) optimised for three models.

    They have ten steps. For another number the logarithm of sigma is interpolated linearly over the place in the
    schedule, as its authors advise.

    Args:
        sigma_min: lowest noise level; by default that of the schedule. Levels beyond the range are moved to its ends.
        sigma_max: highest noise level; likewise.
        model: sd for Stable Diffusion 1.5, sdxl for Stable Diffusion XL, svd for Stable Video Diffusion.

    Raises:
        ValueError: a value is out of its range.

    >>> import elucidiff as ed
    >>> ed.steps.AYS(10, model="sd")().tolist()[:3]
    [14.615, 6.475, 3.861]
    """

    n: int = 10
    model: Literal["sd", "sdxl", "svd"] = "sd"

    def usual_range(self) -> tuple[float, float]:
        """The ends of the schedule."""
        return _PUBLISHED[self.model][-1], _PUBLISHED[self.model][0]

    def between(self, sigma_min: float, sigma_max: float) -> Tensor:
        """The schedule, moved into the range."""
        published = np.array(_PUBLISHED[self.model])
        if self.n == len(published):
            levels = published
        else:
            places = np.linspace(0, len(published) - 1, self.n)
            levels = np.exp(np.interp(places, np.arange(len(published)), np.log(published)))
        return with_zero(torch.from_numpy(levels).clamp(sigma_min, sigma_max))


_PUBLISHED = {
    "sd": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113),
    "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034),
}
