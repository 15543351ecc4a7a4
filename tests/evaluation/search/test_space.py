"""The samplers that a search chooses from."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from elucidiff.evaluation.search import CHURN, PAPER_GRID, Space, Values, parse_options
from elucidiff.sampling import Sampler
from elucidiff.sampling.churn import Churn


def space(*texts: str, base: Sampler | None = None, grid: bool = False) -> Space:
    base = base or Sampler()
    return Space(base, parse_options(texts, base, grid=grid))


def test_a_grid_has_every_sampler_once() -> None:
    found = list(
        space("churn=0,2,4", "churn.sigma_min=0,0.1,5", "churn.sigma_max=1,10", base=Sampler(), grid=True).grid(0)
    )
    # S_churn = 0 is one sampler; S_tmin = 5 does not go with S_tmax = 1.
    assert len(found) == 1 + 2 * (3 * 2 - 1)
    keys = ("churn.sigma_min", "churn.sigma_max")
    samplers = [(c["churn.amount"], *(c["churn.amount"] and c[key] for key in keys)) for c in found]
    assert len(set(samplers)) == len(found)
    assert (2, 5, 1) not in samplers


def test_the_seed_decides_the_order_of_a_grid() -> None:
    grid = space("rho=3:12:1", "churn.noise_scale=1", "churn=2", grid=True)
    orders = [[choice["steps.rho"] for choice in grid.grid(seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[2]) == list(range(3, 13))


def test_the_papers_grid() -> None:
    choices = list(islice(space(*CHURN, base=Sampler(steps="karras:n=256"), grid=True).grid(0), 100))
    for choice in choices:
        assert choice["churn.sigma_min"] <= choice["churn.sigma_max"]
        assert all(choice[name] in values for name, values in PAPER_GRID.items())


def test_what_goes_together_is_possible() -> None:
    churned = space("churn=0:4", "solver=heun,rk45,unipc")
    assert churned.possible({"churn.amount": 0.0, "solver": "unipc"}) == Sampler(solver="unipc")
    assert churned.possible({"churn.amount": 2.0, "solver": "unipc"}) is None
    assert churned.possible({"churn.amount": 2.0, "solver": "heun"}) == Sampler(churn=Churn(amount=2.0))


def test_the_first_choice_is_the_base() -> None:
    base = Sampler(steps="karras:rho=9.0", solver="euler", churn=Churn(amount=3.0, sigma_min=0.1))
    found = space("churn", "churn.sigma_min", "churn.sigma_max", "rho", "solver=heun,euler", base=base).first()
    assert found == {
        "churn.amount": 3.0, "churn.sigma_min": 0.1, "churn.sigma_max": 80.0, "steps.rho": 9.0, "solver": "euler",
    }  # fmt: skip
    assert space("solver=heun,dpmpp_2m", base=base).first() is None


def test_what_cannot_be_searched_is_told() -> None:
    with pytest.raises(ValueError, match="nothing to search"):
        Space(Sampler(), {})
    with pytest.raises(ValueError, match="there is no sampling option 'rho'"):
        space("rho", "churn", base=Sampler(steps="vp"))
    with pytest.raises(ValueError, match="rho would have no effect in any"):
        space("rho", "churn=0", base=Sampler(solver="rk45"))
    with pytest.raises(ValueError, match=r"churn\.noise_scale would have no effect in any"):
        space("rho", "churn.noise_scale")
    with pytest.raises(ValueError, match="there is no solver 'huen'; did you mean 'heun'"):
        space("solver=huen")
    with pytest.raises(ValueError, match="chooses its own steps, so it cannot be used with churn"):
        space("churn=1:5", base=Sampler(solver="rk45"))


def test_drawing_covers_every_value() -> None:
    generator = np.random.default_rng(0)
    assert {Values(("a", "b", "c")).draw(generator) for _ in range(50)} == {"a", "b", "c"}
