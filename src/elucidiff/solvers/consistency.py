"""Multistep consistency sampling: Song et al. 2023 (arXiv 2303.01469), Algorithm 1, at any noise levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elucidiff.design.schedules import Schedule
from elucidiff.parts import part
from elucidiff.solvers.multistep import Move, Multistep, Node


@part("solver", "consistency")
@dataclass(frozen=True)
class Consistency(Multistep):
    """y' = D + sigma' eps: denoise, and raise the noise to the next level with new noise.

    For a model whose D leads straight to the end of the ODE, as one of ``elucidiff tune`` (Song et al. 2023,
    arXiv 2303.01469, Algorithm 1, in y = x / s). A single step is D itself, without any noise but that of its start;
    each further one mends what the one before has missed. Of an untuned model's E[y | x] it makes samples that vary
    too little.

    There is no variant of several steps that reuses the noise (y - D) / sigma of the step before, as Euler's method
    does: that D is a function of y, so the noise is not independent of it, and D + sigma' (y - D) / sigma is no data
    with noise of sigma'. For data with distribution N(0, 1), where D = y / sqrt(1 + sigma^2), its standard deviation
    would be as large as 1 + sigma' instead of sqrt(1 + sigma'^2).

    >>> import elucidiff as ed
    >>> import torch
    >>> tuned = lambda x, sigma: x / (1 + sigma**2) ** 0.5  # of data with distribution N(0, 1)
    >>> x = ed.sample(tuned, torch.ones(1, 1), [80.0, 0.0], solver="consistency")
    >>> round(float(x), 3)
    1.0
    """

    order = 1
    stochastic = True

    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """See :meth:`.Multistep.predict`."""
        return Move(0.0, [1.0], target.sigma)
