"""Which ways to sample a curve compares: all combinations of some choices, and what each of them is called."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from elucidiff.evaluation.ablation.sampling import SamplingConfiguration
from elucidiff.sampling.sampler import Sampler

CURVE = "curve"
"""The experiment, in a table of results."""

_USUAL = Sampler()
_TOLD_OTHERWISE = ("solver", "steps", "rho", "n", "levels")


@dataclass(frozen=True)
class Combinations:
    """Ways to sample.

    Attributes:
        made: those that make sense.
        left_out: why the others do not, by name.
    """

    made: tuple[SamplingConfiguration, ...]
    left_out: Mapping[str, str]


def combinations(base: Sampler, choices: Mapping[str, Sequence[Any]], guide: Any = None) -> Combinations:
    """All combinations of the values of some choices, each of them once, however many choices have no effect in it.

    Args:
        base: all other choices; its number of steps does not matter.
        choices: values by the field of :class:`.Sampler`.
        guide: the worse model of autoguidance, for the combinations with a weight other than 1.

    Raises:
        ValueError: a value is unknown or out of its range whatever it is combined with, or its cost is no choice.
    """
    # With two steps churn takes back the smallest part of each, so what is refused then is refused for all budgets.
    base = replace(base, n=2)
    for name, values in choices.items():
        plain = Sampler(n=2, solver="rk2") if name == "alpha" else Sampler(n=2)  # no other solver looks at it
        for value in values:
            _check(replace(plain, **{name: value}))
    made: dict[str, SamplingConfiguration] = {}
    left_out: dict[str, str] = {}
    for values in itertools.product(*choices.values()):
        chosen = dict(zip(choices, values, strict=True))
        try:
            sampler = _without_unused(replace(base, **chosen))
        except ValueError as error:
            told = {name: value for name, value in chosen.items() if value != getattr(_USUAL, name)}
            left_out[", ".join(f"{name} {_text(value)}" for name, value in told.items())] = str(error)
            continue
        _check(sampler)
        name = name_of(sampler)
        made[name] = SamplingConfiguration(name, "", sampler, guide=guide if sampler.guidance != 1 else None)
    return Combinations(tuple(made.values()), left_out)


def settled(name: str, sampler: Sampler, guide: Any = None) -> SamplingConfiguration:
    """A sampler whose steps are settled, under a name of its own; a point beside the curves.

    Raises:
        ValueError: its cost is not known beforehand.
    """
    _check_cost(sampler)
    guide = guide if sampler.guidance != 1 else None
    return SamplingConfiguration(name, "", sampler, guide=guide, settled=True)


def name_of(sampler: Sampler) -> str:
    """What a sampler is called whatever it is compared with: solver, steps, and all that is not as usual.

    The number of steps is no part of it. Samplers that differ in anything else have different names.
    """
    spacing = f"{sampler.steps} rho {_text(sampler.rho)}" if sampler.steps == "karras" else sampler.steps
    unusual = [
        (field.name.replace("_", " "), getattr(sampler, field.name))
        for field in fields(Sampler)
        if field.name not in _TOLD_OTHERWISE and getattr(sampler, field.name) != getattr(_USUAL, field.name)
    ]
    return ", ".join([sampler.solver, spacing, *(f"{name} {_text(value)}" for name, value in unusual)])


def _without_unused(sampler: Sampler) -> Sampler:
    """The same, with what has no effect as usual."""
    unused = sampler.unused([field.name for field in fields(Sampler)])
    return replace(sampler, **{name: getattr(_USUAL, name) for name in unused if name != "n"})


def _check(sampler: Sampler) -> None:
    """Raise ValueError unless the sampler takes as many steps as a budget pays for."""
    if sampler.steps == "levels":
        raise ValueError("steps 'levels' have no other number: give a sampler beside the model, by its name")
    _check_cost(sampler)


def _check_cost(sampler: Sampler) -> None:
    if sampler.prepare(None).solver.adaptive:
        raise ValueError(
            f"solver {sampler.solver} chooses its own steps, another number for each sample, so it has no place on a "
            "curve: leave it out"
        )


def _text(value: object) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
