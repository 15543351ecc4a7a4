"""What people write for the options of a search."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elucidiff.evaluation.search import CHURN, PAPER_GRID, Interval, Values, parse_options
from elucidiff.sampling import Sampler


def parse(*texts: str, base: Sampler | None = None, grid: bool = False) -> dict[str, Interval | Values]:
    return parse_options(texts, base or Sampler(), grid=grid)


def test_what_is_written_is_meant() -> None:
    assert parse(
        "rho=3:12", "steps.sigma-min=0.001:0.1:log", "churn=0:60:20", "n=4:12", "solver=heun,euler", "order=2,3"
    ) == {
        "steps.rho": Interval(3.0, 12.0),
        "steps.sigma_min": Interval(0.001, 0.1, log=True),
        "churn.amount": Interval(0.0, 60.0, step=20.0),
        "steps.n": Interval(4.0, 12.0, whole=True),
        "solver": Values(("heun", "euler")),
        "solver.order": Values((2, 3)),
    }


def test_parts_may_have_settings() -> None:
    assert parse("solver=rk45:rtol=1e-3,atol=1e-2,ipndm:order=3,heun", "steps=vp,karras:rho=3") == {
        "solver": Values(("rk45:rtol=0.001,atol=0.01", "ipndm:order=3", "heun")),
        "steps": Values(("vp", "karras:rho=3")),
    }


def test_churn_has_a_range_that_ends_where_the_clip_begins() -> None:
    # gamma = min(S_churn / N, sqrt(2) - 1): Karras et al. 2022, Algorithm 2.
    few, many = (parse("churn", base=Sampler(steps=f"karras:n={n}"))["churn.amount"] for n in (18, 500))
    assert isinstance(few, Interval)
    assert isinstance(many, Interval)
    assert few.high / 18 == pytest.approx(math.sqrt(2) - 1)
    assert many.high == 100
    assert parse("churn", "n=10:50")["churn.amount"] == Interval(0.0, 50 * (math.sqrt(2) - 1))


def test_a_name_alone_has_the_papers_values_in_a_grid() -> None:
    found = parse(*CHURN, grid=True)
    assert {name: option.values for name, option in found.items() if isinstance(option, Values)} == PAPER_GRID
    assert [len(values) for values in PAPER_GRID.values()] == [11, 12, 9, 11]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chrun", "no sampling option 'chrun'; did you mean 'churn'?"),
        ("levels=1,2", "no sampling option 'levels'"),
        ("order", "solver.order has no usual range: write it, solver.order=LOW:HIGH or solver.order=A,B,C"),
        ("sigma_min", "sigma_min is a setting of several choices: write steps.sigma_min or churn.sigma_min or"),
        ("rho=9:3", "rho: 9:3 is no range"),
        ("rho=3:x", "rho: 'x' is not a number"),
        ("rho=3:inf", "rho: 'inf' is not finite"),
        ("rho=1:2:3:4", "not LOW:HIGH, LOW:HIGH:log or LOW:HIGH:STEP"),
        ("rho=0:2:log", "has no logarithm"),
        ("rho=3:5:9", "a step of 9 does not fit"),
        ("n=4.5:9", "must be whole numbers"),
        ("n=4.5", "4.5 must be a whole number"),
        ("solver=1:3", "names have none"),
        ("solver=a:b", "solver: there is no solver 'a'"),
        ("solver=rk2,rk2:alpha=1", "no list of different values"),
        ("rho=3,3", "no list of different values"),
    ],
)
def test_mistakes_are_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        parse(text)
    assert said in str(caught.value)


def test_an_option_is_named_once() -> None:
    with pytest.raises(ValueError, match="rho is to be searched twice"):
        parse("rho=3:4", "rho=5:6")
    with pytest.raises(ValueError, match="rho is to be searched twice"):
        parse("rho", "rho")


def test_a_grid_needs_points() -> None:
    assert Interval(0, 1, step=0.25).points() == (0, 0.25, 0.5, 0.75, 1)
    assert Interval(2, 9, step=3, whole=True).points() == (2, 5, 8)
    with pytest.raises(ValueError, match="a grid has no place in 3:12"):
        Interval(3, 12).points()


@given(st.floats(1e-3, 10), st.floats(1.01, 100), st.booleans(), st.booleans(), st.integers(0, 9))
def test_what_is_drawn_lies_within(low: float, ratio: float, log: bool, whole: bool, seed: int) -> None:
    interval = (
        Interval(math.ceil(low), math.ceil(low * ratio) + 2, log, whole=True)
        if whole
        else Interval(low, low * ratio, log)
    )
    value = interval.draw(np.random.default_rng(seed))
    assert interval.low <= float(value) <= interval.high
    assert interval.nearest(value) == value
    assert isinstance(value, int) is whole


def test_draws_are_uniform_in_the_logarithm() -> None:
    generator = np.random.default_rng(0)
    draws = [float(Interval(0.01, 1, log=True).draw(generator)) for _ in range(4000)]
    assert np.mean(np.array(draws) < 0.1) == pytest.approx(0.5, abs=0.03)
