"""Noise levels of the sampler: the reference's numbers, monotonicity and ends."""

from __future__ import annotations

import decimal
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elucidiff import parts
from elucidiff.design import steps
from elucidiff.design.noise_tables import iddpm_levels
from elucidiff.design.schedules import EDM, VE, VP
from tests.golden_files import cases, load


def golden_steps(case: dict[str, object]) -> torch.Tensor:
    """The noise levels for a golden case, by the function and the settings that it names."""
    settings, used = case["settings"], case["used"]
    n, low, high = settings["num_steps"], used["sigma_min"], used["sigma_max"]
    match case["discretization"]:
        case "edm":
            return steps.karras(n, low, high, settings["rho"])
        case "vp":
            return steps.vp(n, low, high, settings["epsilon_s"])
        case "ve":
            return steps.ve(n, low, high)
        case _:
            return steps.iddpm(n, low, high, settings["M"], settings["C_1"], settings["C_2"])


@pytest.mark.parametrize("golden", cases("a_steps", "[!s]*"))
def test_agrees_with_the_reference(golden: str) -> None:
    case, tensors = load(golden)
    sigmas = golden_steps(case)
    assert sigmas.dtype == torch.float64
    assert sigmas[-1] == 0
    torch.testing.assert_close(sigmas[:-1], tensors["sigma_steps"], rtol=1e-10, atol=0)
    vp = VP(case["used"]["vp_beta_d"], case["used"]["vp_beta_min"])
    for name, schedule in (("linear", EDM()), ("vp", vp), ("ve", VE())):
        torch.testing.assert_close(schedule.time(sigmas), tensors[f"t_steps/{name}"], rtol=1e-10, atol=0)


@pytest.mark.parametrize("golden", cases("a_steps", "v[pe]_*"))
def test_original_time_grids(golden: str) -> None:
    case, tensors = load(golden)
    n = case["settings"]["num_steps"]
    if case["discretization"] == "vp":
        times = steps.vp_times(n, case["settings"]["epsilon_s"])
    else:
        times = VE().time(golden_steps(case)[:-1])
    torch.testing.assert_close(times, tensors["orig_t_steps"], rtol=1e-10, atol=0)


@pytest.mark.parametrize("golden", cases("a_steps", "iddpm_*"))
def test_iddpm_table_agrees_with_the_reference(golden: str) -> None:
    case, tensors = load(golden)
    settings, used = case["settings"], case["used"]
    table = iddpm_levels(settings["M"], settings["C_1"], settings["C_2"])
    torch.testing.assert_close(table, tensors["u"], rtol=1e-10, atol=0)
    inside = (table >= used["sigma_min"]) & (table <= used["sigma_max"])
    torch.testing.assert_close(table[inside], tensors["u_filtered"], rtol=1e-10, atol=0)


def test_default_ranges_are_those_of_the_reference() -> None:
    for name, golden in (("karras", "edm_02"), ("vp", "vp_00"), ("ve", "ve_00"), ("iddpm", "iddpm_00")):
        case, _ = load(f"a_steps/{golden}")
        sigmas = parts.parse("steps", name)(10)
        if name == "iddpm":  # the nearest entries of the table within the range
            table = iddpm_levels()
            table = table[(table >= case["used"]["sigma_min"]) & (table <= case["used"]["sigma_max"])]
            assert (sigmas[0], sigmas[-2]) == (table[0], table[-1])
        else:
            assert float(sigmas[0]) == pytest.approx(case["used"]["sigma_max"], rel=1e-10)
            assert float(sigmas[-2]) == pytest.approx(case["used"]["sigma_min"], rel=1e-10)


def test_karras_with_unit_rho_is_linear() -> None:
    sigmas = steps.karras(5, 1.0, 9.0, rho=1.0)
    torch.testing.assert_close(sigmas, torch.tensor([9.0, 7.0, 5.0, 3.0, 1.0, 0.0], dtype=torch.float64))


def test_karras_with_large_rho_becomes_log_uniform() -> None:
    torch.testing.assert_close(steps.karras(9, 0.01, 10.0, 1e6), steps.log_uniform(9, 0.01, 10.0), rtol=1e-5, atol=0)


def test_log_uniform_has_equal_ratios() -> None:
    sigmas = steps.log_uniform(7, 0.5, 32.0)
    torch.testing.assert_close(sigmas[:-1], 2.0 ** torch.arange(5, -2, -1, dtype=torch.float64), rtol=1e-14, atol=0)


RANGES = st.tuples(st.floats(1e-3, 10), st.floats(1.5, 1e3)).map(lambda pair: (pair[0], pair[0] * pair[1]))


