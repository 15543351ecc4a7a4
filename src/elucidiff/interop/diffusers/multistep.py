"""DPM-Solver++ and UniPC as diffusers runs them: exponential integrators that remember earlier outputs.

With x = alpha x_0 + sigma n and lambda = ln(alpha / sigma), the ODE is linear but for the network (Lu et al. 2022,
arXiv 2206.00927, Eq. 3.4; arXiv 2211.01095, Eq. 8). Both are written once for the two ways to put it: in data
predictions x_0, where x / sigma is integrated, and in noise predictions n, where x / alpha is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from elucidiff.design import noise_tables
from elucidiff.design.noise_tables import Array
from elucidiff.interop.diffusers import tables
from elucidiff.interop.diffusers.continuous import EDMScheduler
from elucidiff.interop.diffusers.settings import Run, TableScheduler, Thresholding, denoised, noise_in
from elucidiff.interop.diffusers.tables import FinalSigma

FEW = 15
"""With fewer steps than this, ``lower_order_final`` lowers the order at the end."""


NOTHING = 1e-6
"""A step in lambda that is none: with final_sigmas_type "sigma_min" a grid that ends there takes one."""
ALMOST_ONE = 1e-6
"""The distance below 1 at which UniPC begins a flow, where the signal-to-noise ratio would be 0."""


@dataclass(frozen=True)
class Level:
    """A point of a run: x = alpha x_0 + sigma n."""

    alpha: float
    sigma: float

    @property
    def lam(self) -> float:
        """ln(alpha / sigma), half the logarithm of the signal-to-noise ratio."""
        return math.log(self.alpha / self.sigma) if self.sigma > 0 else math.inf


def preserving(sigma: float) -> Level:
    """Variance preserved, at noise level ``sigma`` of x / alpha."""
    alpha = 1 / math.sqrt(1 + sigma**2)
    return Level(alpha, sigma * alpha)


def flow(sigma: float) -> Level:
    """Rectified flow."""
    return Level(1 - sigma, sigma)


def exploding(sigma: float) -> Level:
    """x = x_0 + sigma n."""
    return Level(1.0, sigma)


@dataclass(frozen=True)
class DPMSettings:
    """The integrator's settings."""

    solver_order: int = 2
    algorithm_type: Literal["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"] = "dpmsolver++"
    solver_type: Literal["midpoint", "heun"] = "midpoint"
    lower_order_final: bool = True
    euler_at_final: bool = False
    final_sigmas_type: FinalSigma = "zero"

    def order_at(self, index: int, steps: int, known: int) -> int:
        """The order of a step, given the number of outputs known, its own included."""
        if index == steps - 1 and (
            self.euler_at_final or (self.lower_order_final and steps < FEW) or self.final_sigmas_type == "zero"
        ):
            return 1
        if index == steps - 2 and self.lower_order_final and steps < FEW:
            return min(2, known, self.solver_order)
        return min(self.solver_order, known)

    @property
    def in_data(self) -> bool:
        """True if it works with predictions of x_0."""
        return self.algorithm_type.endswith("++")

    @property
    def stochastic(self) -> bool:
        """True if it adds fresh noise at each step."""
        return self.algorithm_type.startswith("sde")


def check_order(order: int) -> None:
    """Raise ValueError unless there is a method of this order."""
    if not 1 <= order <= 3:
        raise ValueError(f"solver_order is {order}, but must be 1, 2 or 3")


def dpm_step(
    settings: DPMSettings,
    x: Tensor,
    outputs: Sequence[Tensor],
    levels: Sequence[Level],
    end: Level,
    fresh: Tensor | None,
) -> Tensor:
    """One step of DPM-Solver(++) or its SDE variant, of the order of ``outputs``.

    Args:
        settings: of the integrator.
        x: the sample.
        outputs: predictions, newest first.
        levels: where they were made.
        end: of the step.
        fresh: unit noise for the SDE variants.
    """
    start = levels[0]
    h = end.lam - start.lam
    if abs(h) < NOTHING:
        return x
    # For data predictions time runs as -lambda: e^-h in place of e^h, and sigma and alpha change places. An SDE has
    # twice the exponent where the output enters (data), or twice the whole term (noise).
    sde = settings.stochastic
    if settings.in_data:
        kept = end.sigma / start.sigma * (math.exp(-h) if sde else 1.0)
        weights = _weights(-2 * h if sde else -h)
        scale = -end.alpha
    else:
        kept = end.alpha / start.alpha
        weights = _weights(h)
        scale = -end.sigma * (2 if sde else 1)
    result = kept * x + scale * weights[0] * outputs[0]
    slope, bend = _differences(outputs, levels, h)
    if slope is not None and len(outputs) == 2 and settings.solver_type == "midpoint":
        result = result + scale * 0.5 * weights[0] * slope
    elif slope is not None:
        result = result + scale * weights[1] * slope
    if bend is not None:
        # diffusers subtracts the 1/2 of the third-order SDE where Lu et al. add it.
        result = result + scale * (weights[2] + (sde and settings.in_data)) * bend
    if fresh is not None:
        variance = -math.expm1(-2 * h) if settings.in_data else math.expm1(2 * h)
        result = result + end.sigma * math.sqrt(variance) * fresh
    return result


