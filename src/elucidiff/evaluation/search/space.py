"""The samplers that a search chooses from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from elucidiff import parts
from elucidiff.evaluation.search.options import Interval, Option, Values
from elucidiff.sampling.sampler import KINDS, Sampler

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
        """Whether the solver that was chosen has the setting ``name`` at all, if it is one of a solver."""
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
    """What a sampler has at a choice or setting; of a part that is none, what that part is by default."""
    choice, _, key = name.partition(".")
    part = getattr(sampler, choice)
    if part is None:
        part = parts.find(KINDS[choice], str(parts.KINDS[KINDS[choice]].bare))()
    return getattr(part, key, None) if key else parts.to_text(part)
