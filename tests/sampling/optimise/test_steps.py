"""Optimised steps against the best karras steps, on seeds that the optimisation never saw."""

from __future__ import annotations

import itertools

import pytest
import torch

from elucidiff.denoisers.guided import Guidance
from elucidiff.design.steps import Karras, Levels
from elucidiff.sampling import Sampler, optimise_steps
from elucidiff.sampling.churn import Churn, Restart
from elucidiff.sampling.optimise import ExactSolutions, measure, optimise_on, solve_exactly
from elucidiff.solvers import IPNDM
from tests.sampling.optimise.mixtures import mixture


@pytest.fixture(scope="module")
def solved() -> tuple[ExactSolutions, ExactSolutions]:
    """What to optimise on, and what to measure on."""
    warm_up, fresh = (
        solve_exactly(mixture(), seeds, 0.002, 80.0, batch_size=64) for seeds in (range(32), range(64, 128))
    )
    return warm_up, fresh


@pytest.mark.parametrize("nfe", [5, 8])
@pytest.mark.parametrize("sampler", [Sampler(solver="euler"), Sampler(), Sampler(solver="ipndm:order=3")])
def test_the_error_is_cut_by_more_than_30_percent(
    solved: tuple[ExactSolutions, ExactSolutions], sampler: Sampler, nfe: int
) -> None:
    found = optimise_on(*solved, nfe, [sampler])
    assert found.measured.cut > 0.3
    assert found.measured.nfe <= nfe
    assert not found.stopped
    # What was measured is what the sampler does.
    result = found.sampler.run(mixture(), range(64, 128), batch_size=64)
    assert result.nfe == found.measured.nfe
    assert float((result.x - solved[1].x).square().mean().sqrt()) == pytest.approx(found.measured.error, rel=1e-9)
    assert torch.equal(result.sigmas, found.sigmas)
    karras = Sampler(Karras(len(found.sigmas) - 1, rho=found.measured.baseline_rho), solver=sampler.solver)
    assert measure(solved[1], karras).error == pytest.approx(found.measured.baseline_error, rel=1e-9)


def test_the_best_candidate_wins(solved: tuple[ExactSolutions, ExactSolutions]) -> None:
    lines: list[str] = []
    found = optimise_on(*solved, 5, [Sampler(), Sampler(solver="ipndm:order=3")], tell=lines.append)
    assert found.sampler.solver == IPNDM(3)
    assert [name for name, _ in found.tried] == ["ipndm:order=3", "heun"]
    assert found.tried[0][1] == found.warm_up_error < found.tried[1][1]
    assert len(lines) == 3


def test_what_was_stopped_is_measured_all_the_same(solved: tuple[ExactSolutions, ExactSolutions]) -> None:
    at_once = optimise_on(*solved, 5, [Sampler(), Sampler(solver="euler")], stop=lambda: True)
    assert at_once.stopped
    assert at_once.sampler.steps == Levels(tuple(Sampler(steps="karras:n=3").sigmas(None).tolist()))
    assert [name for name, _ in at_once.tried] == ["heun"]
    asked = itertools.count()
    later = optimise_on(*solved, 5, [Sampler()], stop=lambda: next(asked) > 8)
    assert later.stopped
    assert later.measured.error < at_once.measured.error


def test_equal_arguments_give_equal_steps_and_labels_are_drawn() -> None:
    def run() -> list[float]:
        return optimise_steps(
            mixture(classes=2), 3, [Sampler(solver="euler")], seeds=range(6), fresh_seeds=range(10, 14)
        ).sigmas.tolist()

    assert run() == run()


def test_guidance_counts_towards_the_budget() -> None:
    guided = Sampler(solver="euler", guidance=Guidance(weight=2.0, sigma_max=5.0))
    found = optimise_steps(mixture(classes=2), 9, [guided], seeds=range(6), fresh_seeds=range(10, 14), batch_size=8)
    assert found.sampler.guidance == Guidance(2.0, sigma_max=5.0)
    result = found.sampler.run(mixture(classes=2), range(3))
    assert result.nfe == found.measured.nfe <= 9
    assert found.measured.nfe > len(found.sigmas) - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nfe": 0}, "a budget of 0 network evaluations is none"),
        ({"nfe": -3}, "a budget of -3 network evaluations is none"),
        ({"nfe": 2}, "a budget of 2 network evaluations is too small: Heun needs at least 3, for two steps"),
        ({"solvers": [Sampler(solver="rk45")]}, "solver rk45 chooses its own steps"),
        ({"solvers": [Sampler(churn=Churn(amount=3))]}, "churn adds noise"),
        ({"solvers": [Sampler(solver="sa_solver")]}, "solver sa_solver adds noise"),
        (
            {"solvers": [Sampler(restarts=Restart(repeats=2))]},
            "restarts adds noise",
        ),
        ({"solvers": []}, "there is no solver"),
        ({"solvers": [Sampler(), Sampler(steps="karras:sigma_max=40.0")]}, "differ in range"),
        ({"solvers": [Sampler(), Sampler(guidance=2.0)]}, "differ in guidance"),
        ({"fresh_seeds": [7, 3]}, "seed 3 is both for the optimisation and for the validation"),
        ({"seeds": []}, "no seeds were given"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    given = {"nfe": 5, "solvers": [Sampler()], "seeds": range(4), "fresh_seeds": range(8, 10), **arguments}
    with pytest.raises(ValueError, match=message) as caught:
        optimise_steps(mixture(classes=2), **given)
    assert "\n" not in str(caught.value)
