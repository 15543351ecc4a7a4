"""The running integrals of an SDE, ln s(t) = int_0^t f and sigma(t)^2 = int_0^t g^2 / s^2, and the inverse of sigma.

The interval is cut into panels, finer towards 0 so that small times keep their relative accuracy, and halved wherever
f or g^2 / s^2 is not yet a polynomial to rounding. Within a panel [a, b] both integrals are kept as t - a times the
mean of the integrand over [a, t], a sum of Chebyshev polynomials.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from elucidiff.design.values import Value, check_positive

NODES = 16  # per panel
SMALLEST_PANEL = 2.0**-45  # in units of t_max
TOLERANCE = 1e-13  # of the last Chebyshev coefficients, relative to the largest
MOST_PANELS = 20_000  # far beyond what a piecewise smooth function needs
NEWTON_STEPS = 60  # as many as bisection would need; Newton's method converges within a few

_X = torch.from_numpy(chebyshev.chebpts1(NODES))
_TO_COEFFICIENTS = torch.linalg.inv(torch.from_numpy(chebyshev.chebvander(_X.numpy(), NODES - 1)))
# Column k holds the mean over [-1, x] of the k-th Chebyshev polynomial, at the nodes x.
_MEANS = torch.stack(
    [
        torch.from_numpy(chebyshev.chebval(_X.numpy(), chebyshev.chebint([0.0] * k + [1.0], lbnd=-1)))
        for k in range(NODES)
    ],
    dim=1,
) / (_X + 1).unsqueeze(1)
# From values at the nodes to the coefficients of the mean over [-1, x], again a polynomial.
_TO_MEAN = _TO_COEFFICIENTS @ _MEANS @ _TO_COEFFICIENTS


@dataclass(frozen=True, eq=False)
class IntegratedSDE:
    """Running integrals of dx = f(t) x dt + g(t) dw on [0, t_max]; make it with :meth:`integrate`.

    Attributes:
        drift: f, returning a tensor shaped like its argument.
        diffusion: g, likewise.
        edges: ends of the P panels (P + 1,), float64 as all that follow.
        log_scales: ln s at the edges (P + 1,).
        variances: sigma^2 at the edges (P + 1,).
        drift_means: Chebyshev coefficients of the mean of f from the start of each panel (P, NODES).
        variance_means: the same for g^2 / s^2 (P, NODES).
    """

    drift: Callable[[Tensor], Tensor]
    diffusion: Callable[[Tensor], Tensor]
    edges: Tensor
    log_scales: Tensor
    variances: Tensor
    drift_means: Tensor
    variance_means: Tensor

    @classmethod
    def integrate(cls, f: Callable[[Tensor], Value], g: Callable[[Tensor], Value], t_max: float) -> IntegratedSDE:
        """Integrate f and g on [0, t_max].

        Raises:
            ValueError: t_max is not positive and finite, f or g is not finite or too rough to integrate, or g is 0.
        """
        check_positive(t_max=t_max)
        drift, diffusion = _shaped("f", f), _shaped("g", g)
        cuts = [0.0, *(t_max * 2.0**-k for k in range(round(-math.log2(SMALLEST_PANEL)), 0, -1)), t_max]
        panels, f_means, h_means = _resolve(drift, diffusion, list(pairwise(cuts)))
        width = panels[:, 1] - panels[:, 0]
        zero = torch.zeros(1, dtype=torch.float64)
        log_scales = torch.cat([zero, (width * f_means.sum(1)).cumsum(0)])  # a Chebyshev series at 1 is its sum
        h_means = h_means * (-2 * log_scales[:-1]).exp().unsqueeze(1)
        variances = torch.cat([zero, (width * h_means.sum(1)).cumsum(0)])
        if not bool(torch.isfinite(variances).all()):
            raise ValueError(f"sigma(t) overflows on [0, {t_max}]: use a smaller t_max")
        if not variances[-1] > 0:
            raise ValueError(f"g is 0 on [0, {t_max}]: without diffusion there is no noise level")
        edges = torch.cat([panels[:, 0], panels[-1:, 1]])
        return cls(drift, diffusion, edges, log_scales, variances, f_means, h_means)

    def f(self, t: Tensor) -> Tensor:
        """The drift f(t), in the type of ``t``."""
        return self.drift(t.to("cpu", torch.float64)).to(t)

    def log_scale(self, t: Tensor) -> Tensor:
        """ln s(t), in the type of ``t``."""
        return self._integral(self._inside(t), self.log_scales, self.drift_means).to(t)

    def variance(self, t: Tensor) -> Tensor:
        """sigma(t)^2, in the type of ``t``."""
        return self._integral(self._inside(t), self.variances, self.variance_means).to(t)

    def variance_dot(self, t: Tensor) -> Tensor:
        """d sigma^2 / dt = g^2 / s^2, in the type of ``t``."""
        return self._variance_dot(self._inside(t)).to(t)

    def time(self, variance: Tensor) -> Tensor:
        """The t with sigma(t)^2 = ``variance``, in the type of ``variance``, by Newton's method kept within brackets.

        Raises:
            ValueError: a variance is negative, not a number, or above sigma(t_max)^2.
        """
        target = variance.detach().to("cpu", torch.float64)
        largest = float(self.variances[-1])
        # A round trip through float32 may come out just above the end.
        if not bool(((target >= 0) & (target <= largest * (1 + 1e-6))).all()):
            raise ValueError(
                f"a noise level lies outside [0, {math.sqrt(largest)}], the range of this SDE: use a larger t_max"
            )
        target = target.clamp(max=largest)
        panel = self._panel(target, self.variances)
        low, high = self.edges[panel], self.edges[panel + 1]
        start, end = self.variances[panel], self.variances[panel + 1]
        t = low + (high - low) * ((target - start) / (end - start)).nan_to_num(0.0)
        for _ in range(NEWTON_STEPS):
            excess = self._integral(t, self.variances, self.variance_means) - target
            low, high = torch.where(excess <= 0, t, low), torch.where(excess >= 0, t, high)
            step = t - excess / self._variance_dot(t)
            t = torch.where((step >= low) & (step <= high), step, (low + high) / 2)
        return t.to(variance)

    def _variance_dot(self, t: Tensor) -> Tensor:
        log_scale = self._integral(t, self.log_scales, self.drift_means)
        return self.diffusion(t).square() * (-2 * log_scale).exp()

    def _inside(self, t: Tensor) -> Tensor:
        t = t.to("cpu", torch.float64)
        t_max = float(self.edges[-1])
        if not bool(((t >= 0) & (t <= t_max * (1 + 1e-6))).all()):
            raise ValueError(
                f"a time lies outside [0, {t_max}], where this schedule was integrated: use a larger t_max"
            )
        return t.clamp(max=t_max)

    def _panel(self, values: Tensor, edges: Tensor) -> Tensor:
        return (torch.searchsorted(edges, values.detach().contiguous(), right=True) - 1).clamp(0, len(edges) - 2)

    def _integral(self, t: Tensor, at_edges: Tensor, means: Tensor) -> Tensor:
        panel = self._panel(t, self.edges)
        start, end = self.edges[panel], self.edges[panel + 1]
        mean = _chebyshev_sum(means[panel], 2 * (t - start) / (end - start) - 1)
        return at_edges[panel] + (t - start) * mean


def _resolve(
    drift: Callable[[Tensor], Tensor], diffusion: Callable[[Tensor], Tensor], panels: list[tuple[float, float]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Halve panels until each is resolved; return them in order with their coefficients from :func:`_panel_means`."""
    waiting = torch.tensor(panels, dtype=torch.float64)
    smallest = SMALLEST_PANEL * float(waiting[-1, 1])
    done: list[tuple[Tensor, Tensor, Tensor]] = []
    count = 0
    while waiting.numel():
        count += len(waiting)
        if count > MOST_PANELS:
            raise ValueError("f or g is too rough to integrate: it must be smooth up to a few kinks or jumps")
        f_means, h_means, smooth = _panel_means(drift, diffusion, waiting)
        settled = smooth | (waiting[:, 1] - waiting[:, 0] <= smallest)
        done.append((waiting[settled], f_means[settled], h_means[settled]))
        start, end = waiting[~settled].unbind(1)
        middle = (start + end) / 2
        waiting = torch.cat([torch.stack([start, middle], 1), torch.stack([middle, end], 1)])
    resolved, f_means, h_means = (torch.cat(parts) for parts in zip(*done, strict=True))
    order = resolved[:, 0].argsort()
    return resolved[order], f_means[order], h_means[order]


