"""The samplers of diffusers that step in noise levels: Euler, Heun, Euler for flows and for EDM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from elucidiff.denoisers.adapters import Prediction
from elucidiff.design import noise_tables
from elucidiff.design.noise_tables import Array
from elucidiff.interop.diffusers import tables
from elucidiff.interop.diffusers.settings import Run, Scheduler, TableScheduler, denoised
from elucidiff.interop.diffusers.tables import FinalSigma

CHURN = ("s_churn", "s_tmin", "s_tmax", "s_noise")


@dataclass(frozen=True)
class Churned:
    """Noise that is added after the network was evaluated at the lower level; Algorithm 2 does it before."""

    amount: float
    lowest: float
    highest: float
    scale: float

    @classmethod
    def of(cls, run: Run) -> Churned:
        """By the options ``s_churn``, ``s_tmin``, ``s_tmax`` and ``s_noise``."""
        return cls(
            run.option("s_churn", 0.0),
            run.option("s_tmin", 0.0),
            run.option("s_tmax", math.inf),
            run.option("s_noise", 1.0),
        )

    def raised(self, x: Tensor, sigma: float, steps: int, run: Run, index: int) -> tuple[Tensor, float]:
        """The sample with more noise, and its noise level."""
        gamma = min(self.amount / steps, math.sqrt(2) - 1) if self.lowest <= sigma <= self.highest else 0.0
        if gamma <= 0:
            return x, sigma
        raised = sigma * (gamma + 1)
        return x + self.scale * math.sqrt(raised**2 - sigma**2) * run.draw(index), raised


@dataclass(frozen=True)
class SigmaScheduler(TableScheduler):
    """A scheduler with noise levels of its own choice, and times interpolated in the table."""

    timestep_spacing: noise_tables.Spacing = "linspace"
    use_karras_sigmas: bool = False
    use_exponential_sigmas: bool = False
    use_beta_sigmas: bool = False
    sigma_min: float | None = None
    sigma_max: float | None = None

    def check(self) -> None:
        """Raise ValueError unless the settings make a noise table and at most one spacing."""
        super().check()
        if self.use_karras_sigmas + self.use_exponential_sigmas + self.use_beta_sigmas > 1:
            raise ValueError("only one of use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas can be true")
        tables.check_range(self.sigma_min, self.sigma_max)

    def start(self, sigmas: Array) -> float:
        """By how much unit noise is multiplied to begin with."""
        highest = float(sigmas.max())
        return math.sqrt(highest**2 + 1) if self.timestep_spacing == "leading" else highest

    def grid(self, steps: int, given: Array | None = None) -> tuple[Array, Array]:
        """Times (N,), those ``given`` preferred, and noise levels (N,)."""
        table = noise_tables.sigmas_of(self.finite_alpha_bars)
        tables.refuse_given(self, given)
        if given is not None:
            return given, np.interp(given, np.arange(len(table)), table)
        times = self.times(steps, whole=False).astype(np.float32).astype(np.float64)
        sigmas = self.base_levels(table, times)
        low = sigmas[-1] if self.sigma_min is None else self.sigma_min
        high = sigmas[0] if self.sigma_max is None else self.sigma_max
        chosen = tables.respaced(self, float(low), float(high), steps)
        return (times, sigmas) if chosen is None else (tables.TimeOfSigma(table).of(chosen), chosen)

    def base_levels(self, table: Array, times: Array) -> Array:
        """The noise levels that the table has at ``times``."""
        levels: Array = np.interp(times, np.arange(len(table)), table)
        return levels


@dataclass(frozen=True)
class Euler(SigmaScheduler):
    """Euler's method in noise levels (Karras et al. 2022, Algorithm 1 with sigma = t)."""

    OPTIONS: ClassVar[tuple[str, ...]] = (*CHURN, "sigmas", "timesteps")

    interpolation_type: Literal["linear", "log_linear"] = "linear"
    timestep_type: Literal["discrete", "continuous"] = "discrete"
    final_sigmas_type: FinalSigma = "zero"

    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """See :meth:`.Scheduler.sample`. For ``s_churn`` and the like see :class:`Churned`.

        ``sigmas`` are N + 1 noise levels, and ``timesteps`` N times, in place of those by the settings.
        """
        churn = Churned.of(run)
        times, sigmas = self._chosen(steps, run.levels("timesteps", steps), run.levels("sigmas", steps + 1))
        run.finish("Euler", self.OPTIONS)
        x = noise * self.start(sigmas)
        for index, time in enumerate(times):
            sigma = float(sigmas[index])
            output = run.output(x / math.sqrt(1 + sigma**2), float(time))
            x, raised = churn.raised(x, sigma, len(sigmas) - 1, run, index)
            # epsilon is taken at the raised level, the others at the one where the network was asked.
            level = raised if self.predicts == "epsilon" else sigma
            alpha = 1 / math.sqrt(1 + level**2)
            x0 = denoised(self.predicts, x * alpha, output, alpha, level * alpha)
            x = x + (x - x0) / raised * (float(sigmas[index + 1]) - raised)
        return x

    def base_levels(self, table: Array, times: Array) -> Array:
        """The noise levels that the table has at ``times``, or one more, equally spaced in their logarithm."""
        if self.interpolation_type == "log_linear":
            return tables.exponential(float(table[0]), float(table[-1]), len(times) + 1)
        return super().base_levels(table, times)

    def _chosen(self, steps: int, times: Array | None, sigmas: Array | None) -> tuple[Array, Array]:
        """Times (N,) and noise levels (N + 1,), those given preferred."""
        table = noise_tables.sigmas_of(self.finite_alpha_bars)
        last = 0.0 if self.final_sigmas_type == "zero" else float(table[0])
        if sigmas is not None:
            times = tables.TimeOfSigma(table).of(sigmas[:-1])
        else:
            times, sigmas = self.grid(steps, times)
            sigmas = np.append(sigmas, last)
        if self.timestep_type == "continuous" and self.prediction_type == "v_prediction":
            times = 0.25 * np.log(sigmas[:-1])  # one more than the steps asked for if log_linear made one more
        return times, sigmas