def _weights(z: float) -> tuple[float, float, float]:
    """e^z - 1, (e^z - 1) / z - 1 and ((e^z - 1) / z - 1) / z - 1/2."""
    first = math.expm1(z)
    if math.isinf(z):
        return first, -1.0, -0.5
    second = first / z - 1
    return first, second, second / z - 0.5


def _differences(outputs: Sequence[Tensor], levels: Sequence[Level], h: float) -> tuple[Tensor | None, Tensor | None]:
    """First and second divided differences of the outputs in lambda, in units of ``h``."""
    if len(outputs) == 1:
        return None, None
    ratio = (levels[0].lam - levels[1].lam) / h
    first = (outputs[0] - outputs[1]) / ratio
    if len(outputs) == 2:
        return first, None
    ratio_before = (levels[1].lam - levels[2].lam) / h
    before = (outputs[1] - outputs[2]) / ratio_before
    second = (first - before) / (ratio + ratio_before)
    return first + ratio * second, second


@dataclass(frozen=True)
class MultistepScheduler(TableScheduler, Thresholding):
    """The base of DPM-Solver++ and UniPC: noise levels, with times rounded to whole ones."""

    timestep_spacing: noise_tables.Spacing = "linspace"
    use_karras_sigmas: bool = False
    use_exponential_sigmas: bool = False
    use_beta_sigmas: bool = False
    use_flow_sigmas: bool = False
    flow_shift: float = 1.0
    final_sigmas_type: FinalSigma = "zero"
    use_dynamic_shifting: bool = False
    time_shift_type: Literal["exponential"] = "exponential"
    solver_order: int = 2
    lower_order_final: bool = True

    def check(self) -> None:
        """Raise ValueError unless the settings go together."""
        super().check()
        if self.use_karras_sigmas + self.use_exponential_sigmas + self.use_beta_sigmas > 1:
            raise ValueError("only one of use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas can be true")
        check_order(self.solver_order)
        if not 0 < self.flow_shift < math.inf:
            raise ValueError(f"flow_shift is {self.flow_shift:g}, but must be positive")

    def level(self, sigma: float) -> Level:
        """alpha and sigma at a noise level of the grid."""
        return flow(sigma) if self.use_flow_sigmas else preserving(sigma)

    @property
    def cuts_off(self) -> bool:
        """True if times between the table's become the lower whole one, and not the nearest."""
        return self.use_exponential_sigmas or self.use_beta_sigmas

    def times_of(self, table: Array, sigmas: Array) -> Array:
        """Whole times of noise levels."""
        times = tables.TimeOfSigma(table).of(sigmas)
        return np.floor(times) if self.cuts_off else times.round()

    def shifted(self, levels: Array, mu: float | None) -> Array:
        """Flow levels with the shift of the settings, or with ``mu`` where it depends on the image."""
        shift = self.flow_shift
        if self.use_dynamic_shifting:
            if mu is None:
                raise ValueError("this model's shift depends on the size of the image: give mu")
            shift = math.exp(mu)
        return tables.shifted(levels, shift)

    def predicted(self, x: Tensor, output: Tensor, level: Level, in_data: bool) -> Tensor:
        """x_0, thresholded if the settings ask for it, or n, by the network's output."""
        arguments = (self.predicts, x, output, level.alpha, level.sigma)
        return self.thresholded(denoised(*arguments)) if in_data else noise_in(*arguments)


