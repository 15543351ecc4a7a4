"""A closed form to measure errors with: two tilted Gaussians, and where their ODE leads."""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design import schedules
from elucidiff.design.schedules import Schedule

SCHEDULES: dict[str, Schedule] = {
    "edm": schedules.EDM(),
    "edm, vp scaling": schedules.EDM(scaling="vp"),
    "vp": schedules.VP(),
    "vp, no scaling": schedules.VP(scaling="none"),
    "ve": schedules.VE(),
    "flow": schedules.Flow(),
    "exponential": schedules.Exponential(),
    "sde": schedules.from_sde(lambda t: -0.5 * (0.1 + 5 * t), lambda t: (0.1 + 5 * t).sqrt(), 1.0),
}
SIGMA_MIN, SIGMA_MAX = 0.1, 3.0


@functools.cache
def mixture() -> GaussianMixture:
    """Two tilted Gaussians. (For a single one the midpoint method happens to be of third order.)"""
    return GaussianMixture(
        torch.tensor([[[0.6, -0.4]], [[-0.5, 0.7]]], dtype=torch.float64),
        torch.tensor([[[1.0, 0.3], [0.3, 0.2]], [[0.3, -0.1], [-0.1, 0.5]]], dtype=torch.float64),
        torch.tensor([0.6, 0.4]),
    )


LATENTS = torch.tensor([[[1.0, -0.5]], [[-0.3, 2.0]], [[0.4, 0.4]]], dtype=torch.float64)


@functools.cache
def exact() -> Tensor:
    """The solution at SIGMA_MIN by SciPy's method of eighth order, in sigma and without scaling."""

    def slope(sigma: float, values: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(values).reshape(3, 1, 2)
        return ((x - mixture()(x, sigma)) / sigma).flatten().numpy()

    start = (LATENTS * SIGMA_MAX).flatten().numpy()
    solution = solve_ivp(slope, (SIGMA_MAX, SIGMA_MIN), start, method="DOP853", rtol=1e-12, atol=1e-13)
    return torch.from_numpy(solution.y[:, -1]).reshape(3, 1, 2)
