"""Models that were tuned for few evaluations: their D is a consistency function, and no E[y | x] any more.

Such a D leads from every noise level straight to the end of the probability-flow ODE. It is sampled in one to four
evaluations, but (x - D) / sigma is no longer the ODE's velocity, on which likelihoods, inversion and restoration
rest. So a model folder says that it is one, and what it was tuned from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from elucidiff.denoisers.usual import Usual
from elucidiff.untrusted import clipped, printable

TUNED = "tuned"
"""The entry of a model's facts: ``original``, what it was tuned from (empty for nothing)."""

FEW = {"one": 1, "two": 2, "four": 4}
"""Samplers of such a model, and their evaluations."""

SECOND_LEVEL = 1.6
"""The second noise level of two evaluations over the standard deviation of the data: about that of Song and Dhariwal
2023 (arXiv 2310.14189) for CIFAR-10, 0.82 for 0.5."""


class Told(Protocol):
    """The part of a denoiser that says how it came to be."""

    facts: dict[str, Any]


def told(original: str) -> dict[str, Any]:
    """The facts of a model that was tuned from ``original``."""
    return {TUNED: {"original": original}}


def is_tuned(denoiser: Told) -> bool:
    """True if D is a consistency function, by what the model says of itself."""
    return isinstance(denoiser.facts.get(TUNED), Mapping)


def usual_of_tuned(sigma_data: float) -> Usual:
    """Two evaluations, the second at :data:`SECOND_LEVEL` times the standard deviation of the data."""
    return Usual(few_steps(2, sigma_data), "consistency")


def few_steps(n: int, sigma_data: float, second: float = SECOND_LEVEL) -> str:
    """Karras steps for 1, 2 or more evaluations as a text form: from 160 times the data's standard deviation.

    Args:
        n: evaluations.
        sigma_data: standard deviation of the data.
        second: lowest level over that, of two evaluations; with more it is lower as the square root of their number.
    """
    low, high = second * sigma_data * math.sqrt(2 / max(n, 2)), 160 * sigma_data
    return f"karras:n={n},sigma_min={low:.3g},sigma_max={high:g}"


def refuse_tuned(denoiser: Told, what: str, instead: str = "take the model that it was tuned from") -> None:
    """Raise ValueError, in one line, if ``denoiser`` is tuned and so has no ODE.

    Args:
        denoiser: any.
        what: what rests on the ODE.
        instead: what to do.
    """
    if is_tuned(denoiser):
        original = denoiser.facts[TUNED].get("original")
        named = f" ({printable(clipped(original))})" if isinstance(original, str) and original else ""
        raise ValueError(
            f"the model was tuned for few evaluations, so it has no ODE any more, which {what} rests on: "
            f"{instead}{named}"
        )