@dataclass(frozen=True)
class DPMSolver(MultistepScheduler, DPMSettings):
    """DPM-Solver and DPM-Solver++, of order 1 to 3, and their SDE variants."""

    OPTIONS: ClassVar[tuple[str, ...]] = ("mu", "timesteps")

    use_lu_lambdas: bool = False
    lambda_min_clipped: float = -math.inf

    @property
    def cuts_off(self) -> bool:
        """True if times between the table's become the lower whole one; with a cosine table they always do."""
        return super().cuts_off or self.beta_schedule == "squaredcos_cap_v2"

    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """See :meth:`.Scheduler.sample`. ``mu`` is a flow's dynamic shift; ``timesteps`` are N times of the table."""
        mu, given = run.option("mu", math.nan), run.levels("timesteps", steps)
        run.finish("DPMSolverMultistep", self.OPTIONS)
        times, sigmas = self.grid(steps, None if math.isnan(mu) else mu, given)
        steps = len(times)  # fewer where lambda_min_clipped left some out
        levels = [self.level(float(sigma)) for sigma in sigmas]
        x, outputs = noise, list[Tensor]()
        for index in range(steps):
            output = run.output(x, int(times[index]))
            prediction = self.predicted(x, output, levels[index], self.in_data)
            if self.thresholding and not self.in_data:
                x0 = self.predicted(x, output, levels[index], True)
                prediction = (x - levels[index].alpha * x0) / levels[index].sigma
            outputs = [prediction, *outputs[:2]]
            order = self.order_at(index, steps, len(outputs))
            fresh = run.draw(index) if self.stochastic else None
            x = dpm_step(self, x, outputs[:order], levels[index::-1][:order], levels[index + 1], fresh)
        return x

    def check(self) -> None:
        """Raise ValueError unless the settings go together."""
        super().check()
        if not self.in_data and self.final_sigmas_type == "zero":
            raise ValueError(f"algorithm_type {self.algorithm_type} needs final_sigmas_type 'sigma_min'")

    def grid(self, steps: int, mu: float | None = None, given: Array | None = None) -> tuple[Array, Array]:
        """Times (N,), those ``given`` preferred, and noise levels (N + 1,)."""
        table = noise_tables.sigmas_of(self.finite_alpha_bars)
        tables.refuse_given(self, given)
        # Times beyond the least lambda are left out.
        last = int((-np.log(table) >= self.lambda_min_clipped).sum())
        low, high = float(table[0]), float(table[-1])
        if self.use_flow_sigmas:
            sigmas = self.shifted(1 - np.linspace(1, 1 / self.num_train_timesteps, steps + 1), mu)[::-1][:-1].copy()
            times = sigmas * self.num_train_timesteps
        else:
            extra = self.timestep_spacing != "trailing"
            times = self.times(steps, whole=True, extra=extra, last=last) if given is None else given.round()
            sigmas = np.interp(times, np.arange(len(table)), table)
            chosen = tables.respaced(self, low, high, steps)
            if chosen is None and self.use_lu_lambdas:
                start, end = (float(np.log(np.float32(level))) for level in (high, low))
                chosen = np.exp(np.linspace(start, end, steps))
            if chosen is not None:
                sigmas, times = chosen, self.times_of(table, chosen)
        return times, np.append(sigmas, 0.0 if self.final_sigmas_type == "zero" else low)


@dataclass(frozen=True)
class EDMDPMSolver(EDMScheduler, DPMSettings, Thresholding):
    """DPM-Solver++ for an EDM network."""

    algorithm_type: Literal["dpmsolver++", "sde-dpmsolver++"] = "dpmsolver++"

    def check(self) -> None:
        """Raise ValueError unless the settings go together."""
        super().check()
        check_order(self.solver_order)

    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """See :meth:`.Scheduler.sample`."""
        run.finish("EDMDPMSolverMultistep", self.OPTIONS)
        sigmas = self.sigmas(steps)
        sigmas[-1] = min(sigmas[-1], self.sigma_min)  # not that of the grid, which a single step has only one of
        levels = [exploding(float(sigma)) for sigma in sigmas]
        x, outputs = noise * self.start(), list[Tensor]()
        for index in range(steps):
            sigma = float(sigmas[index])
            x0 = self.denoised(x, self.output(x, sigma, run), sigma)
            outputs = [self.thresholded(x0), *outputs[:2]]
            order = self.order_at(index, steps, len(outputs))
            fresh = run.draw(index) if self.stochastic else None
            x = dpm_step(self, x, outputs[:order], levels[index::-1][:order], levels[index + 1], fresh)
        return x


