"""Scores of an ensemble of samples x_1 ... x_M for each condition against the truth y.

Each score is a function of means over conditions: of squared errors, say. So its standard error over conditions comes
from leaving out one of them at a time (jackknife), also for roots and ratios of means.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.parts import part


@dataclass(frozen=True)
class Score:
    """A score over all conditions.

    Attributes:
        value: of it.
        error: standard error over conditions; not a number for one condition.

    >>> import elucidiff as ed
    >>> ed.evaluation.Score(0.25, error=0.02).value
    0.25
    """

    value: float
    error: float


class PairMetric(ABC):
    """The base of metrics of samples for conditions. A new one is a frozen dataclass of kind ``pair metric``.

    Attributes:
        fewest: the fewest samples for each condition for which it is defined.

    >>> import elucidiff as ed
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Bias(ed.evaluation.PairMetric):
    ...     def of_each(self, members, truth):
    ...         return (members.mean(1) - truth).flatten(1).mean(1, keepdim=True)
    ...
    >>> round(ed.evaluation.scored(Bias(), torch.ones(3, 2, 1, 4), torch.zeros(3, 1, 4)).value, 2)
    1.0
    """

    fewest: ClassVar[int] = 1

    @abstractmethod
    def of_each(self, members: Tensor, truth: Tensor) -> Tensor:
        """Values that are to be averaged over conditions, ``(K, n)``.

        Args:
            members: samples, float64 ``(K, M, C, *spatial)``.
            truth: ``(K, C, *spatial)``.
        """

    def of_means(self, means: Tensor) -> Tensor:
        """The score of means ``(..., n)``; the first of them unless stated otherwise."""
        return means[..., 0]


@part("pair metric", "rmse")
@dataclass(frozen=True)
class RMSE(PairMetric):
    """Root mean square error of the mean of the samples: sqrt(E (mean_m x_m - y)^2). The least that a point forecast
    has, where samples are many and right.

    >>> import elucidiff as ed
    >>> ed.evaluation.scored("rmse", torch.tensor([[[[1.0]], [[3.0]]]]), torch.zeros(1, 1, 1)).value
    2.0
    """

    def of_each(self, members: Tensor, truth: Tensor) -> Tensor:
        """See the base class."""
        return _mean_of_each((members.mean(1) - truth).square())

    def of_means(self, means: Tensor) -> Tensor:
        """See the base class."""
        return means[..., 0].sqrt()


@part("pair metric", "rmse_single")
@dataclass(frozen=True)
class SingleRMSE(PairMetric):
    """Root mean square error of single samples: sqrt(E (x_m - y)^2). Of right samples it is sqrt(2) times the least
    error that a point forecast can have: a sample shows details that cannot be known.
    """

    def of_each(self, members: Tensor, truth: Tensor) -> Tensor:
        """See the base class."""
        return _mean_of_each((members - truth[:, None]).square())

    def of_means(self, means: Tensor) -> Tensor:
        """See the base class."""
        return means[..., 0].sqrt()


@part("pair metric", "crps")
@dataclass(frozen=True)
class CRPS(PairMetric):
    """Continuous ranked probability score of each value, in its unit; lower is better, and right samples have the
    least.

    The fair estimator of Ferro 2014 (QJRMS 140, 1917), whose mean does not depend on the number of samples M::

        mean_m |x_m - y| - 1 / (2 M (M - 1)) sum_{m, m'} |x_m - x_m'|

    Of one sample, or a point forecast, CRPS is the mean absolute error; that takes ``mae``.
    """

    fewest: ClassVar[int] = 2

    def of_each(self, members: Tensor, truth: Tensor) -> Tensor:
        """See the base class."""
        count = members.shape[1]
        ordered = members.sort(dim=1).values
        # sum over pairs of |x_m - x_m'| / 2 = sum_i (2 i - M + 1) x_(i), i from 0.
        weights = 2 * torch.arange(count, dtype=members.dtype, device=members.device) - count + 1
        apart = torch.tensordot(ordered, weights, dims=([1], [0])) / (count * (count - 1))
        return _mean_of_each((members - truth[:, None]).abs().mean(1) - apart)


@part("pair metric", "mae")
@dataclass(frozen=True)
class MAE(PairMetric):
    """Mean absolute error of the mean of the samples; of a point forecast it is its CRPS."""

    def of_each(self, members: Tensor, truth: Tensor) -> Tensor:
        """See the base class."""
        return _mean_of_each((members.mean(1) - truth).abs())


@part("pair metric", "spread_skill")
@dataclass(frozen=True)
class SpreadSkill(PairMetric):
    """Spread of the samples over the error of their mean: 1 where they are right, below where they are too sure.

    With s^2 the variance of M samples (of M - 1 degrees of freedom), Fortin et al. 2014 (J. Hydrometeor. 15, 1708)::

        sqrt((M + 1) / M E s^2) / sqrt(E (mean_m x_m - y)^2)
    """

    fewest: ClassVar[int] = 2

    def of_each(self, members: Tensor, truth: Tensor) -> Tensor:
        """See the base class."""
        count = members.shape[1]
        spread = _mean_of_each(members.var(1)) * (count + 1) / count
        return torch.cat([spread, _mean_of_each((members.mean(1) - truth).square())], dim=1)

    def of_means(self, means: Tensor) -> Tensor:
        """See the base class."""
        return (means[..., 0] / means[..., 1]).sqrt()


def scored(metric: PairMetric | str, members: Tensor, truth: Tensor) -> Score:
    """A metric of samples for conditions.

    Args:
        metric: an object, or its name.
        members: samples ``(K, M, C, *spatial)``.
        truth: what there is for each condition, ``(K, C, *spatial)``.

    Raises:
        ValueError: there is no such metric, there are too few samples, or the shapes do not fit.

    >>> import elucidiff as ed
    >>> draws = torch.randn(500, 9, 1, 4, generator=torch.Generator().manual_seed(0))
    >>> found = ed.evaluation.scored("spread_skill", draws[:, :8], draws[:, 8])
    >>> abs(found.value - 1) < 3 * found.error
    True
    """
    return scores({"": _resolved(metric)}, members, truth)[""]


def scores(metrics: Mapping[str, PairMetric], members: Tensor, truth: Tensor) -> dict[str, Score]:
    """Several metrics, by the same names; see :func:`scored`."""
    if members.shape[:1] + members.shape[2:] != truth.shape:
        raise ValueError(
            f"samples have shape {tuple(members.shape)}, which is not (K, M, ...) for {tuple(truth.shape)}"
        )
    members, truth = members.double(), truth.double()
    found = {}
    for name, metric in metrics.items():
        if members.shape[1] < metric.fewest:
            raise ValueError(f"{name or 'this'} needs at least {metric.fewest} samples for each condition")
        found[name] = _over_conditions(metric, metric.of_each(members, truth))
    return found


def _over_conditions(metric: PairMetric, each: Tensor) -> Score:
    count = len(each)
    value = float(metric.of_means(each.mean(0)))
    if count < 2:
        return Score(value, math.nan)
    left_out = metric.of_means((each.sum(0) - each) / (count - 1))
    return Score(value, float(((count - 1) * left_out.var(correction=0)).sqrt()))


def _mean_of_each(values: Tensor) -> Tensor:
    """Over all but the conditions, ``(K, 1)``."""
    return values.flatten(1).mean(1, keepdim=True)


def _resolved(metric: PairMetric | str) -> PairMetric:
    found: PairMetric = parts.resolve("pair metric", metric)
    return found
