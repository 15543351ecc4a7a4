"""Denoisers of azula (Rozet 2024), both ways: posteriors given x_t = alpha(t) x_0 + sigma(t) eps for t in [0, 1].

Our noise level is the ratio sigma(t) / alpha(t), and x is x_t / alpha(t).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers.adapters import AdaptedDenoiser
from elucidiff.denoisers.base import DenoiserLike, as_denoiser
from elucidiff.denoisers.conditions import Conditions
from elucidiff.design.values import as_tensor

_HALVINGS = 60

Schedule = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of azula: t to alpha(t) and sigma(t)."""


@dataclass(frozen=True)
class ScheduleTime:
    """Time t and scaling alpha(t) of any schedule of azula, found by halving the interval [0, 1].

    Args:
        schedule: called as ``schedule(t)``, returns alpha(t) and sigma(t); their ratio grows with t.
    """

    schedule: Schedule

    @property
    def sigma_min(self) -> float:
        """The ratio at t = 0."""
        return float(self._ratio(torch.zeros((), dtype=torch.float64)))

    @property
    def sigma_max(self) -> float:
        """The ratio at t = 1."""
        return float(self._ratio(torch.ones((), dtype=torch.float64)))

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """``sigma`` itself: time is continuous."""
        return as_tensor(sigma)

    def at(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """t and alpha(t), each shaped like ``sigma``; beyond the ends of the schedule, those of the end."""
        low, high = torch.zeros_like(sigma), torch.ones_like(sigma)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            below = self._ratio(middle) < sigma
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        t = (low + high) / 2
        return t, self.schedule(t)[0]

    def _ratio(self, t: Tensor) -> Tensor:
        alpha, sigma = self.schedule(t)
        return sigma / alpha


class _Mean(nn.Module):
    """The mean of what a denoiser of azula returns."""

    def __init__(self, denoiser: nn.Module, condition: str | None) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.condition = condition

    def forward(self, x: Tensor, t: Tensor, labels: Conditions | None = None) -> Tensor:
        given = {} if labels is None or self.condition is None else {self.condition: labels}
        mean: Tensor = self.denoiser(x, t, **given).mean
        return mean


def adapt(denoiser: nn.Module, sample_shape: Sequence[int] = (), *, condition: str | None = None) -> AdaptedDenoiser:
    """A denoiser of azula as D(x; sigma), in evaluation mode.

    Args:
        denoiser: has a ``schedule``, and is called as ``denoiser(x_t, t)``, which returns what has a ``mean``.
        sample_shape: shape (C, *spatial) of a sample, if samples are to be drawn by their number.
        condition: the keyword under which it takes conditions; None if it takes none.

    Raises:
        TypeError: it has no schedule.

    >>> import elucidiff as ed, types
    >>> class Halved(torch.nn.Module):
    ...     schedule = staticmethod(lambda t: (1 - t, t))
    ...     def forward(self, x_t, t):
    ...         return types.SimpleNamespace(mean=x_t / 2)
    >>> D = ed.interop.azula.adapt(Halved())
    >>> round(float(D(torch.ones(1, 1), 1.0)), 6)  # t = 1/2, where x_t = x / 2
    0.25
    """
    schedule = getattr(denoiser, "schedule", None)
    if not callable(schedule):
        raise TypeError(f"a {type(denoiser).__name__} has no schedule: give a denoiser of azula")
    network = _Mean(denoiser, condition).eval()
    time = ScheduleTime(schedule)
    return AdaptedDenoiser(
        network, "x0", time, any_labels=condition is not None, sample_shape=tuple(sample_shape)
    ).eval()


def to_azula(denoiser: DenoiserLike, schedule: Schedule) -> nn.Module:
    """A denoiser of ours as one of azula, for its samplers and its restoration of images.

    Args:
        denoiser: any.
        schedule: of azula.

    Returns:
        A module, called as ``module(x_t, t)`` or, with labels, ``module(x_t, t, labels=...)``; its posterior has the
        mean D(x_t / alpha; sigma / alpha).

    Raises:
        ValueError: azula is not installed.
    """
    try:
        home = importlib.import_module("azula.denoise")
    except ImportError:
        raise ValueError("a denoiser of azula needs azula: pip install azula") from None
    ours = as_denoiser(denoiser)

    class Ours(home.Denoiser):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.denoiser, self.schedule = ours, schedule

        def forward(self, x_t: Tensor, t: Tensor, labels: Conditions | None = None) -> Any:
            alpha, sigma = (each.reshape(-1, *[1] * (x_t.ndim - 1)) for each in self.schedule(t))
            level = (sigma / alpha).reshape(-1)
            given = () if labels is None else (labels,)
            return home.DiracPosterior(mean=self.denoiser(x_t / alpha, level, *given).to(x_t.dtype))

    made: nn.Module = Ours()
    return made
