"""The ways of samples from noise to image: kept in places, and seen in the plane that shows most of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.sampling.loop import Step


@dataclass(frozen=True)
class Trace:
    """Where samples were at some noise levels, on the CPU in float32, without scaling (s = 1).

    Attributes:
        sigmas: decreasing, ``(K,)``, the last 0.
        x: the samples there, ``(K, B, C, *spatial)``.
        denoised: D(x; sigma); at the end ``x`` itself.
    """

    sigmas: Tensor
    x: Tensor
    denoised: Tensor

    def of(self, row: int) -> Trace:
        """The way of one sample, B = 1."""
        return Trace(self.sigmas, self.x[:, row : row + 1], self.denoised[:, row : row + 1])

    def some(self, count: int) -> list[int]:
        """``count`` places that are spread evenly, the first and the last among them."""
        last = len(self.sigmas) - 1
        return sorted({round(place) for place in torch.linspace(0, last, min(count, last + 1)).tolist()})


class Tracer:
    """Keeps the ways of a run whose steps it is shown, in fewer places where they are long.

    Args:
        schedule: whose scaling is undone.
        most: values to keep of ``x``, and as many of D.
    """

    def __init__(self, schedule: Schedule, most: int) -> None:
        self._schedule, self._most = schedule, most
        self._every, self._sigmas = 1, list[float]()
        self._x, self._denoised = list[Tensor](), list[Tensor]()

    def note(self, step: Step) -> None:
        """Look at a step."""
        if step.index % self._every:
            return
        scale = float(self._schedule.scale(torch.tensor(step.t, dtype=torch.float64)))
        self._sigmas.append(step.sigma)
        self._x.append((step.x / scale).float().cpu())
        self._denoised.append(step.denoised.float().cpu())
        if (len(self._x) + 1) * self._x[0].numel() > self._most and len(self._x) > 1:
            self._every *= 2
            del self._sigmas[1::2], self._x[1::2], self._denoised[1::2]

    def trace(self, x: Tensor) -> Trace:
        """All that was kept, and the samples at the end."""
        end = x.float().cpu()
        sigmas = torch.tensor([*self._sigmas, 0.0], dtype=torch.float64)
        return Trace(sigmas, torch.stack([*self._x, end]), torch.stack([*self._denoised, end]))


def in_plane(traces: Sequence[Trace], sigma_data: float) -> tuple[list[Tensor], float]:
    """The ways of one sample in the two directions in which they differ most.

    Noise falls from 80 to 0, so each place is first divided by sqrt(sigma_data^2 + sigma^2), the standard deviation
    that it has there: what is left is the turn from noise into an image. The plane is that of the two largest
    principal components of all places together.

    Args:
        traces: of one sample each, B = 1.
        sigma_data: standard deviation of the data.

    Returns:
        places ``(K, 2)`` of each trace, float64; and the share of the variance that the plane holds.

    >>> sigmas = torch.tensor([3.0, 0.0])
    >>> way = Trace(sigmas, torch.tensor([[[[4.0, 0.0]]], [[[1.0, 1.0]]]]), torch.zeros(2, 1, 1, 2))
    >>> (places,), share = in_plane([way], sigma_data=1.0)
    >>> places.shape, round(share, 3)
    (torch.Size([2, 2]), 1.0)
    """
    scaled = [
        trace.x[:, 0].flatten(1).double() / (sigma_data**2 + trace.sigmas.square()).sqrt()[:, None]
        for trace in traces
    ]
    every = torch.cat(scaled)
    middle = every.mean(0)
    _, strengths, directions = torch.linalg.svd(every - middle, full_matrices=False)
    directions = directions[:2]
    # A component's sign is arbitrary: the first way begins at the lower left.
    signs = torch.where(directions @ (scaled[0][0] - middle) > 0, -1.0, 1.0)
    axes = (directions * signs[:, None]).T
    if axes.shape[1] < 2:
        axes = torch.cat([axes, torch.zeros(len(axes), 2 - axes.shape[1], dtype=axes.dtype)], dim=1)
    total = float(strengths.square().sum())
    share = float(strengths[:2].square().sum()) / total if total else 1.0
    return [(places - middle) @ axes for places in scaled], share
