"""The base of diffusers' schedulers: settings, read from their file, and the use of a network's output."""

from __future__ import annotations

import functools
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from elucidiff.denoisers.adapters import Prediction
from elucidiff.design import noise_tables
from elucidiff.design.noise_tables import Array, Spacing
from elucidiff.interop.diffusers import tables
from elucidiff.plain_data import typed_value
from elucidiff.suggest import suggestion
from elucidiff.untrusted import clipped

PREDICTIONS: Mapping[str, Prediction] = {
    "epsilon": "epsilon",
    "sample": "x0",
    "v_prediction": "v",
    "flow_prediction": "flow",
}
"""Names that diffusers has for predictions, and ours."""


@dataclass
class Run:
    """Arguments of a sampler's run beside its settings.

    Args:
        network: the output for a scaled sample and a time, guidance included; float64 in and out.
        draw: the unit noise of the step with an index.
        options: what its step and its time grid take, under the names of diffusers; :meth:`option` takes them out.
    """

    network: Callable[[Tensor, float], Tensor]
    draw: Callable[[int], Tensor]
    options: dict[str, Any] = field(default_factory=dict)

    def output(self, x: Tensor, time: float) -> Tensor:
        """The network's output, without the channels of a learned variance."""
        return self.network(x, time)[:, : x.shape[1]]

    def option(self, name: str, default: Any) -> Any:
        """An option, in the type of its ``default``, which it has if it was not given.

        Raises:
            ValueError: it is of another type.
        """
        value = self.options.pop(name, None)
        if value is None:
            return default
        return typed_value(type(default), value, name)

    def levels(self, name: str, steps: int) -> Array | None:
        """An option that gives a number for each of the ``steps``; None if it was not given.

        Raises:
            ValueError: these are not as many numbers.
        """
        value = self.options.pop(name, None)
        if value is None:
            return None
        levels = np.asarray(torch.as_tensor(value, dtype=torch.float64).cpu().numpy())
        if levels.shape != (steps,) or not bool(np.isfinite(levels).all()):
            raise ValueError(f"{name} must be {steps} finite numbers, one a step")
        return levels

    def finish(self, home: str, known: tuple[str, ...]) -> None:
        """Raise ValueError if an option is left that nobody has taken."""
        for name in self.options:
            raise ValueError(f"{home} has no option {name!r}; {suggestion(name, known)}")


@dataclass(frozen=True)
class Scheduler(ABC):
    """A scheduler's settings, under the names and with the defaults of diffusers 0.42."""

    OPTIONS: ClassVar[tuple[str, ...]] = ()
    """Names of the options that a run takes."""
    NOT_SETTINGS: ClassVar[tuple[str, ...]] = ()
    """Fields of a base class that diffusers does not know for this scheduler."""

    @property
    @abstractmethod
    def predicts(self) -> Prediction | Literal["edm"]:
        """The meaning of the network's output."""

    @abstractmethod
    def check(self) -> None:
        """Raise ValueError unless the settings go together."""

    @abstractmethod
    def sample(self, noise: Tensor, steps: int, run: Run) -> Tensor:
        """The result of this sampler after ``steps`` steps from unit ``noise``."""


