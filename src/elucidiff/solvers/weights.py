"""Weights with which values known at a few nodes integrate over a step, on steps of any sizes.

A multistep method puts a polynomial through the values it knows and integrates that. With nodes tau_j, in units of
the step from tau = 0 to tau = 1, its weights b_j are those that are right for 1, tau, tau^2, ...:

    sum_j b_j tau_j^k = m_k,    m_k = int_0^1 w(tau) tau^k dtau.

Exponential integrators in log-SNR (DPM-Solver++, UniPC, SA-Solver) have w(tau) = h exp(-h (1 - tau)). With
lambda = -log(sigma) and beta = eta sigma' / sigma, the SDEs of Karras et al. 2022, Eq. 6, are

    dy = (1 + eta) (D - y) dlambda + sqrt(2 eta) sigma dw,

the probability-flow ODE for eta = 0 and the reverse SDE of Song et al. 2021 for eta = 1. From lambda to
lambda' = lambda + h its solution is, with H = (1 + eta) h and tau running from 0 to 1,

    y' = exp(-H) y + int H exp(-H (1 - tau)) D dtau + sigma' sqrt(1 - exp(-2 eta h)) eps

(Xue et al. 2023, "SA-Solver", with their tau^2 as eta; Lu et al. 2022, "DPM-Solver++", for eta = 0 and 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from elucidiff.solvers.multistep import Move, Node

# Gauss-Legendre on panels of at most this length in log(sigma): functions of the noise level that are smooth in it
# are integrated to rounding, since a schedule's nearest singularities lie at sigma = +-i times something.
_PANEL = 1.0
_TO_ZERO = 40.0  # in log(sigma): what is left of the integral of a constant is 4e-18 of it
_NODES, _WEIGHTS = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(12))


def polynomial_weights(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """The b_j above: weights that integrate the polynomial through the values at ``nodes``.

    Args:
        nodes: different tau_j; 0 is the start of the step, 1 its end.
        moments: m_0, m_1, ..., as many as there are nodes.
    """
    powers = np.vander(np.asarray(nodes, dtype=np.float64), increasing=True).T
    weights: list[float] = np.linalg.solve(powers, np.asarray(moments, dtype=np.float64)).tolist()
    return weights


def exponential_moments(h: float, count: int) -> list[float]:
    """m_k = int_0^1 h exp(-h (1 - tau)) tau^k dtau for k below ``count``: the integrals of exponential integrators.

    They are h phi_1(-h), h phi_2(-h), 2 h phi_3(-h), ... with the phi-functions of Hochbruck and Ostermann 2010.
    By parts m_k = 1 - k m_(k-1) / h; for small h, where that cancels, by the series h sum_n (-h)^n k! / (k + n + 1)!.

    Args:
        h: length of the step in log-SNR, >= 0.
        count: how many are wanted.
    """
    if h < 1:
        return [_series(h, k) for k in range(count)]
    moments = [-math.expm1(-h)]
    for k in range(1, count):
        moments.append(1 - k * moments[-1] / h)
    return moments


def _series(h: float, k: int) -> float:
    total, term = 0.0, h / (k + 1)
    for n in range(20):
        total += term
        term *= -h / (k + n + 2)
    return total


def integral(function: Callable[[Tensor], Tensor], sigma: float, sigma_next: float) -> Tensor:
    """int of ``function`` over the noise level from ``sigma`` > 0 to ``sigma_next`` >= 0.

    Args:
        function: takes noise levels (n,), float64 on the CPU, and returns (..., n). Towards 0 it may grow as a
            power of log(sigma).
    """
    start = math.log(sigma)
    end = math.log(sigma_next) if sigma_next > 0 else start - _TO_ZERO
    panels = max(1, math.ceil(abs(end - start) / _PANEL))
    half = (end - start) / panels / 2
    centres = start + half * (2 * torch.arange(panels, dtype=torch.float64)[:, None] + 1)
    levels = (centres + half * _NODES).exp().flatten()
    return function(levels) @ (half * _WEIGHTS.repeat(panels) * levels)


def length(start: Node, end: Node) -> float:
    """The step's length h in log-SNR."""
    return end.log_snr - start.log_snr


def relative(nodes: Sequence[Node], start: Node, end: Node) -> list[float]:
    """Log-SNRs in units of the step: 0 is its start, 1 its end, earlier ones are negative."""
    h = length(start, end)
    return [(node.log_snr - start.log_snr) / h for node in nodes]


def adams_weights(nodes: Sequence[Node], start: Node, end: Node, eta: float = 0.0) -> list[float]:
    """Weights of D at ``nodes``: the integral above of the polynomial in log-SNR through them, exactly.

    Without a value at ``end`` this is an Adams-Bashforth method, with one an Adams-Moulton method.
    """
    moments = exponential_moments((1 + eta) * length(start, end), len(nodes))
    return polynomial_weights(relative(nodes, start, end), moments)


def move(weights: Sequence[float], start: Node, end: Node, eta: float = 0.0) -> Move:
    """The step above, with the integral as a weighted sum of values of D."""
    h = length(start, end)
    return Move(math.exp(-(1 + eta) * h), weights, end.sigma * math.sqrt(-math.expm1(-2 * eta * h)))
