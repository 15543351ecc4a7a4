"""Steps: noise levels sigma_0 > ... > sigma_(N-1), followed by sigma_N = 0, for a denoiser of some range."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from elucidiff.design.values import check_integer, check_range
from elucidiff.parts import part, setting


class Steps(ABC):
    """A way to space noise levels: what a run's ``sigmas`` are, once a denoiser's range is known.

    >>> import elucidiff as ed
    >>> steps = ed.parts.parse("steps", "karras:n=5,sigma_min=0.002,sigma_max=80")
    >>> isinstance(steps, ed.steps.Steps), steps.range_within(lowest=0.01)
    (True, (0.01, 80.0))
    """

    @abstractmethod
    def within(self, lowest: float = 0.0, highest: float = math.inf) -> Tensor:
        """Noise levels (N + 1,), float64 on the CPU, decreasing to 0, for a denoiser of this range.

        Raises:
            ValueError: nothing of the range is left, or a value does not fit it.
        """

    @abstractmethod
    def range_within(self, lowest: float = 0.0, highest: float = math.inf) -> tuple[float, float]:
        """The lowest and the highest positive noise level that are meant, for a denoiser of this range."""


@dataclass(frozen=True)
class Spaced(Steps):
    """Steps of a number and a range; a new spacing is :meth:`between`, and its settings.

    Args:
        n: number of steps N.
        sigma_min: lowest noise level before 0; by default that of the spacing. Clamped to the denoiser's range.
        sigma_max: highest noise level, where sampling starts; likewise.

    Raises:
        ValueError: ``n`` is not positive, or the range is none.

    >>> import elucidiff as ed
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Even(ed.steps.Spaced):
    ...     def between(self, sigma_min, sigma_max):
    ...         levels = torch.linspace(sigma_max, sigma_min, self.n, dtype=torch.float64)
    ...         return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])
    ...
    >>> Even(n=4, sigma_min=1.0, sigma_max=7.0).within(lowest=0.0, highest=4.0).tolist()  # a denoiser that ends at 4
    [4.0, 3.0, 2.0, 1.0, 0.0]
    """

    endless: ClassVar[bool] = False
    """True if ``sigma_max`` may be infinite, where a sample is unit noise."""

    n: int = setting(18, search=(6, 36), log=True)
    sigma_min: float | None = setting(None, search=(0.0005, 0.05), log=True)
    sigma_max: float | None = setting(None, search=(20.0, 160.0), log=True)

    def __post_init__(self) -> None:
        check_count(self.n)
        low, high = self._wanted()
        check_range(low, 2 * low if self.endless and high == math.inf else high)

    def usual_range(self) -> tuple[float, float]:
        """The range where none is given: 0.002 to 80, the paper's (Karras et al. 2022, Table 1)."""
        return 0.002, 80.0

    @abstractmethod
    def between(self, sigma_min: float, sigma_max: float) -> Tensor:
        """Noise levels (n + 1,) from ``sigma_max`` down to ``sigma_min``, then 0; float64 on the CPU."""

    def range_within(self, lowest: float = 0.0, highest: float = math.inf) -> tuple[float, float]:
        """The part of the range that lies within [lowest, highest].

        Raises:
            ValueError: nothing is left.
        """
        sigma_min, sigma_max = self._wanted()
        low, high = max(sigma_min, lowest), min(sigma_max, highest)
        if not low < high:
            raise ValueError(
                f"no noise levels are left between sigma_min = {sigma_min:g} and sigma_max = {sigma_max:g}: "
                f"the denoiser supports {lowest:g} to {highest:g}"
            )
        return low, high

    def _wanted(self) -> tuple[float, float]:
        """The range that was given, each end that was left out as usual."""
        low, high = self.usual_range()
        return low if self.sigma_min is None else self.sigma_min, high if self.sigma_max is None else self.sigma_max

    def within(self, lowest: float = 0.0, highest: float = math.inf) -> Tensor:
        """:meth:`between` the ends of :meth:`range_within`."""
        return self.between(*self.range_within(lowest, highest))

    def __call__(
        self, n: int | None = None, sigma_min: float | None = None, sigma_max: float | None = None
    ) -> Tensor:
        """Noise levels for another number of steps or range; what is left out is as it is here."""
        low, high = self.range_within()
        steps = self if n is None else replace(self, n=n)
        return steps.between(low if sigma_min is None else sigma_min, high if sigma_max is None else sigma_max)


@part("steps", "levels")
@dataclass(frozen=True)
class Levels(Steps):
    """The noise levels themselves, as somebody chose or optimised them.

    Args:
        levels: noise levels (N + 1,), decreasing, the last 0.

    Raises:
        ValueError: they do not decrease to a final 0.

    >>> import elucidiff as ed
    >>> ed.parts.to_text(ed.steps.Levels((80.0, 2.0, 0.1, 0.0)))
    'levels:levels=80/2/0.1/0'
    """

    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        check_levels(torch.tensor(self.levels, dtype=torch.float64))

    @property
    def n(self) -> int:
        """The number of steps."""
        return len(self.levels) - 1

    def range_within(self, lowest: float = 0.0, highest: float = math.inf) -> tuple[float, float]:
        """The lowest and the highest of them.

        Raises:
            ValueError: they leave [lowest, highest].
        """
        low, high = self.levels[-2], self.levels[0]
        # Rounding may have moved what was clamped to the denoiser's range.
        if low < lowest * (1 - 1e-9) or high > highest * (1 + 1e-9):
            raise ValueError(
                f"the noise levels go from {high:g} to {low:g}, but the denoiser supports {lowest:g} to {highest:g}"
            )
        return low, high

    def within(self, lowest: float = 0.0, highest: float = math.inf) -> Tensor:
        """They, unchanged."""
        self.range_within(lowest, highest)
        return torch.tensor(self.levels, dtype=torch.float64)


def check_levels(sigmas: Tensor) -> None:
    """Raise ValueError unless ``sigmas`` are noise levels (N + 1,) that decrease (repeats allowed) to a final 0.

    >>> import elucidiff as ed
    >>> ed.steps.check_levels(torch.tensor([2.0, 1.0, 0.0]))
    >>> ed.steps.check_levels(torch.tensor([1.0, 2.0, 0.0]))
    Traceback (most recent call last):
        ...
    ValueError: sigmas must decrease, and be positive but for the final 0
    """
    if sigmas.ndim != 1 or len(sigmas) < 2:
        raise ValueError(f"sigmas has shape {tuple(sigmas.shape)}, but must be (N + 1,) with N >= 1 steps")
    if not bool(sigmas[1:].isfinite().all() and not sigmas[0].isnan()):
        raise ValueError("sigmas holds values that are not finite, after the first, which may be infinite")
    if float(sigmas[-1]) != 0:
        raise ValueError(f"the last of sigmas is {float(sigmas[-1]):g}, but must be 0")
    if not bool((sigmas[:-1] > 0).all() and (sigmas.diff() <= 0).all()):
        raise ValueError("sigmas must decrease, and be positive but for the final 0")


def fractions(n: int, sigma_min: float, sigma_max: float) -> Tensor:
    """i / (N - 1) for i = 0 ... N - 1, after the checks that all discretizations share."""
    check_count(n)
    check_range(sigma_min, sigma_max)
    return evenly(n)


def evenly(n: int) -> Tensor:
    """From 0 to 1 in ``n`` numbers; 0 alone for one."""
    return torch.arange(n, dtype=torch.float64) / max(n - 1, 1)


def check_count(n: int) -> None:
    check_integer(n=n)
    if n < 1:
        raise ValueError(f"{n} sampling steps are too few: use at least 1")


def with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])
