"""The base of multistep solvers: the change of variables, the history, the weights, and the end at noise level 0.

In y = x / s, whatever the schedule and scaling, the probability-flow ODE (Karras et al. 2022, Eq. 4) is

    dy / dsigma = (y - D(y; sigma)) / sigma.

Every method here takes y to a linear combination of itself and values known from evaluations, D or the noise
(y - D) / sigma, with coefficients that depend on the noise levels alone. So a solver only has to say these.

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
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.design.values import check_integer
from elucidiff.solvers.base import ODE, Solver, StepResult


@dataclass(frozen=True)
class Node:
    """A time and its noise level sigma; above 0, but for where the last step ends.

    >>> import elucidiff as ed
    >>> round(ed.solvers.Node(t=2.0, sigma=2.0).log_snr, 4)  # -ln sigma
    -0.6931
    """

    t: float
    sigma: float

    @property
    def log_snr(self) -> float:
        """lambda = -log(sigma): half the logarithm of the signal-to-noise ratio, which grows along a run."""
        return -math.log(self.sigma)


@dataclass(frozen=True)
class Known:
    """A value known from an evaluation: D or the noise (B, C, *spatial), and where it was evaluated."""

    node: Node
    value: Tensor


@dataclass(frozen=True)
class Move:
    """y' = keep y + sum_j weights_j value_j + std eps.

    Attributes:
        keep: what remains of y.
        weights: one a value, the newest value first; older values than there are weights are not used.
        std: standard deviation of fresh noise; 0 for a deterministic move.

    >>> import elucidiff as ed
    >>> ed.solvers.Move(keep=0.5, weights=[0.5])  # DDIM from one noise level to half of it
    Move(keep=0.5, weights=[0.5], std=0.0)
    """

    keep: float
    weights: Sequence[float]
    std: float = 0.0


class Multistep(Solver):
    """A multistep solver, one evaluation a step; see :class:`~elucidiff.solvers.Solver`.

    While fewer values are known than its order needs, it takes steps of as high an order as they allow. Methods that
    interpolate D end, at noise level 0, at s(0) D(x / s; sigma): log-SNR is infinite there, and this is the exact
    solution for a denoised image that no longer changes. Those that interpolate the noise do so to the end.

    Attributes:
        uses: what the method interpolates, D ("denoised") or (y - D) / sigma ("noise").
        memory: how many values of earlier steps it wants to be given.

    >>> import elucidiff as ed
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class DDIM(ed.solvers.Multistep):
    ...     order = 1
    ...
    ...     def predict(self, nodes, target, schedule):
    ...         keep = target.sigma / nodes[0].sigma
    ...         return ed.solvers.Move(keep, [1 - keep])
    ...
    >>> denoiser = ed.ideal.DataPosterior(torch.tensor([[-1.0], [1.0]]))
    >>> latents = torch.tensor([[0.3]])
    >>> difference = ed.sample(denoiser, latents, solver=DDIM()) - ed.sample(denoiser, latents, solver="euler")
    >>> abs(float(difference)) < 1e-9
    True
    """

    uses: ClassVar[Literal["denoised", "noise"]] = "denoised"

    @property
    def multistep(self) -> bool:
        """True: it remembers."""
        return True

    @property
    def memory(self) -> int:
        """All that its order takes but the newest value, unless a method says otherwise."""
        return self.order - 1

    @abstractmethod
    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """The move from ``nodes[0]`` to ``target``; the other nodes are those of earlier values, newest first."""

    def correct(self, nodes: Sequence[Node], schedule: Schedule) -> Sequence[float]:
        """Weights of all values in what is to be added to y at ``nodes[0]``, now that there is a value here."""
        return ()

    def step(
        self, ode: ODE, x: Tensor, t: float, t_next: float, state: tuple[Known, ...] | None = None
    ) -> StepResult:
        """See :meth:`.Solver.step`."""
        schedule = ode.schedule
        here, scale = _place(schedule, t), float(schedule.scale(t))
        denoised = ode.denoise(x, t)
        target = _place(schedule, t_next)
        if target.sigma == here.sigma:
            # Tables of noise levels repeat some. The next step is this one again.
            return StepResult(x, denoised, state)
        if t_next == 0 and self.uses == "denoised":
            return StepResult(denoised * float(schedule.scale(0.0)), denoised)

        y = x / scale
        value = denoised if self.uses == "denoised" else (y - denoised) / here.sigma
        history = (Known(here, value), *(state or ()))
        nodes = [known.node for known in history]
        if self.corrects and state:
            y = _combined(y, self.correct(nodes, schedule), history)
        move = self.predict(nodes, target, schedule)
        scale_next = float(schedule.scale(t_next))
        x_next = scale_next * _combined(move.keep * y, move.weights, history)
        return StepResult(x_next, denoised, history[: self.memory], scale_next * move.std)


def check_order(solver: str, order: int, highest: int) -> None:
    """Raise ValueError unless ``order`` is one of 1 to ``highest``."""
    check_integer(order=order)
    orders = range(1, highest + 1)
    if order not in orders:
        known = f"{', '.join(map(str, orders[:-1]))} or {highest}"
        raise ValueError(f"order of {solver} is {order}, but must be {known}")


def _place(schedule: Schedule, t: float) -> Node:
    return Node(t, float(schedule.sigma(t)))


def _combined(y: Tensor, weights: Sequence[float], history: Sequence[Known]) -> Tensor:
    """y + sum_j weights_j value_j, without fused operations, whose last bits may depend on the place in the batch."""
    for weight, known in zip(weights, history, strict=False):
        y = y + weight * known.value
    return y


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
