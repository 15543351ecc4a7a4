"""Which ways to sample a curve compares: all combinations of some choices, and what each of them is called."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from elucidiff import parts
from elucidiff.denoisers.base import DenoiserLike
from elucidiff.design.steps import Karras, Spaced
from elucidiff.evaluation.ablation.sampling import SamplingConfiguration
from elucidiff.sampling.sampler import KINDS, Sampler

CURVE = "curve"
"""The experiment, in a table of results."""

_USUAL = Sampler()


@dataclass(frozen=True)
class Combinations:
    """Ways to sample.

    Attributes:
        made: those that make sense.
        left_out: why the others do not, by name.
    """

    made: tuple[SamplingConfiguration, ...]
    left_out: Mapping[str, str]


def combinations(
    base: Sampler, choices: Mapping[str, Sequence[Any]], guide: DenoiserLike | None = None
) -> Combinations:
    """All combinations of some choices, each of them once.

    Args:
        base: all other choices; its number of steps does not matter.
        choices: parts, or their text forms, by the choice of :class:`.Sampler`, such as ``{"solver": ["heun"]}``.
        guide: the worse model of autoguidance, for the combinations with a weight other than 1.

    Raises:
        ValueError: a part is unknown or out of its range whatever it is combined with, or its cost is no choice.
    """
    # With two steps churn takes back the smallest part of each, so what is refused then is refused for all budgets.
    base = _short(base)
    resolved = {
        name: [None if value is None else parts.resolve(KINDS[name], value) for value in values]
        for name, values in choices.items()
    }
    for name, values in resolved.items():
        for value in values:
            _check(_short(Sampler(Karras(2)).with_settings({name: value})))
    made: dict[str, SamplingConfiguration] = {}
    left_out: dict[str, str] = {}
    for together in itertools.product(*resolved.values()):
        chosen = dict(zip(resolved, together, strict=True))
        try:
            sampler = _short(base.with_settings(chosen))
        except ValueError as error:
            told = {name: value for name, value in chosen.items() if value != getattr(_USUAL, name)}
            left_out[", ".join(f"{name} {_text(value)}" for name, value in told.items())] = str(error)
            continue
        _check(sampler)
        name = name_of(sampler)
        made[name] = SamplingConfiguration(name, "", sampler, guide=None if sampler.guidance is None else guide)
    return Combinations(tuple(made.values()), left_out)


def settled(name: str, sampler: Sampler, guide: DenoiserLike | None = None) -> SamplingConfiguration:
    """A sampler whose steps are settled, under a name of its own; a point beside the curves.

    Raises:
        ValueError: its cost is not known beforehand.
    """
    _check_cost(sampler)
    guide = None if sampler.guidance is None else guide
    return SamplingConfiguration(name, "", sampler, guide=guide, settled=True)


def name_of(sampler: Sampler) -> str:
    """What a sampler is called whatever it is compared with: solver, steps, and all that is not as usual.

    The number of steps is no part of it. Samplers that differ in anything else have different names.
    """
    unusual = [
        f"{name} {_text(getattr(sampler, name))}"
        for name in KINDS
        if name not in ("solver", "steps") and getattr(sampler, name) != getattr(_USUAL, name)
    ]
    return ", ".join([parts.to_text(sampler.solver), _spacing(sampler), *unusual])


def _spacing(sampler: Sampler) -> str:
    steps = sampler.steps
    if isinstance(steps, Karras) and steps == Karras(steps.n, rho=steps.rho):
        short = f"{steps.rho:g}"
        return f"karras rho {short if float(short) == steps.rho else steps.rho}"
    return parts.to_text(replace(steps, n=18) if isinstance(steps, Spaced) else steps)


def _short(sampler: Sampler) -> Sampler:
    """The same with two steps, where their number is a choice."""
    return replace(sampler, steps=replace(sampler.steps, n=2)) if isinstance(sampler.steps, Spaced) else sampler


def _check(sampler: Sampler) -> None:
    """Raise ValueError unless the sampler takes as many steps as a budget pays for."""
    if not isinstance(sampler.steps, Spaced):
        raise ValueError(
            f"steps {parts.name_of(sampler.steps)!r} have no other number: "
            "give a sampler beside the model, by its name"
        )
    _check_cost(sampler)


def _check_cost(sampler: Sampler) -> None:
    if sampler.solver.adaptive:
        raise ValueError(
            f"solver {parts.name_of(sampler.solver)} chooses its own steps, another number for each sample, "
            "so it has no place on a curve: leave it out"
        )


def _text(part: object) -> str:
    """A part's text form, as short as it is written where its kind has but one part: ``30,sigma_min=0.01``."""
    if part is None:
        return "none"
    text = parts.to_text(part)
    name, _, rest = text.partition(":")
    if not rest or name not in {kind.bare for kind in parts.KINDS.values()}:
        return text
    return rest.removeprefix(f"{parts.settings(type(part))[0].name}=")
