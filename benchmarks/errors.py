"""Root mean square errors over seeds, with their standard errors by the delta method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elucidiff.sampling import Sampler
from elucidiff.sampling.optimise import ExactSolutions


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; ``f"{estimate:.3f}"`` shows both."""

    value: float
    standard_error: float

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} ± {self.standard_error:{spec}}"


def squares(exact: ExactSolutions, sampler: Sampler) -> list[float]:
    """Mean square distance of the samples of each seed to the exact solution."""
    x = sampler.prepare(exact.denoiser).sample(exact.denoiser, exact.latents, labels=exact.labels)
    result: list[float] = (x - exact.x).square().flatten(1).mean(1).tolist()
    return result


def root_mean(squares: Sequence[float]) -> Estimate:
    """The root of the mean of ``squares``, one a seed; d sqrt(m) = dm / (2 sqrt(m))."""
    value = math.sqrt(np.mean(squares))
    return Estimate(value, _of_mean(np.asarray(squares)) / (2 * value))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """The ratio of two such roots over the same seeds; what moves both alike does not move it."""
    a, b = np.asarray(ours), np.asarray(theirs)
    value = math.sqrt(a.mean() / b.mean())
    return Estimate(value, value * _of_mean(a / a.mean() - b / b.mean()) / 2)


def _of_mean(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))
