"""What is not finite is an error, with whose it is and the step at which it began."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elucidiff.design.steps import Levels
from elucidiff.sampling import SeededNoise, decode, encode, sample, sample_predictor_corrector, sample_sde
from elucidiff.sampling.checks import NotFiniteError, check_finite
from elucidiff.sampling.sampler import Sampler
from elucidiff.solvers import Euler, Heun, UniPC

SIGMAS = [8.0, 4.0, 2.0, 1.0, 0.5, 0.0]


def broken(x: Tensor, sigma: Tensor) -> Tensor:
    """Infinite for all samples but the first two, from noise level 1 on."""
    bad = (torch.arange(len(x)) > 1).reshape(-1, 1, 1) & (sigma <= 1)
    return (0.5 * x).masked_fill(bad, torch.inf)


@pytest.mark.parametrize(("solver", "step"), [(Heun(), "3, from noise level 2"), (UniPC(), "4, from noise level 1")])
def test_sample_and_step(solver: Any, step: str) -> None:
    """Heun's method looks at noise level 1 at the end of the step before."""
    wrong = rf"c .and 1 of the 3 drawn with it. gave values that are not finite at step {step}: check the model"
    with pytest.raises(NotFiniteError, match=wrong):
        sample(broken, torch.ones(4, 1, 2), SIGMAS, solver=solver, names="abcd")
    with pytest.raises(ValueError, match=r"sample 2 of the batch .*at step"):
        sample(broken, torch.ones(4, 1, 2), SIGMAS, solver=solver)
    with pytest.raises(ValueError, match=r"seed 9 .*at step"):
        sample(broken, torch.ones(4, 1, 2), SIGMAS, solver=solver, noise=SeededNoise([7, 8, 9, 10]))
    with pytest.raises(ValueError, match=r"seed 9 .*at step"):
        Sampler(steps=Levels(tuple(SIGMAS))).run(broken, [7, 8, 9, 10], shape=(1, 2))


def test_a_state_that_overflows() -> None:
    with pytest.raises(
        NotFiniteError, match=r"sample 0 of the batch gave values that are not finite at step 2, from"
    ):
        sample(lambda x, sigma: x * 1e30, torch.ones(1, 1, 2), SIGMAS, dtype=torch.float32, solver=Euler())


@pytest.mark.parametrize("draw", [sample_sde, sample_predictor_corrector])
def test_the_baselines(draw: Any) -> None:
    with pytest.raises(NotFiniteError, match=r"seed 9 .*at step"):
        draw(broken, torch.ones(4, 1, 2), SIGMAS, noise=SeededNoise([7, 8, 9, 10]))


@pytest.mark.parametrize("function", [encode, decode])
def test_both_ways_along_the_ode(function: Any) -> None:
    with pytest.raises(NotFiniteError, match=r"sample 2 of the batch .*look for NaN in the denoiser's output"):
        function(broken, torch.ones(4, 1, 2), SIGMAS, solver=Heun())


def test_names_and_numbers() -> None:
    check_finite(torch.ones(3, 2), "abc")
    check_finite(torch.ones(3), "abc")
    with pytest.raises(NotFiniteError, match=r"^b gave values that are not finite: check the model"):
        check_finite(torch.tensor([1.0, math.nan, 2.0]), "abc")
