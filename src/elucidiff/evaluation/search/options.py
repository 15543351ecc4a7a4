"""What a sampling option may be in a search, and how people write it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from elucidiff.sampling.sampler import Sampler
from elucidiff.suggest import suggestion

CHURN = ("churn", "churn_sigma_min", "churn_sigma_max", "noise_scale")
"""S_churn, S_tmin, S_tmax and S_noise: what is searched unless something else is asked for."""

PAPER_GRID: Mapping[str, tuple[float, ...]] = {
    "churn": tuple(float(10 * k) for k in range(11)),
    "churn_sigma_min": (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
    "churn_sigma_max": (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 80.0),
    "noise_scale": tuple(1 + k / 1000 for k in range(11)),
}
"""The grid of Karras et al. 2022, Appendix E.2."""

Option = float | int | str


@dataclass(frozen=True)
class Interval:
    """All numbers from ``low`` to ``high``, both included.

    Args:
        low, high: the ends.
        log: whether they are spaced, and chosen, by their logarithm.
        step: distance between neighbours; None for any number.
        whole: whether only whole numbers count.

    Raises:
        ValueError: the ends or the step do not fit.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"{self.low:g}:{self.high:g} is no range: the first number must be below the second")
        if self.log and self.low <= 0:
            raise ValueError(f"{self.low:g}:{self.high:g}:log begins at {self.low:g}, which has no logarithm")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"a step of {self.step:g} does not fit into {self.low:g}:{self.high:g}")
        if self.whole and any(value % 1 for value in (self.low, self.high, self.step or 0)):
            raise ValueError(f"{self.low:g}:{self.high:g} must be whole numbers")

    def nearest(self, value: Any) -> Option | None:
        """What comes nearest to ``value``, None if that is no number."""
        if not isinstance(value, int | float):
            return None
        inside = min(max(float(value), self.low), self.high)
        if self.step is not None:
            last = math.floor((self.high - self.low) / self.step + 1e-9)
            inside = self.low + self.step * min(round((inside - self.low) / self.step), last)
        return round(inside) if self.whole else inside

    def draw(self, generator: np.random.Generator) -> Option:
        """One of them, by chance."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = generator.uniform(low, high)
        return self.nearest(math.exp(value) if self.log else value)  # type: ignore[return-value]  # it is a number

    def points(self) -> tuple[Option, ...]:
        """Those that a grid has.

        Raises:
            ValueError: there is no step.
        """
        if self.step is None:
            raise ValueError(
                f"a grid has no place in {self.low:g}:{self.high:g}: write values, A,B,C, or a step, LOW:HIGH:STEP"
            )
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(self.nearest(self.low + k * self.step) for k in range(count))  # type: ignore[misc]


@dataclass(frozen=True)
class Values:
    """A list of values, none nearer to another than the rest.

    Raises:
        ValueError: there are none, or one is there twice.
    """

    values: tuple[Option, ...]

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) < len(self.values):
            raise ValueError(f"{self.values} is no list of different values")

    def nearest(self, value: Any) -> Option | None:
        """``value`` if it is one of them, else None."""
        return value if value in self.values else None

    def draw(self, generator: np.random.Generator) -> Option:
        """One of them, by chance."""
        return self.values[int(generator.integers(len(self.values)))]

    def points(self) -> tuple[Option, ...]:
        """All of them."""
        return self.values


def parse_options(texts: Sequence[str], base: Sampler, *, grid: bool) -> dict[str, Interval | Values]:
    """What to search, as people write it: ``NAME``, ``NAME=LOW:HIGH``, ``NAME=LOW:HIGH:log``, ``NAME=LOW:HIGH:STEP``
    or ``NAME=A,B,C``. A name alone stands for a range that suits most models, or for the paper's values in a grid.

    Args:
        texts: one for each option.
        base: whose number of steps the ranges of churn follow.
        grid: whether a grid is meant.

    Raises:
        ValueError: an option is unknown (the nearest is suggested), is there twice, has no range of its own, or is
            not written as above.
    """
    kinds = _kinds()
    written: dict[str, str] = {}
    for text in texts:
        name, _, how = text.partition("=")
        name = _known(name, kinds)
        if name in written:
            raise ValueError(f"{name} is to be searched twice: name it once")
        written[name] = how.strip()
    options: dict[str, Interval | Values] = {}
    # The number of steps comes first, since the usual range of churn depends on it.
    for name in sorted(written, key=lambda name: name != "n"):
        usual = _paper() if grid else _usual(_most_steps(options.get("n"), base))
        try:
            options[name] = _parse(written[name], kinds[name]) if written[name] else usual[name]
        except KeyError:
            example = f"{name}=A,B,C" if "str" in kinds[name] else f"{name}=LOW:HIGH or {name}=A,B,C"
            raise ValueError(f"{name} has no usual {'grid' if grid else 'range'}: write it, {example}") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return {name: options[name] for name in written}


def _kinds() -> dict[str, str]:
    """The options of sampling and their types; noise levels, which have a verb of their own, left out."""
    return {field.name: str(field.type) for field in fields(Sampler) if field.name != "levels"}


def _known(name: str, kinds: Mapping[str, str]) -> str:
    name = name.strip().replace("-", "_")
    if name not in kinds:
        raise ValueError(f"there is no sampling option {name!r}; {suggestion(name, kinds)}")
    return name


def _paper() -> Mapping[str, Interval | Values]:
    return {name: Values(values) for name, values in PAPER_GRID.items()}


def _usual(steps: int) -> Mapping[str, Interval | Values]:
    """Ranges that suit most models, for at most so many steps."""
    # gamma = S_churn / N is clipped at sqrt(2) - 1, beyond which all values are the same (Algorithm 2).
    most = min(100.0, (math.sqrt(2) - 1) * steps)
    return {
        "churn": Interval(0.0, most),
        # Below the lowest noise level of a run all values are 0, which has no logarithm.
        "churn_sigma_min": Interval(0.001, 10.0, log=True),
        "churn_sigma_max": Interval(0.2, 80.0, log=True),
        "noise_scale": Interval(1.0, 1.01),
        "n": Interval(6, 36, log=True, whole=True),
        "rho": Interval(3.0, 15.0),
        "sigma_min": Interval(0.0005, 0.05, log=True),
        "sigma_max": Interval(20.0, 160.0, log=True),
        "guidance": Interval(1.0, 3.0),
        "solver": Values(("heun", "euler", "dpmpp_2m", "dpmpp_3m", "unipc", "deis", "ipndm")),
    }


def _most_steps(n: Interval | Values | None, base: Sampler) -> int:
    if n is None:
        return base.n
    return int(n.high) if isinstance(n, Interval) else max(int(value) for value in n.values)


def _parse(written: str, kind: str) -> Interval | Values:
    if ":" not in written:
        return Values(tuple(_value(part.strip(), kind) for part in written.split(",")))
    if "str" in kind:
        raise ValueError(f"{written!r} is a range, but names have none: write A,B,C")
    parts = written.split(":")
    if len(parts) > 3:
        raise ValueError(f"{written!r} is not LOW:HIGH, LOW:HIGH:log or LOW:HIGH:STEP")
    log = parts[2:] == ["log"]
    numbers = [_number(part) for part in (parts[:2] if log else parts)]
    return Interval(numbers[0], numbers[1], log, numbers[2] if len(numbers) == 3 else None, "int" in kind)


def _value(text: str, kind: str) -> Option:
    if "str" in kind:
        return text
    number = _number(text)
    if "int" in kind:
        if number % 1:
            raise ValueError(f"{text} must be a whole number")
        return int(number)
    return number


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not finite")
    return number