@pytest.mark.parametrize("name", ["karras", "ve", "log_uniform"])
@given(st.integers(2, 300), RANGES)
def test_steps_fall_from_end_to_end(name: str, n: int, limits: tuple[float, float]) -> None:
    sigmas = getattr(steps, name)(n, *limits)
    assert sigmas.shape == (n + 1,)
    assert (sigmas.diff() < 0).all()
    assert float(sigmas[0]) == pytest.approx(limits[1], rel=1e-12)
    assert float(sigmas[-2]) == pytest.approx(limits[0], rel=1e-12)


@given(st.integers(2, 300), st.floats(1e-3, 0.02), st.floats(5.0, 200.0))
def test_vp_steps_fall_from_end_to_end(n: int, sigma_min: float, sigma_max: float) -> None:
    sigmas = steps.vp(n, sigma_min, sigma_max)
    assert (sigmas.diff() < 0).all()
    assert float(sigmas[0]) == pytest.approx(sigma_max, rel=1e-9)
    assert float(sigmas[-2]) == pytest.approx(sigma_min, rel=1e-9)


@given(st.integers(2, 1500), st.floats(0.0021, 0.1), st.floats(1.0, 2e4))
def test_iddpm_steps_fall_and_come_from_the_table(n: int, sigma_min: float, sigma_max: float) -> None:
    sigmas = steps.iddpm(n, sigma_min, sigma_max)
    assert sigmas.shape == (n + 1,)
    assert (sigmas.diff() <= 0).all()  # entries repeat when there are more steps than entries
    assert torch.isin(sigmas, iddpm_levels()).all()
    assert sigma_min <= float(sigmas[-2]) < float(sigmas[0]) <= sigma_max


@pytest.mark.parametrize("name", ["karras", "vp", "ve", "iddpm", "log_uniform"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "0 sampling steps are too few: use at least 1"),
        ((10, 2.0, 2.0), "sigma_min 2.0 is not below sigma_max 2.0"),
        ((10, 0.0, 80.0), "sigma_min is 0.0: it must be positive and finite"),
        ((10, -1.0, 80.0), "sigma_min is -1.0: it must be positive and finite"),
        ((10, 0.1, math.inf), "sigma_max is inf: it must be positive and finite"),
        ((10, math.nan, 80.0), "sigma_min is nan: it must be positive and finite"),
    ],
)
def test_bad_range(name: str, arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(steps, name)(*arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: steps.karras(10, rho=0.0), "rho is 0.0: it must be positive and finite"),
        (lambda: steps.karras(10, rho=-7.0), "rho is -7.0"),
        (lambda: steps.vp(10, epsilon_s=0.0), "epsilon_s is 0.0: it must lie between 0 and 1"),
        (lambda: steps.iddpm(10, 1.0, 1.001), "no level of the iDDPM table lies between 1.0 and 1.001"),
        (lambda: steps.iddpm(10, m=0), "m is 0: the iDDPM table needs at least one noise level"),
        (lambda: steps.iddpm(10, c1=1.0), "c1 is 1.0: it must lie between 0 and 1"),
        (lambda: steps.iddpm(10, c2=0.0), "c2 is 0.0: it must be positive and finite"),
    ],
)
def test_bad_settings(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["karras", "vp", "ve", "iddpm", "log_uniform"])
def test_a_single_step_goes_from_the_top_to_0(name: str) -> None:
    one, two = getattr(steps, name)(1, 0.01, 50.0), getattr(steps, name)(2, 0.01, 50.0)
    assert one.tolist() == [float(two[0]), 0.0]


@pytest.mark.parametrize("rho", [0.05, 0.1, 0.5, 0.999, 1.0, 7.0, 999.0, 1001.0, 1e9, 1e300])
def test_karras_steps_of_any_rho(rho: float) -> None:
    """Against the formula in numbers with 400 digits."""
    with decimal.localcontext() as context:
        context.prec = 600
        low, high, exponent = decimal.Decimal("0.002"), decimal.Decimal(80), decimal.Decimal(rho)
        ends = high ** (1 / exponent), low ** (1 / exponent)
        exact = [float((ends[0] + (ends[1] - ends[0]) * i / 4) ** exponent) for i in range(5)]
    assert steps.karras(5, 0.002, 80.0, rho)[:-1].tolist() == pytest.approx(exact, rel=2e-12)


@pytest.mark.parametrize(("low", "high"), [(1e-200, 80.0), (1e-300, 1e300), (2e-3, 1e100)])
def test_karras_steps_over_hundreds_of_orders_of_magnitude(low: float, high: float) -> None:
    sigmas = steps.karras(9, low, high)
    assert float(sigmas[-2]) == pytest.approx(low, rel=1e-6)
    assert bool((sigmas.diff() < 0).all())
