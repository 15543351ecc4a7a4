"""Options of sampling in a search: their values, how people write them, and the samplers that they make."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, Literal, get_args, get_origin

import numpy as np

from elucidiff import parts
from elucidiff.parts import Setting
from elucidiff.sampling.sampler import KINDS, Sampler
from elucidiff.suggest import suggestion

CHURN = ("churn.amount", "churn.sigma_min", "churn.sigma_max", "churn.noise_scale")
"""S_churn, S_tmin, S_tmax and S_noise: what is searched unless something else is asked for."""

PAPER_GRID: Mapping[str, tuple[float, ...]] = {
    "churn.amount": tuple(float(10 * k) for k in range(11)),
    "churn.sigma_min": (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
    "churn.sigma_max": (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 80.0),
    "churn.noise_scale": tuple(1 + k / 1000 for k in range(11)),
}
"""The grid of Karras et al. 2022, Appendix E.2."""

_SHORT: Mapping[str, str] = {"churn": "churn.amount", "guidance": "guidance.weight", "restarts": "restarts.repeats"}

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
        """The nearest to ``value`` of these, None if that is no number."""
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
    """Options to search, as people write: ``NAME``, ``NAME=LOW:HIGH``, ``NAME=LOW:HIGH:log``, ``NAME=LOW:HIGH:STEP``
    or ``NAME=A,B,C``. A name alone stands for the range that the part itself declares, or for the paper's values in a
    grid.

    A name is a choice, such as ``solver``, or a setting of one, such as ``churn.sigma_min``; the choice may be left
    out where that is clear, as in ``rho``, and ``churn`` means its amount.

    Args:
        texts: one for each option.
        base: whose parts have the settings, and whose number of steps the range of churn follows.
        grid: whether a grid is meant.

    Raises:
        ValueError: an option is unknown (the nearest is suggested) or unclear, is there twice, has no range of its
            own, or is not written as above.
    """
    known = _known(base)
    written: dict[str, str] = {}
    for text in texts:
        name, _, how = text.partition("=")
        name = _full_name(name, known)
        if name in written:
            raise ValueError(f"{name} is to be searched twice: name it once")
        written[name] = how.strip()
    options: dict[str, Interval | Values] = {}
    # The number of steps comes first, since the usual range of churn depends on it.
    for name in sorted(written, key=lambda name: name != "steps.n"):
        try:
            if written[name]:
                options[name] = _parse(written[name], name, known[name])
            else:
                options[name] = _usual(name, known[name], grid, _most_steps(options.get("steps.n"), base))
        except KeyError:
            example = f"{name}=A,B,C" if known[name] is None else f"{name}=LOW:HIGH or {name}=A,B,C"
            raise ValueError(f"{name} has no usual {'grid' if grid else 'range'}: write it, {example}") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return {name: options[name] for name in written}


def _known(base: Sampler) -> dict[str, Setting | None]:
    """All that can be searched: choices (None) and settings. Noise levels themselves have a verb of their own."""
    known: dict[str, Setting | None] = dict.fromkeys(("solver", "schedule", "steps"))
    for choice, kind in KINDS.items():
        part = getattr(base, choice)
        classes = [type(part)] if part is not None else [parts.find(kind, str(parts.KINDS[kind].bare))]
        if choice == "solver":  # another one may be searched, too
            classes += list(parts.parts_of(kind).values())
        for setting in (each for cls in classes for each in parts.settings(cls)):
            if _numeric(setting) or get_origin(setting.type) is Literal or setting.type is str:
                known.setdefault(f"{choice}.{setting.name}", setting)
    return known


def _full_name(name: str, known: Mapping[str, Setting | None]) -> str:
    name = name.strip().replace("-", "_")
    name = _SHORT.get(name, name)
    if name in known:
        return name
    fitting = [full for full in known if full.partition(".")[2] == name]
    if len(fitting) > 1:
        raise ValueError(f"{name} is a setting of several choices: write {' or '.join(fitting)}")
    if not fitting:
        near = dict.fromkeys([*known, *_SHORT, *(full.partition(".")[2] for full in known)])
        raise ValueError(f"there is no sampling option {name!r}; {suggestion(name, filter(None, near))}")
    return fitting[0]


def _usual(name: str, setting: Setting | None, grid: bool, steps: int) -> Interval | Values:
    """The range that a part declares, for at most so many steps; or the paper's values.

    Raises:
        KeyError: it declares none.
    """
    if grid:
        return Values(PAPER_GRID[name])
    if name == "solver":
        made = {each: cls for each, cls in parts.parts_of("solver").items() if all(_has_default(cls))}
        return Values(tuple(each for each, cls in made.items() if not (cls().adaptive or cls().stochastic)))
    if setting is None or setting.search is None:
        raise KeyError(name)
    low, high, log = setting.search
    if name == "churn.amount":
        # gamma = S_churn / N is clipped at sqrt(2) - 1, beyond which all values are the same (Algorithm 2).
        high = min(high, (math.sqrt(2) - 1) * steps)
    return Interval(low, high, log=log, whole=_whole(setting))


def _has_default(cls: type) -> list[bool]:
    return [setting.default is not MISSING for setting in parts.settings(cls)]


def _most_steps(n: Interval | Values | None, base: Sampler) -> int:
    if n is None:
        return base.n
    return int(n.high) if isinstance(n, Interval) else max(int(value) for value in n.values)


def _whole(setting: Setting) -> bool:
    return setting.type is int or int in get_args(setting.type)


def _numeric(setting: Setting) -> bool:
    return bool({setting.type, *get_args(setting.type)} & {int, float}) and get_origin(setting.type) is not tuple


def _parse(written: str, name: str, setting: Setting | None) -> Interval | Values:
    named = setting is None or not _numeric(setting)
    if named:
        if re.fullmatch(r"[-+.\deE]+(:[-+.\deE]+)+(:log)?", written):
            raise ValueError(f"{written!r} is a range, but names have none: write A,B,C")
        if setting is None:
            made = (parts.parse(KINDS[name], text) for text in _texts_of_parts(written))
            return Values(tuple(parts.to_text(part) for part in made))
        return Values(tuple(part.strip() for part in written.split(",")))
    assert setting is not None
    if ":" not in written:
        return Values(tuple(_value(part.strip(), setting) for part in written.split(",")))
    ends = written.split(":")
    if len(ends) > 3:
        raise ValueError(f"{written!r} is not LOW:HIGH, LOW:HIGH:log or LOW:HIGH:STEP")
    log = ends[2:] == ["log"]
    numbers = [_number(part) for part in (ends[:2] if log else ends)]
    return Interval(numbers[0], numbers[1], log, numbers[2] if len(numbers) == 3 else None, _whole(setting))


def _texts_of_parts(written: str) -> list[str]:
    """The parts of a list with commas between them, some of which may have commas between their own settings."""
    texts: list[str] = []
    for piece in (each.strip() for each in written.split(",")):
        if texts and not re.fullmatch(r"[A-Za-z]\w*(:.*)?", piece):
            texts[-1] += f",{piece}"
        else:
            texts.append(piece)
    return texts


def _value(text: str, setting: Setting) -> Option:
    number = _number(text)
    if _whole(setting):
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


TRIES = 200  # random choices, before a space counts as impossible


@dataclass(frozen=True)
class Space:
    """The samplers that a search chooses from: a base, some of whose options vary.

    Args:
        base: all that is not searched; also what the search begins with, and is compared to.
        options: for each option that is searched, by its name in :class:`.Sampler`, what it may be.

    Raises:
        ValueError: nothing is searched, hardly any choice makes a sampler that is possible, or an option has no
            effect whatever the others are.
    """

    base: Sampler
    options: Mapping[str, Interval | Values]

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError("there is nothing to search: name at least one option, such as churn")
        generator = np.random.default_rng(0)
        without_effect = set(self.options)
        for _ in range(TRIES):
            sampler = self.possible(self.draw(generator))
            if sampler is not None:
                without_effect &= set(sampler.without_effect(self.options))
        if without_effect:
            # If no choice was possible, the last one says why not.
            self.sampler(self.draw(generator))
            raise ValueError(
                f"{sorted(without_effect)[0]} would have no effect in any of these samplers: leave it out"
            )

    def draw(self, generator: np.random.Generator) -> dict[str, Option]:
        """A choice by chance, possible or not."""
        return {name: option.draw(generator) for name, option in self.options.items()}

    def first(self) -> dict[str, Option] | None:
        """The choice that comes nearest to the base; None if that is not a choice."""
        nearest = {name: option.nearest(_current(self.base, name)) for name, option in self.options.items()}
        chosen = {name: value for name, value in nearest.items() if value is not None}
        return chosen if len(chosen) == len(nearest) and self.possible(chosen) is not None else None

    def sampler(self, choice: Mapping[str, Option]) -> Sampler:
        """The base with this choice.

        Raises:
            ValueError: the options do not go together.
        """
        return self.base.with_settings({name: value for name, value in choice.items() if self._applies(name, choice)})

    def _applies(self, name: str, choice: Mapping[str, Option]) -> bool:
        """True if the solver that was chosen has the setting ``name`` at all, if it is one of a solver."""
        if not name.startswith("solver.") or "solver" not in choice:
            return True
        solver = parts.parse("solver", str(choice["solver"]))
        return name.removeprefix("solver.") in {setting.name for setting in parts.settings(type(solver))}

    def possible(self, choice: Mapping[str, Option]) -> Sampler | None:
        """The base with this choice; None if its options do not go together."""
        try:
            return self.sampler(choice)
        except ValueError:
            return None

    def grid(self, seed: int) -> Iterator[dict[str, Option]]:
        """All points of the grid that are possible and differ in effect, in an order that ``seed`` decides.

        Raises:
            ValueError: an interval has no step.
        """
        points = []
        for name, option in self.options.items():
            try:
                points.append(option.points())
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        counts = [len(of_one) for of_one in points]
        seen = set()
        for index in np.random.default_rng(seed).permutation(math.prod(counts)):
            places = np.unravel_index(index, counts)
            choice = {name: points[k][int(places[k])] for k, name in enumerate(self.options)}
            sampler = self.possible(choice)
            if sampler is None:
                continue
            # With S_churn = 0, say, it makes no difference where it would be added.
            unused = sampler.without_effect(self.options)
            effect = tuple(None if name in unused else value for name, value in choice.items())
            if effect not in seen:
                seen.add(effect)
                yield choice

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values: the base in full, and the options."""
        options = {
            name: list(option.values)
            if isinstance(option, Values)
            else {"low": option.low, "high": option.high, "log": option.log, "step": option.step}
            for name, option in self.options.items()
        }
        return {"base": self.base.to_plain(), "options": options}


def _current(sampler: Sampler, name: str) -> Any:
    """The value of a sampler at a choice or setting; of a part that is none, that part's default."""
    choice, _, key = name.partition(".")
    part = getattr(sampler, choice)
    if part is None:
        part = parts.find(KINDS[choice], str(parts.KINDS[KINDS[choice]].bare))()
    return getattr(part, key, None) if key else parts.to_text(part)
