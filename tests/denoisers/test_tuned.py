"""Models that were tuned for few evaluations are refused where an ODE is needed, in one line with the original."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.tuned import TUNED
from elucidiff.sampling.encoding import usual_both_ways
from elucidiff.sampling.optimise.exact import solve_exactly


class Tuned(DenoiserModule):
    sample_shape = (1, 2)

    def __init__(self) -> None:
        super().__init__()
        self.facts[TUNED] = {"original": "runs/digits/model"}

    def forward(self, x: Tensor, sigma: Tensor, labels: None = None) -> Tensor:
        return x / (1 + torch.as_tensor(sigma, dtype=x.dtype) ** 2).sqrt().reshape(-1, 1, 1)


X, SIGMAS = torch.zeros(1, 1, 2), [10.0, 0.1, 0.0]


@pytest.mark.parametrize(
    "use",
    [
        lambda model: ed.sampling.log_likelihood(model, X, SIGMAS),
        lambda model: ed.sampling.encode(model, X, SIGMAS),
        lambda model: ed.sampling.decode(model, X, SIGMAS),
        lambda model: usual_both_ways(model, 1e-3),
        lambda model: ed.inverse.restore(model, ed.inverse.Mask(torch.tensor([True, False])), X, 2),
        lambda model: ed.sampling.interpolate_seeds(model, [0, 1], 3, sampler="consistency steps=karras:n=2"),
        lambda model: solve_exactly(model, [0], 0.1, 10.0),
        lambda model: ed.sampling.optimise_steps(model, 5),
    ],
)
def test_what_rests_on_the_ode_is_refused(use: Callable[[DenoiserModule], object]) -> None:
    with pytest.raises(ValueError, match=r"tuned for few evaluations, .*no ODE.*\(runs/digits/model\)$") as caught:
        use(Tuned())
    assert "\n" not in str(caught.value)


def test_a_way_between_seeds_in_one_step() -> None:
    """One step adds no noise: frames follow each other as the function takes the latents."""
    way = ed.sampling.interpolate_seeds(Tuned(), [0, 1], 3, sampler="consistency steps=karras:n=1")
    ends = ed.Sampler.parse("consistency steps=karras:n=1").run(Tuned(), [0, 1]).x
    torch.testing.assert_close(way.x[[0, 2]], ends, rtol=1e-6, atol=1e-6)


def test_noise_levels_are_optimised_by_a_search_and_not_by_an_exact_solution() -> None:
    with pytest.raises(ValueError, match="elucidiff search"):
        ed.sampling.optimise_steps(Tuned(), 2, [ed.Sampler(solver="heun")], seeds=[0], fresh_seeds=[1])