@dataclass(frozen=True)
class Heun(SigmaScheduler):
    """Heun's method in noise levels (Karras et al. 2022, Algorithm 1 with sigma = t), two evaluations a step."""

    OPTIONS: ClassVar[tuple[str, ...]] = ("timesteps",)
    NOT_SETTINGS: ClassVar[tuple[str, ...]] = ("rescale_betas_zero_snr", "sigma_min", "sigma_max")

    beta_start: float = 0.00085
    beta_end: float = 0.012
    clip_sample: bool = False
    clip_sample_range: float = 1.0

    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """See :meth:`.Scheduler.sample`. ``timesteps`` are N times in place of those by the settings."""
        times, sigmas = self.grid(steps, run.levels("timesteps", steps))
        run.finish("Heun", self.OPTIONS)
        sigmas = np.append(sigmas, 0.0)
        x = noise * self.start(sigmas)
        for index in range(steps):
            sigma, sigma_next = float(sigmas[index]), float(sigmas[index + 1])
            slope = (x - self.denoise(x, sigma, float(times[index]), run)) / sigma
            ahead = x + (sigma_next - sigma) * slope
            if sigma_next > 0:
                slope_next = (ahead - self.denoise(ahead, sigma_next, float(times[index + 1]), run)) / sigma_next
                ahead = x + (sigma_next - sigma) * (slope + slope_next) / 2
            x = ahead
        return x

    def denoise(self, x: Tensor, sigma: float, time: float, run: Run) -> Tensor:
        """x_0 at x = x_0 + sigma n, clipped if the settings ask for it."""
        alpha = 1 / math.sqrt(1 + sigma**2)
        x0 = denoised(self.predicts, x * alpha, run.output(x * alpha, time), alpha, sigma * alpha)
        return x0.clamp(-self.clip_sample_range, self.clip_sample_range) if self.clip_sample else x0


