"""What is not finite is named, with the step at which it began."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from elucidiff.sampling import sample
from elucidiff.sampling.watch import Watch
from elucidiff.solvers import Heun, Solver, UniPC

SIGMAS = [8.0, 4.0, 2.0, 1.0, 0.5, 0.0]


@pytest.mark.parametrize("solver", [Heun(), UniPC()])
def test_sample_and_step(solver: Solver) -> None:
    """What Heun's method evaluates at the end of a step shows when the next one begins."""

    def broken(x: Tensor, sigma: Tensor) -> Tensor:
        bad = (torch.arange(len(x)) > 1).reshape(-1, 1, 1) & (sigma <= 1)
        return (0.5 * x).masked_fill(bad, torch.inf)

    watch = Watch()
    x = sample(broken, torch.ones(4, 1, 2), SIGMAS, solver=solver, callback=watch)
    with pytest.raises(ValueError, match="c gave values that are not finite at step 4, from noise level 1"):
        watch.check(x, "abcd")


def test_nothing_to_say() -> None:
    watch = Watch()
    watch.check(sample(lambda x, sigma: 0.5 * x, torch.ones(2, 1, 2), SIGMAS, callback=watch), "ab")
