"""Exponential integrators in log-SNR: the equation that DPM-Solver++, UniPC and SA-Solver solve.

With lambda = -log(sigma) and beta = eta sigma' / sigma, the SDEs of Karras et al. 2022, Eq. 6, are

    dy = (1 + eta) (D - y) dlambda + sqrt(2 eta) sigma dw,

the probability-flow ODE for eta = 0 and the reverse SDE of Song et al. 2021 for eta = 1. From lambda to
lambda' = lambda + h its solution is, with H = (1 + eta) h and tau running from 0 to 1,

    y' = exp(-H) y + int H exp(-H (1 - tau)) D dtau + sigma' sqrt(1 - exp(-2 eta h)) eps

(Xue et al. 2023, "SA-Solver", with their tau^2 as eta; Lu et al. 2022, "DPM-Solver++", for eta = 0 and 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from elucidiff.solvers.multistep import Move, Place
from elucidiff.solvers.weights import exponential_moments, polynomial_weights


def length(start: Place, end: Place) -> float:
    """The step's length h in log-SNR."""
    return end.log_snr - start.log_snr


def relative(places: Sequence[Place], start: Place, end: Place) -> list[float]:
    """Log-SNRs in units of the step: 0 is its start, 1 its end, earlier ones are negative."""
    h = length(start, end)
    return [(place.log_snr - start.log_snr) / h for place in places]


def adams_weights(places: Sequence[Place], start: Place, end: Place, eta: float = 0.0) -> list[float]:
    """Weights of D at ``places``: the integral above of the polynomial in log-SNR through them, exactly.

    Without a value at ``end`` this is an Adams-Bashforth method, with one an Adams-Moulton method.
    """
    moments = exponential_moments((1 + eta) * length(start, end), len(places))
    return polynomial_weights(relative(places, start, end), moments)


def move(weights: Sequence[float], start: Place, end: Place, eta: float = 0.0) -> Move:
    """The step above, with the integral as a weighted sum of values of D."""
    h = length(start, end)
    return Move(math.exp(-(1 + eta) * h), weights, end.sigma * math.sqrt(-math.expm1(-2 * eta * h)))
