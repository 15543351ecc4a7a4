"""The usual way of sampling a model where nobody chooses: it may say so itself, as one of another library does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Clip = Callable[[Tensor], Tensor]
"""A function of D where there is noise."""


@dataclass(frozen=True)
class Usual:
    """The choices of a sampler that a model makes itself where nobody else does.

    Attributes:
        steps: how its noise levels are spaced, as a text form.
        solver: what takes the steps, likewise.
        clip: applied to D while samples are drawn; None for nothing.

    >>> Usual()
    Usual(steps='karras', solver='heun', clip=None)
    """

    steps: str = "karras"
    solver: str = "heun"
    clip: Clip | None = None