@dataclass(frozen=True)
class FlowEuler(Scheduler):
    """Euler's method for rectified flow: x_t = (1 - t) x_0 + t n, dx/dt = n - x_0 (Esser et al. 2024)."""

    OPTIONS: ClassVar[tuple[str, ...]] = ("sigmas", "timesteps", "mu")

    num_train_timesteps: int = 1000
    shift: float = 1.0
    use_dynamic_shifting: bool = False
    invert_sigmas: bool = False
    shift_terminal: float | None = None
    use_karras_sigmas: bool = False
    use_exponential_sigmas: bool = False
    use_beta_sigmas: bool = False
    time_shift_type: Literal["exponential", "linear"] = "exponential"
    stochastic_sampling: bool = False

    @property
    def predicts(self) -> Prediction:
        """A flow."""
        return "flow"

    def check(self) -> None:
        """Raise ValueError unless the settings go together."""
        if not 2 <= self.num_train_timesteps <= 1_000_000:
            raise ValueError(f"num_train_timesteps is {self.num_train_timesteps}, but must be from 2 to 1,000,000")
        if not 0 < self.shift < math.inf:
            raise ValueError(f"shift is {self.shift:g}, but must be positive")
        tables.check_terminal(self.shift_terminal)
        if self.use_karras_sigmas + self.use_exponential_sigmas + self.use_beta_sigmas > 1:
            raise ValueError("only one of use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas can be true")

    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """See :meth:`.Scheduler.sample`.

        ``sigmas`` are N levels before the shift, or the N ``timesteps`` are, which the network is told without it;
        ``mu`` is the dynamic shift.
        """
        sigmas, told = run.levels("sigmas", steps), run.levels("timesteps", steps)
        if sigmas is None and told is not None:
            sigmas = told / self.num_train_timesteps
        levels = self.levels(steps, sigmas, run.option("mu", math.nan))
        run.finish("FlowMatchEuler", self.OPTIONS)
        times = levels * self.num_train_timesteps if told is None else told
        x = noise
        for index in range(steps):
            t, t_next = float(levels[index]), float(levels[index + 1])
            velocity = run.output(x, float(times[index]))
            if self.stochastic_sampling:
                x = (1 - t_next) * (x - t * velocity) + t_next * run.draw(index)
            else:
                x = x + (t_next - t) * velocity
        return x

    def levels(self, steps: int, given: Array | None = None, mu: float = math.nan) -> Array:
        """The levels t visited, (N + 1,).

        The constant shift is applied twice: to the range of the table, and to the levels between its ends.
        """
        if steps < 1:
            raise ValueError(f"steps is {steps}, but must be at least 1")
        low, high = 1 / self.num_train_timesteps, 1.0
        if not self.use_dynamic_shifting:
            low, high = (float(tables.shifted(np.array(level), self.shift)) for level in (low, high))
        levels = np.linspace(high, low, steps) if given is None else given
        if self.use_dynamic_shifting:
            if math.isnan(mu):
                raise ValueError("this model's shift depends on the size of the image: give mu")
            factor = math.exp(mu) if self.time_shift_type == "exponential" else mu
            levels = factor / (factor + (1 / levels - 1))
        else:
            levels = tables.shifted(levels, self.shift)
        if self.shift_terminal:
            levels = tables.stretched(levels, self.shift_terminal)
        chosen = tables.respaced(self, float(levels[-1]), float(levels[0]), steps)
        levels = levels if chosen is None else chosen
        return np.append(1 - levels, 1.0) if self.invert_sigmas else np.append(levels, 0.0)


@dataclass(frozen=True)
class EDMScheduler(Scheduler):
    """The base of schedulers around the EDM preconditioning (Karras et al. 2022, Table 1 and Eq. 5)."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5
    sigma_schedule: Literal["karras", "exponential"] = "karras"
    num_train_timesteps: int = 1000
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    rho: float = 7.0
    final_sigmas_type: FinalSigma = "zero"

    @property
    def predicts(self) -> Literal["edm"]:
        """The EDM preconditioning's F, whatever it is called."""
        return "edm"

    def check(self) -> None:
        """Raise ValueError unless the settings go together."""
        tables.check_range(self.sigma_min, self.sigma_max)
        if not self.sigma_min < self.sigma_max or not 0 < self.sigma_data < 1e8 or not 0.1 <= self.rho <= 1000:
            raise ValueError("sigma_min must be below sigma_max, sigma_data positive, and rho from 0.1 to 1000")

    @property
    def sign(self) -> int:
        """Of F: a v prediction is its negative."""
        return -1 if self.prediction_type == "v_prediction" else 1

    def sigmas(self, steps: int) -> Array:
        """Noise levels (N + 1,)."""
        if steps < 1:
            raise ValueError(f"steps is {steps}, but must be at least 1")
        spaced = (
            tables.karras(self.sigma_min, self.sigma_max, steps, self.rho)
            if self.sigma_schedule == "karras"
            else tables.exponential(self.sigma_max, self.sigma_min, steps)[::-1]
        )
        return np.append(spaced, 0.0 if self.final_sigmas_type == "zero" else spaced[-1])

    def start(self) -> float:
        """By how much unit noise is multiplied to begin with."""
        return math.sqrt(self.sigma_max**2 + 1)

    def output(self, x: Tensor, sigma: float, run: Run) -> Tensor:
        """F(c_in x; ln(sigma) / 4)."""
        return run.output(x / math.sqrt(sigma**2 + self.sigma_data**2), math.log(sigma) / 4)

    def denoised(self, x: Tensor, output: Tensor, sigma: float) -> Tensor:
        """c_skip x + c_out F."""
        total = sigma**2 + self.sigma_data**2
        c_out = self.sign * sigma * self.sigma_data / math.sqrt(total)
        return self.sigma_data**2 / total * x + c_out * output


@dataclass(frozen=True)
class EDMEuler(EDMScheduler):
    """Euler's method for an EDM network."""

    OPTIONS: ClassVar[tuple[str, ...]] = CHURN

    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """See :meth:`.Scheduler.sample`. For ``s_churn`` and the like see :class:`Churned`."""
        churn = Churned.of(run)
        run.finish("EDMEuler", self.OPTIONS)
        sigmas = self.sigmas(steps)
        x = noise * self.start()
        for index in range(steps):
            sigma = float(sigmas[index])
            output = self.output(x, sigma, run)
            x, raised = churn.raised(x, sigma, steps, run, index)
            x0 = self.denoised(x, output, raised)
            x = x + (x - x0) / raised * (float(sigmas[index + 1]) - raised)
        return x
