"""Velocity fields of facebookresearch's flow_matching: x_t = (1 - t) noise + t data, u = data - noise.

Time runs from noise at 0 to data at 1 there (Lipman et al. 2023, with the conditional-optimal-transport path). The
rectified flows of other libraries run from data to noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers.adapters import AdaptedDenoiser, ContinuousTime
from elucidiff.design.schedules import Flow
from elucidiff.devices import widest_type
from elucidiff.interop.home_sampling import home, one_of, step_count


class Backwards(nn.Module):
    """The velocity from data to noise, at the time as it is there: -u."""

    def __init__(self, network: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, *labels: Tensor) -> Tensor:
        """-u(x, t)."""
        return -self.network(x, t, *labels)


def adapt(
    network: Callable[..., Tensor],
    *,
    label_dim: int = 0,
    any_labels: bool = False,
    dtype: torch.dtype | None = None,
    sample_shape: tuple[int, ...] = (),
) -> AdaptedDenoiser:
    """A field that was trained with the path ``CondOT`` as a denoiser of x = x_t / t, at sigma = (1 - t) / t.

    Args:
        network: called as ``network(x, t)``, or with labels as ``network(x, t, labels)``, with t of shape (B,).
        label_dim: number of classes; labels then reach the network as rows (B, label_dim).
        any_labels: whether labels reach it as they are.
        dtype: floating type that the network sees; by default that of its parameters.
        sample_shape: shape (C, *spatial) of the samples, if it is known.

    Returns:
        The denoiser, of noise levels up to infinity, where x is the noise itself.
    """
    denoiser = AdaptedDenoiser(
        Backwards(network),
        "flow",
        ContinuousTime(Flow(), factor=-1.0, offset=1.0),
        label_dim=label_dim,
        any_labels=any_labels,
        dtype=dtype,
        sample_shape=sample_shape,
    )
    denoiser.facts["home"] = {"format": "flow_matching", "settings": {}}
    return denoiser.eval()


@home("flow_matching")
def sample_at_home(
    denoiser: AdaptedDenoiser,
    noise: Tensor,
    steps: int | str | None,
    labels: Tensor | None,
    step_noise: Tensor | None,
    *,
    method: str = "euler",
    step_size: float | None = None,
    time_grid: Sequence[float] | Tensor = (0.0, 1.0),
) -> Tensor:
    """``ODESolver.sample``: from the first time of the grid to the last; ``noise`` is what there is at the first.

    The times of the grid are the steps, unless there are only two, or ``step_size`` is given: then that divides the
    way, or the number of ``steps``.
    """
    one_of("method", method, tuple(_METHODS))
    times = _times(steps, step_size, [float(t) for t in time_grid])
    if steps is not None and step_count(steps) != len(times) - 1:
        raise ValueError(f"time_grid and step_size make {len(times) - 1} steps, but steps is {steps}")
    dtype = denoiser.network_dtype
    given = () if labels is None else (denoiser.labels_for(labels, noise),)

    def velocity(x: Tensor, t: float) -> Tensor:
        told = torch.full((len(x),), t, dtype=dtype, device=x.device)
        return -denoiser.network(x.to(dtype), told, *given).to(x.dtype)

    x = noise.to(widest_type(noise.device))
    for t, following in pairwise(times):
        x = x + (following - t) * _METHODS[method](velocity, x, t, following - t)
    return x


def _times(steps: Any, step_size: float | None, grid: list[float]) -> list[float]:
    if len(grid) < 2 or not all(0 <= t <= 1 for t in grid):
        raise ValueError(f"time_grid is {grid}, but must be two or more times between 0 and 1")
    if step_size is None and len(grid) > 2:
        return grid
    start, end = grid[0], grid[-1]
    if step_size is None:
        size = abs(end - start) / step_count(steps)
    elif step_size > 0:
        size = step_size
    else:
        raise ValueError(f"step_size is {step_size}, but must be positive")
    # Whole steps from the start, and what is left of the way; a rest that is but rounding is none.
    count = max(1, math.ceil(abs(end - start) / size - 1e-9))
    return [start + math.copysign(size, end - start) * index for index in range(count)] + [end]


Field = Callable[[Tensor, float], Tensor]


def _euler(velocity: Field, x: Tensor, t: float, h: float) -> Tensor:
    return velocity(x, t)


def _midpoint(velocity: Field, x: Tensor, t: float, h: float) -> Tensor:
    return velocity(x + h / 2 * velocity(x, t), t + h / 2)


def _heun(velocity: Field, x: Tensor, t: float, h: float) -> Tensor:
    first = velocity(x, t)
    return (first + velocity(x + h * first, t + h)) / 2


_METHODS: dict[str, Callable[[Field, Tensor, float, float], Tensor]] = {
    "euler": _euler,
    "midpoint": _midpoint,
    "heun2": _heun,
}
