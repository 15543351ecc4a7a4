"""Numbers as every function of the design space accepts them, and the checks on its settings."""

from __future__ import annotations

import math
import numbers

import torch
from torch import Tensor

Value = float | Tensor


def as_tensor(value: Value) -> Tensor:
    """A tensor of a floating type: floating tensors stay as they are, anything else becomes float64.

    Raises:
        TypeError: it is no number, and no tensor or array of numbers.
    """
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else value.to(torch.float64)
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{value!r:.60} is no number, and no tensor of numbers") from None


def per_sample(value: Tensor, x: Tensor) -> Tensor:
    """Shape one value a sample, in any shape with B elements, to broadcast against ``x``, ``(B, C, *spatial)``."""
    return value if value.ndim == 0 else value.reshape(-1, *[1] * (x.ndim - 1))


def check_number(**settings: object) -> None:
    """Raise TypeError for the first setting that is no real number."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{name} is {value!r}: it must be a number")


def check_integer(**settings: object) -> None:
    """Raise TypeError for the first setting that is no integer."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name} is {value!r}: it must be an integer")


def check_positive(**settings: float) -> None:
    """Raise ValueError for the first setting that is not a positive, finite number; TypeError if it is no number."""
    for name, value in settings.items():
        check_number(**{name: value})
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}: it must be positive and finite")


def check_range(sigma_min: float, sigma_max: float) -> None:
    """Raise ValueError unless 0 < sigma_min < sigma_max < infinity."""
    check_positive(sigma_min=sigma_min, sigma_max=sigma_max)
    if sigma_min >= sigma_max:
        raise ValueError(f"sigma_min {sigma_min} is not below sigma_max {sigma_max}: swap or change them")
