"""DDIM and DDPM as diffusers runs them: from one time of a table to an earlier one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from elucidiff.interop.diffusers.settings import Run, TableScheduler, Thresholding, denoised, noise_in


@dataclass(frozen=True)
class DDIM(TableScheduler, Thresholding):
    """DDIM (Song et al. 2021, Eq. 12).

    A step goes floor(T / N) times back, whichever time is visited next. x_0 is clipped, while epsilon is that of the
    network's own output, so that clipping leaves the marginals.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("eta", "use_clipped_model_output")

    clip_sample: bool = True
    clip_sample_range: float = 1.0
    set_alpha_to_one: bool = True

    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """See :meth:`.Scheduler.sample`. ``eta`` scales the fresh noise; ``use_clipped_model_output`` re-derives
        epsilon from the clipped x_0."""
        eta = run.option("eta", 0.0)
        rederive = run.option("use_clipped_model_output", False)
        run.finish("DDIM", self.OPTIONS)
        bars, jump = self.alpha_bars, self.num_train_timesteps // steps
        x = noise
        for index, time in enumerate(self.times(steps, whole=True)):
            t = int(time)
            bar = float(bars[t])
            end = 1.0 if self.set_alpha_to_one else float(bars[0])
            bar_next = float(bars[t - jump]) if t >= jump else end
            alpha, sigma = math.sqrt(bar), math.sqrt(1 - bar)
            output = run.output(x, t)
            x0 = self.clip(denoised(self.predicts, x, output, alpha, sigma))
            eps = (x - alpha * x0) / sigma if rederive else noise_in(self.predicts, x, output, alpha, sigma)
            variance = (1 - bar_next) / (1 - bar) * (1 - bar / bar_next)
            std = eta * math.sqrt(max(variance, 0.0))
            x = math.sqrt(bar_next) * x0 + math.sqrt(max(1 - bar_next - std**2, 0.0)) * eps
            if eta > 0:
                x = x + std * run.draw(index)
        return x

    def clip(self, x0: Tensor) -> Tensor:
        """The denoised sample within the range that the settings ask for, if they do."""
        if self.thresholding or not self.clip_sample:
            return self.thresholded(x0)
        return x0.clamp(-self.clip_sample_range, self.clip_sample_range)


@dataclass(frozen=True)
class DDPM(DDIM):
    """Ancestral sampling (Ho et al. 2020, Eq. 6 and 7), from each visited time to the next.

    There is no fresh noise at time 0, but at any other last time.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("timesteps",)

    variance_type: Literal[
        "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"
    ] = "fixed_small"

    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """See :meth:`.Scheduler.sample`. ``timesteps`` are decreasing times of the table to visit."""
        given = run.levels("timesteps", steps)
        run.finish("DDPM", self.OPTIONS)
        times = [int(t) for t in (self.times(steps, whole=True) if given is None else given)]
        if any(t <= after for t, after in zip(times, [*times[1:], -1], strict=True)):
            raise ValueError("timesteps must decrease and not be negative")
        if times[0] >= self.num_train_timesteps:
            raise ValueError(f"timesteps must be below {self.num_train_timesteps}")
        if self.variance_type == "fixed_large_log":
            raise ValueError("variance_type 'fixed_large_log' gives not-a-number in diffusers: use 'fixed_large'")
        x = noise
        for index, (t, t_next) in enumerate(zip(times, [*times[1:], -1], strict=True)):
            bar, bar_next = float(self.alpha_bars[t]), float(self.alpha_bars[t_next]) if t_next >= 0 else 1.0
            beta = 1 - bar / bar_next
            alpha, sigma = math.sqrt(bar), math.sqrt(1 - bar)
            output = run.network(x, t)
            output, learned = output[:, : x.shape[1]], output[:, x.shape[1] :]
            x0 = self.clip(denoised(self.predicts, x, output, alpha, sigma))
            of_x0 = math.sqrt(bar_next) * beta / (1 - bar)
            of_x = math.sqrt(1 - beta) * (1 - bar_next) / (1 - bar)
            x_next = of_x0 * x0 + of_x * x
            if t > 0:
                x_next = x_next + self._std((1 - bar_next) / (1 - bar) * beta, beta, learned) * run.draw(index)
            x = x_next
        return x

    def _std(self, posterior: float, beta: float, learned: Tensor) -> Tensor:
        """The std of the fresh noise, given the posterior's variance and beta between the two times."""
        small = math.log(max(posterior, 1e-20))
        match self.variance_type:
            case "fixed_large":
                return torch.tensor(math.sqrt(beta), dtype=torch.float64)
            case "learned":
                return self._present(learned).sqrt()
            case "learned_range":
                fraction = (self._present(learned) + 1) / 2
                return (0.5 * (fraction * math.log(beta) + (1 - fraction) * small)).exp()
            case _:
                return torch.tensor(math.exp(0.5 * small), dtype=torch.float64)

    def _present(self, learned: Tensor) -> Tensor:
        if not learned.shape[1]:
            raise ValueError(f"variance_type is {self.variance_type!r}, but the network gives no variance")
        return learned
