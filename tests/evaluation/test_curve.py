"""Which ways to sample are on a curve: every combination once, under a name that says what is unusual."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from elucidiff.design.steps import Levels
from elucidiff.evaluation.curve import combinations, name_of, settled
from elucidiff.sampling import Sampler
from elucidiff.sampling.churn import Churn


def names(choices: dict[str, list[Any]], base: Sampler | None = None) -> list[str]:
    return [each.name for each in combinations(base or Sampler(), choices).made]


def test_every_combination_once() -> None:
    # The same part in two spellings is one sampler.
    choices = {
        "solver": ["heun", "rk2:alpha=0.5", "rk2", "rk2:alpha=1"],
        "steps": ["karras:rho=3", "karras:rho=7", "karras", "vp", "vp:n=5"],
    }
    assert names(choices) == [
        "heun, karras rho 3",
        "heun, karras rho 7",
        "heun, vp",
        "rk2:alpha=0.5, karras rho 3",
        "rk2:alpha=0.5, karras rho 7",
        "rk2:alpha=0.5, vp",
        "rk2, karras rho 3",
        "rk2, karras rho 7",
        "rk2, vp",
    ]


def test_combinations_are_what_they_are_called() -> None:
    base = Sampler(steps="karras:sigma_max=40.0")
    quiet, noisy = combinations(base, {"churn": ["0", "30,sigma_min=0.05,noise_scale=1.007"]}).made
    assert quiet.name == "heun, karras:sigma_max=40"
    assert noisy.name == "heun, karras:sigma_max=40, churn 30,sigma_min=0.05,noise_scale=1.007"
    assert quiet.sampler == Sampler(steps="karras:n=2,sigma_max=40.0")
    assert noisy.sampler == replace(quiet.sampler, churn=Churn(30.0, 0.05, noise_scale=1.007))
    assert (quiet.deterministic, noisy.deterministic) == (True, False)


def test_names_differ_where_samplers_do() -> None:
    assert (
        name_of(Sampler(steps="karras:rho=7.0"))
        == name_of(Sampler(steps="karras:n=5,rho=7.0"))
        == "heun, karras rho 7"
    )
    assert name_of(Sampler(steps="karras:rho=7.00000001")) == "heun, karras rho 7.00000001"
    assert (
        name_of(Sampler(schedule="vp_fitted", solver="ipndm:order=2"))
        == "ipndm:order=2, karras rho 7, schedule vp_fitted"
    )


def test_what_makes_no_sense_is_left_out() -> None:
    found = combinations(Sampler(), {"solver": ["heun", "dpmpp_2m:eta=1"], "churn": [0.0, 30.0]})
    assert [each.name for each in found.made] == [
        "heun, karras rho 7", "heun, karras rho 7, churn 30", "dpmpp_2m:eta=1, karras rho 7",
    ]  # fmt: skip
    ((name, reason),) = found.left_out.items()
    assert name == "solver dpmpp_2m:eta=1, churn 30"
    assert "adds noise itself" in reason


def test_a_guide_is_for_guidance() -> None:
    guide = object()
    plain, led = combinations(Sampler(), {"guidance": [1.0, 2.0]}, guide).made
    assert (plain.guide, led.guide) == (None, guide)
    assert settled("fast", Sampler(guidance=2.0), guide).guide is guide
    assert settled("fast", Sampler(steps="karras:n=5"), guide).guide is None


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"solver": ["huen"]}, "did you mean 'heun'"),
        ({"steps": ["karas"]}, "did you mean 'karras'"),
        ({"schedule": ["edn"]}, "did you mean 'edm'"),
        ({"steps": ["levels"]}, "needs levels"),
        ({"solver": ["heun", "rk45"]}, "rk45 chooses its own steps"),
        ({"steps": ["karras", "karras:rho=-1"]}, "rho"),
        ({"churn": [-1.0]}, "-1"),
        ({"solver": ["rk2:alpha=0"]}, "alpha"),
    ],
)
def test_values_that_nothing_goes_with(choices: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        combinations(Sampler(), choices)


def test_a_cost_that_nobody_knows_is_no_point() -> None:
    with pytest.raises(ValueError, match="rk45 chooses its own steps"):
        settled("exact", Sampler(solver="rk45"))
    with pytest.raises(ValueError, match="no other number"):
        combinations(Sampler(steps=Levels((80.0, 1.0, 0.0))), {"churn": [0.0]})