@dataclass(frozen=True)
class UniPC(MultistepScheduler):
    """UniPC: a predictor and a corrector of the same form (Zhao et al. 2023, arXiv 2302.04867, Eq. 3 and 8)."""

    OPTIONS: ClassVar[tuple[str, ...]] = ("mu", "sigmas")

    predict_x0: bool = True
    solver_type: Literal["bh1", "bh2"] = "bh2"
    disable_corrector: tuple[int, ...] = field(default=())
    sigma_min: float | None = None
    sigma_max: float | None = None
    shift_terminal: float | None = None

    def check(self) -> None:
        """Raise ValueError unless the settings go together."""
        super().check()
        tables.check_range(self.sigma_min, self.sigma_max)
        tables.check_terminal(self.shift_terminal)

    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """See :meth:`.Scheduler.sample`. ``mu`` is a flow's dynamic shift, ``sigmas`` its levels before a shift."""
        mu, given = run.option("mu", math.nan), run.levels("sigmas", steps)
        run.finish("UniPC", self.OPTIONS)
        if given is not None and not self.use_flow_sigmas:
            raise ValueError("sigmas can be given to UniPC for a flow alone")
        times, sigmas = self.grid(steps, None if math.isnan(mu) else mu, given)
        levels = [self.level(float(sigma)) for sigma in sigmas]
        x, outputs = noise, list[Tensor]()
        before, order = noise, 0
        for index in range(steps):
            output = self.predicted(x, run.output(x, int(times[index])), levels[index], self.predict_x0)
            if index and index - 1 not in self.disable_corrector:
                x = self._step(before, outputs[:order], levels[index - 1 :: -1][:order], levels[index], output)
            outputs = [output, *outputs[: self.solver_order - 1]]
            order = min(self.solver_order, len(outputs))
            if self.lower_order_final:
                order = min(order, steps - index)
            before = x
            x = self._step(x, outputs[:order], levels[index::-1][:order], levels[index + 1], None)
        return x

    def grid(self, steps: int, mu: float | None = None, given: Array | None = None) -> tuple[Array, Array]:
        """Times (N,) and noise levels (N + 1,); a flow's are made of those ``given``."""
        table = noise_tables.sigmas_of(self.finite_alpha_bars)
        last = float(table[0])
        low = float(table[0]) if self.sigma_min is None else self.sigma_min
        high = float(table[-1]) if self.sigma_max is None else self.sigma_max
        chosen = tables.respaced(self, low, high, steps)
        if chosen is not None:
            sigmas, times = chosen, self.times_of(table, chosen)
            if self.use_flow_sigmas:
                sigmas = sigmas / (sigmas + 1)
                times = sigmas * self.num_train_timesteps
            last = float(sigmas[-1])
        elif self.use_flow_sigmas:
            levels = np.linspace(1, 1 / self.num_train_timesteps, steps + 1)[:-1] if given is None else given
            sigmas = self.shifted(levels, mu)
            if self.shift_terminal:
                sigmas = tables.stretched(sigmas, self.shift_terminal)
            sigmas[0] = min(sigmas[0], 1 - ALMOST_ONE)
            times, last = sigmas * self.num_train_timesteps, float(sigmas[-1])
        else:
            times = self.times(steps, whole=True, extra=self.timestep_spacing != "trailing")
            sigmas = np.interp(times, np.arange(len(table)), table)
        return times, np.append(sigmas, 0.0 if self.final_sigmas_type == "zero" else last)

    def _step(
        self, x: Tensor, outputs: Sequence[Tensor], levels: Sequence[Level], end: Level, corrected: Tensor | None
    ) -> Tensor:
        """From ``levels[0]`` to ``end``; with the output at the end, ``corrected``, the corrector's step."""
        start = levels[0]
        h = end.lam - start.lam
        if abs(h) < NOTHING:
            return x
        z = -h if self.predict_x0 else h
        growth = math.expm1(z)
        if self.predict_x0:
            result = end.sigma / start.sigma * x - end.alpha * growth * outputs[0]
            scale = -end.alpha
        else:
            result = end.alpha / start.alpha * x - end.sigma * growth * outputs[0]
            scale = -end.sigma
        places = [(level.lam - start.lam) / h for level in levels[1:]]
        slopes = [(output - outputs[0]) / place for output, place in zip(outputs[1:], places, strict=True)]
        if corrected is not None:
            places, slopes = [*places, 1.0], [*slopes, corrected - outputs[0]]
        if not slopes:
            return result
        size = z if self.solver_type == "bh1" else growth
        for weight, slope in zip(self._weights(places, z, size), slopes, strict=True):
            result = result + scale * size * weight * slope
        return result

    def _weights(self, places: Sequence[float], z: float, size: float) -> list[float]:
        """Weights that are exact for polynomials (their Eq. 5); 1/2 for a single one, by definition."""
        if len(places) == 1:
            return [0.5]
        moment, factorial, wanted = math.expm1(z) / z - 1, 1.0, []
        for power in range(1, len(places) + 1):
            wanted.append(moment * factorial / size)
            factorial *= power + 1
            moment = moment / z - 1 / factorial
        matrix = [[place**power for place in places] for power in range(len(places))]
        return [float(weight) for weight in np.linalg.solve(np.array(matrix), np.array(wanted))]
