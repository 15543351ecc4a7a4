"""One-step methods: Euler, Heun and their second-order family (Karras et al. 2022, Algorithms 1 and 3), and RK45."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.design.values import check_number, per_sample
from elucidiff.devices import onto
from elucidiff.parts import part, setting
from elucidiff.solvers.base import ODE, Solver, StepResult, coefficient


@part("solver", "euler")
@dataclass(frozen=True)
class Euler(Solver):
    """x' = x + (t' - t) dx/dt: one evaluation a step. With sigma = t and s = 1 it is DDIM.

    >>> import elucidiff as ed
    >>> ed.Sampler(solver=ed.solvers.Euler()).to_text()
    'solver=euler'
    """

    begins_at_infinity = True

    def step(self, ode: ODE, x: Tensor, t: float, t_next: float, state: None = None) -> StepResult:
        """See :meth:`Solver.step`."""
        denoised = ode.denoise(x, t)
        return StepResult(x + (t_next - t) * ode.velocity(x, t, denoised), denoised)


@part("solver", "rk2")
@dataclass(frozen=True)
class RK2(Solver):
    """The second-order Runge-Kutta methods with two evaluations a step: Karras et al. 2022, Algorithm 3.

        d = dx/dt at (x, t);  d' = dx/dt at (x + alpha h d, t + alpha h);
        x' = x + h [(1 - 1/(2 alpha)) d + 1/(2 alpha) d']

    The last step, to t = 0, is Euler's, since dx/dt is 0/0 there. With alpha > 1 the second evaluation lies beyond
    the end of the step, and at the last steps, or with few of them, beyond t = 0. If sigma(t) goes on there as an
    odd function, as sigma = t does, so does the ODE, and alpha stays as it is: the slope is taken at a noise level
    below 0, and the denoiser, which depends on sigma^2, is asked for its size. If not, as for sigma = sqrt(t), the
    step uses alpha = 1.

    Args:
        alpha: position of the second evaluation: 1 is Heun's method, 1/2 the midpoint method, 2/3 Ralston's.

    Raises:
        ValueError: ``alpha`` is not a positive, finite number.

    >>> import elucidiff as ed
    >>> ed.parts.to_text(ed.solvers.RK2(alpha=0.5))
    'rk2:alpha=0.5'
    """

    alpha: float = setting(1.0, search=(0.5, 1.3))

    begins_at_infinity = True

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha is {self.alpha}, but must be a finite number > 0 (1 is Heun's method)")

    @property
    def order(self) -> int:
        """2, whatever alpha."""
        return 2

    def step(self, ode: ODE, x: Tensor, t: float, t_next: float, state: None = None) -> StepResult:
        """See :meth:`Solver.step`."""
        h = t_next - t
        denoised = ode.denoise(x, t)
        d = ode.velocity(x, t, denoised)
        if t_next == 0:
            return StepResult(x + h * d, denoised)
        alpha, t_prime = self._second_evaluation(ode, t, t_next)
        x_prime = x + alpha * h * d
        d_prime = ode.velocity(x_prime, t_prime, ode.denoise(x_prime, t_prime))
        return StepResult(x + h * ((1 - 1 / (2 * alpha)) * d + 1 / (2 * alpha) * d_prime), denoised)

    def _second_evaluation(self, ode: ODE, t: float, t_next: float) -> tuple[float, float]:
        """alpha for this step and the time of its second evaluation."""
        t_prime = t + self.alpha * (t_next - t)
        if self.alpha == 1 or (self.alpha > 1 and not _goes_on(ode.schedule, t_prime)):
            return 1.0, t_next
        return self.alpha, t_prime


@part("solver", "heun")
@dataclass(frozen=True)
class Heun(RK2):
    """Heun's method, the paper's choice: :class:`RK2` with alpha = 1; Karras et al. 2022, Algorithm 1.

    >>> import elucidiff as ed
    >>> ed.solvers.Heun().order
    2
    """

    alpha: float = field(default=1.0, init=False)


def _goes_on(schedule: Schedule, t: float) -> bool:
    """True if sigma has the sign of ``t``: near t = 0 a schedule may end, and beyond it only odd ones go on."""
    try:
        return float(schedule.sigma(t)) * t > 0
    except ValueError:
        return False


# Butcher tableau (Dormand and Prince 1980; Hairer, Norsett and Wanner 1993, Table II.5.2). The last row of A is the
# fifth-order result, so the last stage of a step is the first of the next one.
_C = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
# Fifth-order weights less the embedded fourth-order ones.
_E = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0


@part("solver", "rk45")
@dataclass(frozen=True)
class RK45(Solver):
    """Dormand and Prince's method of order 5(4) with step-size and error control for each sample by itself.

    It integrates in t from the first noise level to the last positive one; those between are ignored. There it ends
    with x = s(0) D(x/s; sigma): the exact solution of the ODE from sigma down to 0, whatever the schedule, for a
    denoised image that no longer changes. (At sigma = 0 itself dx/dt is 0/0.)

    A step of size h is accepted when the ODE's ``norm``, the root mean square over a sample's values, of

        error / (atol + rtol max(|x|, |x'|))

    is below 1, and the next size is h times 0.9 norm^(-1/5), within [0.2, 10]; the first size is that of Hairer,
    Norsett and Wanner 1993, Section II.4. Samples that have arrived are not evaluated any further, so each has its
    own NFE: 2 to start, 6 an attempted step, and 1 at the end. Of all solvers this one alone waits for the device, to
    learn the errors: 3 times to start and once an attempted step.

    Args:
        rtol: tolerated error relative to the values; at least 1e-13.
        atol: tolerated error in units of the scaled data; > 0.

    Raises:
        ValueError: a tolerance is out of its range.

    >>> import elucidiff as ed
    >>> ed.solvers.RK45(rtol=1e-4).adaptive
    True
    """

    rtol: float = 1e-5
    atol: float = 1e-5

    begins_at_infinity = True

    def __post_init__(self) -> None:
        check_number(rtol=self.rtol, atol=self.atol)
        if not 1e-13 <= self.rtol < math.inf:
            raise ValueError(f"rtol is {self.rtol}, but must be a number of at least 1e-13")
        if not 0 < self.atol < math.inf:
            raise ValueError(f"atol is {self.atol}, but must be a finite number > 0")

    @property
    def order(self) -> int:
        """5, of the result that is kept."""
        return 5

    @property
    def adaptive(self) -> bool:
        """True: it chooses its own steps."""
        return True

    def step(self, ode: ODE, x: Tensor, t: float, t_next: float, state: None = None) -> StepResult:
        """Take each sample from ``t`` to ``t_next`` in as many steps as it needs. See :meth:`.Solver.step`.

        Raises:
            ValueError: the step size of a sample vanished, for example because the denoiser returned NaN.
        """
        whole, rows = ode, torch.arange(len(x))
        ode = whole.select(rows)
        times = torch.full((len(x),), t, dtype=torch.float64)
        denoised = ode.denoise(x, times)
        if t_next == 0:
            scale = ode.schedule.scale(torch.zeros_like(times))
            return StepResult(coefficient(scale, x) * denoised, denoised)

        d = ode.velocity(x, times, denoised)
        h = self._first_step(ode, x, times, d, t_next)
        result, retry = x.clone(), torch.zeros(len(x), dtype=torch.bool)
        while len(rows):
            remaining = t_next - times
            smallest = 10 * (torch.nextafter(times, times + remaining) - times)
            h = torch.where(h.abs() >= smallest.abs(), h, smallest)  # also for NaN
            h = torch.where(h.abs() > remaining.abs(), remaining, h)
            x_new, d_new, norm = self._attempt(ode, x, times, d, h)
            accepted = norm < 1
            stuck = ~accepted & (h.abs() <= smallest.abs())
            if bool(stuck.any()):
                raise ValueError(
                    f"RK45 found no step size to meet rtol = {self.rtol:g}, atol = {self.atol:g} for sample "
                    f"{int(rows[stuck][0])} of the batch: loosen them, or look for NaN in the denoiser's output"
                )
            arrived = accepted & (h == remaining)
            factor = (_SAFETY / _fifth_root(norm)).clamp(_SHRINK, _GROW)
            # NaN counts as too large; after a rejection the step must not grow at once.
            factor = factor.nan_to_num(nan=_SHRINK).clamp_max(torch.where(accepted & ~retry, _GROW, 1.0))
            times = torch.where(accepted, times + h, times)
            h, retry = h * factor, ~accepted

            keep = per_sample(onto(accepted, x.device), x)
            x, d = torch.where(keep, x_new, x), torch.where(keep, d_new, d)
            if bool(arrived.any()):
                # By indices: a mask on the device would have to be waited for.
                result[onto(rows[arrived], x.device)] = x[onto(arrived.nonzero().flatten(), x.device)]
                going = (~arrived).nonzero().flatten()
                rows, times, h, retry = rows[going], times[going], h[going], retry[going]
                x, d = (values[onto(going, x.device)] for values in (x, d))
                ode = whole.select(rows)
        return StepResult(result, denoised)

    def _attempt(self, ode: ODE, x: Tensor, t: Tensor, d: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x and dx/dt after a step of ``h``, and its error as a multiple of the tolerance (on the CPU)."""
        size = coefficient(h, x)
        slopes = [d]
        x_new = x
        for c, row in zip(_C, _A, strict=True):
            x_new = x + size * _combine(row, slopes)
            time = t + c * h
            slopes.append(ode.velocity(x_new, time, ode.denoise(x_new, time)))
        tolerance = self.atol + self.rtol * torch.maximum(x.abs(), x_new.abs())
        norm = ode.norm(size * _combine(_E, slopes) / tolerance)
        return x_new, slopes[-1], norm.cpu().double()

    def _first_step(self, ode: ODE, x: Tensor, t: Tensor, d: Tensor, t_next: float) -> Tensor:
        """A first guess at each sample's step size, by the size of the first two derivatives."""
        interval = t_next - t
        tolerance = self.atol + self.rtol * x.abs()
        size_x = ode.norm(x / tolerance).cpu().double()
        size_d = ode.norm(d / tolerance).cpu().double()
        tiny = (size_x < 1e-5) | (size_d < 1e-5)
        # NaN, which a broken denoiser gives, would make a noise level of it.
        probe = torch.where(tiny, 1e-6, 0.01 * size_x / size_d).nan_to_num(nan=1e-6)
        probe = probe.minimum(interval.abs()) * interval.sign()
        x_probe = x + coefficient(probe, x) * d
        d_probe = ode.velocity(x_probe, t + probe, ode.denoise(x_probe, t + probe))
        curvature = ode.norm((d_probe - d) / tolerance).cpu().double() / probe.abs()
        steepest = torch.maximum(size_d, curvature)
        guess = torch.where(steepest <= 1e-15, (probe.abs() * 1e-3).clamp_min(1e-6), _fifth_root(0.01 / steepest))
        return torch.minimum(guess, 100 * probe.abs()).minimum(interval.abs()) * interval.sign()


def _combine(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """The weighted sum of slopes; zero weights cost nothing."""
    total = torch.zeros_like(slopes[0])
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            total = total + weight * slope
    return total


def _fifth_root(values: Tensor) -> Tensor:
    """One by one, since the last bit of a power in a tensor depends on the place in it."""
    return torch.tensor([value**0.2 for value in values.tolist()], dtype=torch.float64)