@dataclass(frozen=True)
class TableScheduler(Scheduler):
    """A scheduler of a table of betas."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: Literal["epsilon", "sample", "v_prediction", "flow_prediction"] = "epsilon"
    timestep_spacing: Spacing = "leading"
    steps_offset: int = 0
    rescale_betas_zero_snr: bool = False

    @property
    def predicts(self) -> Prediction:
        """The meaning of the network's output."""
        return PREDICTIONS[self.prediction_type]

    def check(self) -> None:
        """Raise ValueError unless the settings make a noise table."""
        if not 2 <= self.num_train_timesteps <= 1_000_000:
            raise ValueError(f"num_train_timesteps is {self.num_train_timesteps}, but must be from 2 to 1,000,000")
        if self.trained_betas is not None and len(self.trained_betas) != self.num_train_timesteps:
            raise ValueError(
                f"trained_betas has {len(self.trained_betas)} values for {self.num_train_timesteps} times"
            )
        if not 0 <= self.steps_offset < self.num_train_timesteps:
            raise ValueError(f"steps_offset is {self.steps_offset}, but must be a time of the table")
        self.alpha_bars  # noqa: B018 (for what it refuses)

    @functools.cached_property
    def alpha_bars(self) -> Array:
        """The noise table, (T,)."""
        return noise_tables.alpha_bars(
            self.beta_schedule,
            self.beta_start,
            self.beta_end,
            self.num_train_timesteps,
            self.trained_betas,
            zero_terminal_snr=self.rescale_betas_zero_snr,
        )

    @functools.cached_property
    def finite_alpha_bars(self) -> Array:
        """The noise table, with :data:`.tables.ALMOST_NOTHING` where it ends at 0."""
        bars = self.alpha_bars.copy()
        if self.rescale_betas_zero_snr:
            bars[-1] = tables.ALMOST_NOTHING
        return bars

    def times(self, steps: int, *, whole: bool, extra: int = 0, last: int | None = None) -> Array:
        """The times to visit; see :func:`.noise_tables.spaced_times`.

        Raises:
            ValueError: there are more steps than times, or a time lies beyond the table.
        """
        total = self.num_train_timesteps
        last = total if last is None else last
        if not 1 <= steps <= last - extra:
            raise ValueError(f"steps is {steps}, but must be from 1 to {last - extra}, the times of the table")
        times = noise_tables.spaced_times(self.timestep_spacing, last, total, steps, self.steps_offset, extra)
        if whole:
            times = times.round()
        if times[0] > total - 1:
            raise ValueError(
                f"{steps} steps with steps_offset {self.steps_offset} begin at time {times[0]:g}, "
                f"but the last time of the table is {total - 1}: choose another number of steps"
            )
        return times


@dataclass(frozen=True)
class Thresholding:
    """Dynamic thresholding of denoised samples (Saharia et al. 2022, section 2.3)."""

    thresholding: bool = False
    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0

    def thresholded(self, x0: Tensor) -> Tensor:
        """x_0, thresholded if the settings ask for it: to a quantile of each sample's values, then to [-1, 1].

        Raises:
            ValueError: the settings are out of range.
        """
        if not self.thresholding:
            return x0
        if not 0 < self.dynamic_thresholding_ratio <= 1 or not self.sample_max_value >= 1:
            raise ValueError("thresholding needs a ratio in (0, 1] and a sample_max_value of at least 1")
        bound = torch.quantile(x0.abs().flatten(1), self.dynamic_thresholding_ratio, dim=1)
        bound = bound.clamp(1, self.sample_max_value).reshape(-1, *[1] * (x0.ndim - 1))
        return x0.clamp(-bound, bound) / bound


def denoised(predicts: Prediction, x: Tensor, output: Tensor, alpha: float, sigma: float) -> Tensor:
    """x_0 by the network's ``output`` for x = alpha x_0 + sigma n.

    Args:
        predicts: what the output means. With ``flow``, alpha is 1 - sigma.
    """
    match predicts:
        case "epsilon":
            return (x - sigma * output) / alpha
        case "v":
            return alpha * x - sigma * output
        case "flow":
            return x - sigma * output
        case _:
            return output


def noise_in(predicts: Prediction, x: Tensor, output: Tensor, alpha: float, sigma: float) -> Tensor:
    """n by the network's ``output`` for x = alpha x_0 + sigma n; see :func:`denoised`."""
    match predicts:
        case "epsilon":
            return output
        case "v":
            return alpha * output + sigma * x
        case "flow":
            return x + alpha * output
        case _:
            return (x - alpha * output) / sigma


def read(cls: type[Scheduler], config: Mapping[str, Any], where: str) -> Scheduler:
    """The settings that a scheduler's file holds; those it lacks have their defaults, unknown ones are left.

    Args:
        cls: the scheduler.
        config: what the file holds.
        where: the file, for messages.

    Raises:
        ValueError: a setting is of another type, or they do not go together.
    """
    kinds = typing.get_type_hints(cls)
    try:
        values = {
            name: typed_value(kinds[name], value, name)
            for name, value in config.items()
            if name in cls.__dataclass_fields__ and name not in cls.NOT_SETTINGS
        }
        scheduler = cls(**values)
        scheduler.check()
    except ValueError as error:
        raise ValueError(f"{where}: {clipped(str(error), 300)}") from None
    return scheduler