def _panel_means(
    drift: Callable[[Tensor], Tensor], diffusion: Callable[[Tensor], Tensor], panels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients of the means of f and of g^2 / s^2 (with s = 1 at each start), and which panels are resolved."""
    start, width = panels[:, :1], panels[:, 1:] - panels[:, :1]
    offset = width * (_X + 1) / 2
    f = drift(start + offset)
    f_means = f @ _TO_MEAN.T
    log_scale = offset * (f @ (_MEANS @ _TO_COEFFICIENTS).T)
    h = diffusion(start + offset).square() * (-2 * log_scale).exp()
    f_tail, f_size = _tail_and_size(f)
    h_tail, h_size = _tail_and_size(h)
    # Only the integral of f counts: f may be rough where a panel is so short that it adds nothing.
    length = width.squeeze(1)
    f_smooth, h_smooth = length * f_tail <= TOLERANCE * (1 + length * f_size), h_tail <= TOLERANCE * h_size
    return f_means, h @ _TO_MEAN.T, f_smooth & h_smooth


def _tail_and_size(values: Tensor) -> tuple[Tensor, Tensor]:
    coefficients = (values @ _TO_COEFFICIENTS.T).abs()
    return coefficients[:, -2:].amax(1), coefficients.amax(1)


def _chebyshev_sum(coefficients: Tensor, x: Tensor) -> Tensor:
    """sum_k c_k T_k(x) by Clenshaw's recurrence; coefficients (*shape of x, NODES)."""
    later, latest = torch.zeros_like(x), torch.zeros_like(x)
    for k in range(NODES - 1, 0, -1):
        later, latest = coefficients[..., k] + 2 * x * later - latest, later
    return coefficients[..., 0] + x * later - latest


def _shaped(name: str, function: Callable[[Tensor], Value]) -> Callable[[Tensor], Tensor]:
    """``function`` with numbers spread to the shape of its argument, and checked to be finite while integrating."""

    def shaped(t: Tensor) -> Tensor:
        value = torch.as_tensor(function(t), dtype=t.dtype, device=t.device).expand(t.shape)
        if not bool(torch.isfinite(value).all()):
            where = float(t[~torch.isfinite(value)].flatten()[0])
            raise ValueError(f"{name}(t) is not finite at t = {where}: change it, or use a smaller t_max")
        return value

    return shaped
