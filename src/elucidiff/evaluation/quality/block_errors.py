"""Standard errors of figures from blocks of consecutive images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from elucidiff.evaluation.loss_per_sigma import standard_error
from elucidiff.evaluation.quality.extractors import Rows

BLOCKS = 10

Statistic = Callable[[Rows], Mapping[str, float]]


def jackknife(statistic: Statistic, rows: Rows, tick: Callable[[], object] = lambda: None) -> dict[str, float]:
    """Standard errors by leaving out one of 10 blocks of consecutive rows at a time (Tukey 1958; Kunsch 1989)::

        error^2 = (R - 1) / R  sum_r (f_r - mean f)^2

    where f_r is the figure without block r. It holds for smooth functions of the empirical distribution such as the
    Frechet distance, even where a covariance is singular: in simulations (32 and 64 features, 40 to 1000 images) it
    was 0.94 to 1.09 times the true standard deviation where the distributions differ, and 1.4 to 1.6 times where they
    are the same. The spread of the blocks' own figures would be 1.4 to 4 times the truth, since small blocks have
    other biases. It does not hold for figures that draw random subsets.

    Args:
        statistic: figures by name, of rows (n, D).
        rows: of all images.
        tick: called after each block; may raise to end the work.
    """
    found = []
    for block in np.array_split(np.arange(len(rows)), BLOCKS):
        found.append(statistic(np.delete(rows, block, axis=0)))
        tick()
    return {name: float(np.sqrt((BLOCKS - 1) * np.var([each[name] for each in found]))) for name in found[0]}


def spread_of_blocks(figure: Callable[[Rows], float], rows: Rows, tick: Callable[[], object] = lambda: None) -> float:
    """Standard error of the mean over 10 blocks of consecutive rows: for figures without bias.

    Args:
        figure: of rows (n, D).
        rows: of all images.
        tick: called after each block; may raise to end the work.
    """
    found = []
    for block in np.array_split(rows, BLOCKS):
        found.append(figure(block))
        tick()
    return standard_error(found)
