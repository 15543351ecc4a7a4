"""What every function of the design space accepts as a number, and the checks on its settings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Value = float | Tensor


def as_tensor(value: Value) -> Tensor:
    """A tensor of a floating type: floating tensors stay as they are, anything else becomes float64."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else value.to(torch.float64)
    return torch.as_tensor(value, dtype=torch.float64)


def per_sample(value: Tensor, x: Tensor) -> Tensor:
    """Shape one value a sample, in any shape with B elements, to broadcast against ``x``, ``(B, C, *spatial)``."""
    return value if value.ndim == 0 else value.reshape(-1, *[1] * (x.ndim - 1))


def check_positive(**settings: float) -> None:
    """Raise ValueError for the first setting that is not a positive, finite number."""
    for name, value in settings.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}: it must be positive and finite")


def check_range(sigma_min: float, sigma_max: float) -> None:
    """Raise ValueError unless 0 < sigma_min < sigma_max < infinity."""
    check_positive(sigma_min=sigma_min, sigma_max=sigma_max)
    if sigma_min >= sigma_max:
        raise ValueError(f"sigma_min {sigma_min} is not below sigma_max {sigma_max}: swap or change them")
