"""Consistency training: D taught to lead from every noise level to the end of the probability-flow ODE in one step.

The ODE of Karras et al. 2022, Eq. 1, carries x at sigma to x' at r < sigma; its end, at 0, is a function f(x; sigma)
that is the same all along the way: f(x; sigma) = f(x'; r), and f(x; 0) = x. So a denoiser with D(x; 0) = x, which
the preconditioning makes it (Eq. 7: c_skip(0) = 1, c_out(0) = 0), becomes f if it is taught to agree with itself at
neighbouring points of the way (Song et al. 2023, arXiv 2303.01469, Sec. 3 and 5). For a point y + sigma n the step of
the ODE with the true score is, on average over y, the one to y + r n: no other model is needed (Theorem 2 there).
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from elucidiff.design.objectives.base import Ask, Objective
from elucidiff.design.training_noise import LogNormal
from elucidiff.design.values import Value, as_tensor, check_integer, check_number, check_positive, per_sample
from elucidiff.parts import part, setting

_PAPER_STD = 0.5  # of the images for which the papers chose their constants


@part("objective", "consistency")
@dataclass(frozen=True)
class Consistency(Objective):
    """D at sigma agrees with D at r < sigma on one path, which draws nearer as training goes on.

        w(sigma) [sqrt(|D(y + sigma n; sigma) - D(y + r n; r)|^2 + c^2) - c],    w = 1 / (sigma - r)
        r = sigma max(0, 1 - m(sigma) / base^stage),    m(sigma) = 1 + k / (1 + exp(b sigma)),    stage = 1, 2, ...

    (Geng et al. 2024, "Consistency Models Made Easy" (ECT), arXiv 2406.14548, for gap, weight and noise levels; the
    pseudo-Huber distance and c = 0.00054 sqrt(dim) are those of Song and Dhariwal 2023, arXiv 2310.14189, Sec. 3.3
    and Table 1.) Both sides see the same noise, and layers draw the same dropout for both; there is no gradient
    through the side of r. At the lowest levels r = 0, and D(y; 0) = y: it is the training of a denoiser, from which
    the rest grows. The papers' data have a standard deviation of 0.5: c and sigma in m(sigma) are scaled to others.

    Each element's part of the distance is its square over sqrt(|.|^2 + c^2) + c; together they are the formula above.

    Args:
        p_mean: mean of ln(sigma).
        p_std: standard deviation of ln(sigma).
        sigma_data: standard deviation of the data.
        base: factor by which the gap sigma - r shrinks from stage to stage.
        stages: number of stages, each an equal share of the training.
        k: how much wider the gap is at low noise levels: up to 1 + k / 2 times as wide.
        b: how fast that fades with sigma, for data of standard deviation 0.5.
        huber: c over sqrt(dim), for data of standard deviation 0.5. A large one makes the distance the squared one.

    Raises:
        ValueError: a value is out of its range.

    >>> import elucidiff as ed
    >>> objective = ed.objectives.Consistency(k=0.0, stages=8)
    >>> [float(objective.at(progress).lower(1.0)) for progress in (0.0, 0.125, 1.0)]  # 1 - 2^-1, -2, -8
    [0.5, 0.75, 0.99609375]
    """

    p_mean: float = setting(-1.1, search=(-2.5, 0.5))
    p_std: float = setting(2.0, search=(0.6, 2.5))
    sigma_data: float = 0.5
    base: float = setting(2.0, search=(1.5, 8.0))
    stages: int = setting(8, search=(4, 12))
    k: float = 8.0
    b: float = 1.0
    huber: float = 0.00054

    _progress = 1.0

    def __post_init__(self) -> None:
        LogNormal(self.p_mean, self.p_std)  # checks them
        check_positive(sigma_data=self.sigma_data, huber=self.huber)
        check_number(base=self.base, k=self.k, b=self.b)
        check_integer(stages=self.stages)
        if not 1 < self.base < math.inf:
            raise ValueError(f"base is {self.base}: the gap shrinks by a factor above 1 from stage to stage")
        if not 1 <= self.stages <= 64:
            raise ValueError(f"stages is {self.stages}: it must be from 1 to 64")
        for name in ("k", "b"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}: it must not be negative")

    @property
    def noise(self) -> LogNormal:
        """ln(sigma) ~ N(p_mean, p_std^2)."""
        return LogNormal(self.p_mean, self.p_std)

    @property
    def has_ode(self) -> bool:
        """False: D is no longer E[y | x]."""
        return False

    def at(self, progress: float) -> Self:
        """The objective with the gap of that moment: at the end, or if nobody says, that of the last stage."""
        made = copy.copy(self)
        object.__setattr__(made, "_progress", min(max(progress, 0.0), 1.0))
        return made

    @property
    def stage(self) -> int:
        """1 to :attr:`stages`: how far the gap has shrunk."""
        return min(self.stages, 1 + math.floor(self.stages * self._progress))

    def lower(self, sigma: Value) -> Tensor:
        """r(sigma), the noise level of the other side; shaped like ``sigma``."""
        sigma = as_tensor(sigma)
        wider = 1 + self.k * torch.sigmoid(-self.b * sigma * (_PAPER_STD / self.sigma_data))
        return sigma * (1 - wider * self.base**-self.stage).clamp_min(0)

    def weight(self, sigma: Value) -> Tensor:
        """1 / (sigma - r)."""
        sigma = as_tensor(sigma)
        return 1 / (sigma - self.lower(sigma))

    def errors(self, ask: Ask, images: Tensor, sigma: Tensor, noise: Tensor, present: Tensor | None = None) -> Tensor:
        """See the class."""
        lower = self.lower(sigma)
        with torch.no_grad(), same_draws(images.device):
            target = ask(images + noise * per_sample(lower, images), lower)
        difference = ask(images + noise * per_sample(sigma, images), sigma) - target
        squares = (difference if present is None else difference * present).square()
        c = self.huber * math.sqrt(images[0].numel()) * self.sigma_data / _PAPER_STD
        distance = (squares.flatten(1).sum(1) + c**2).sqrt()
        return per_sample(self.weight(sigma) / (distance + c), images) * squares


@contextlib.contextmanager
def same_draws(device: torch.device) -> Iterator[None]:
    """A context from which layers draw what they will draw again after it: dropout and the like."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
