"""The first guess: costs that closed forms confirm, and a path that no other beats."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elucidiff.design import steps
from elucidiff.design.schedules import EDM, VE, VP
from elucidiff.sampling.optimise import solve_exactly
from elucidiff.sampling.optimise.exact import EndError
from elucidiff.sampling.optimise.levels import guess, shortest_path, step_costs
from elucidiff.solvers import IPNDM, Euler, Heun
from tests.sampling.optimise.mixtures import mixture
from tests.sampling.optimise.test_exact import VARIANCE, gaussian


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 6))
def test_no_path_is_cheaper(seed: int, nodes: int, edges: int) -> None:
    costs = torch.rand(nodes, nodes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    costs = costs.masked_fill(torch.ones(nodes, nodes).tril().bool(), math.inf)
    if edges > nodes - 1:
        with pytest.raises(ValueError, match=f"no way of {edges} steps over {nodes} noise levels"):
            shortest_path(costs, edges)
        return

    def price(path: list[int]) -> float:
        return sum(float(costs[i, j]) for i, j in itertools.pairwise(path))

    everything = [[0, *between, nodes - 1] for between in itertools.combinations(range(1, nodes - 1), edges - 1)]
    assert shortest_path(costs, edges) == min(everything, key=price)


@pytest.mark.parametrize("schedule", [EDM(), VE(), VP()])
def test_costs_on_a_gaussian(schedule: EDM | VE | VP) -> None:
    exact = solve_exactly(gaussian, range(6), 0.01, 20.0, shape=(1, 4))
    costs = step_costs(exact, Euler(), EDM())
    first = exact.path[0].x
    for i, j in ((0, 1), (3, 9), (10, 20), (20, len(exact.path) - 1)):
        a, b = exact.path[i].sigma, exact.path[j].sigma
        grown = (VARIANCE + a * a) / (VARIANCE + 400)
        euler = (1 + (b - a) * a / (VARIANCE + a * a)) * math.sqrt(grown)
        missed = float(first.square().mean()) * (euler - math.sqrt((VARIANCE + b * b) / (VARIANCE + 400))) ** 2
        assert float(costs[i, j]) == pytest.approx(missed / (1 + (b / exact.std) ** 2), rel=0.02), (i, j)
        assert float(costs[j, i]) == math.inf
    # A multistep method has no past at the start of a step; and its steps and Euler's to 0 are those of any schedule.
    torch.testing.assert_close(step_costs(exact, IPNDM(order=3), schedule), costs, rtol=1e-4, atol=1e-14)
    # Heun's steps are better as long as they are short, and much worse over a long way.
    heun = step_costs(exact, Heun(), EDM())
    assert bool((heun.diagonal(1)[:-1] < 0.1 * costs.diagonal(1)[:-1]).all())
    assert float(heun[0, 25]) > 10 * float(costs[0, 25])


def test_a_guess_is_better_than_the_papers_steps() -> None:
    exact = solve_exactly(mixture(), range(16), 0.002, 80.0, batch_size=64)
    for solver in (Euler(), Heun(), IPNDM(order=3)):
        error = EndError(exact, solver, EDM())
        guessed = error(guess(exact, step_costs(exact, solver, EDM()), 6)).error
        assert guessed < 0.7 * error(steps.karras(6)).error
    # More steps than waypoints: what is best for fewer is stretched.
    costs = step_costs(exact, Euler(), EDM())
    few, many = guess(exact, costs, 12), guess(exact, costs, 45)
    torch.testing.assert_close(many[:-1:4], few[:-1], rtol=1e-12, atol=0)
    assert bool((many.diff() < 0).all())
    error = EndError(exact, Euler(), EDM())
    assert error(many).error < 0.85 * error(steps.karras(45)).error
