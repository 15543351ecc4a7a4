"""Preconditioning: the reference's coefficients, the derivation of EDM's, and configurations."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elucidiff import parts
from elucidiff.design.noise_tables import iddpm_levels
from elucidiff.design.preconditioning import EDM, IDDPM, VE, VP, Preconditioning
from tests.golden_files import cases, load

CLASSES = {"EDMPrecond": EDM, "VPPrecond": VP, "VEPrecond": VE, "iDDPMPrecond": IDDPM}
NAMES = {"M": "m", "C_1": "c1", "C_2": "c2"}
DEFAULTS = [EDM(), VP(), VE(), IDDPM()]


def golden_preconditioning(case: dict[str, object]) -> Preconditioning:
    """The object for a golden case."""
    return CLASSES[case["cls"]](**{NAMES.get(key, key): value for key, value in case["kwargs"].items()})


@pytest.mark.parametrize("golden", cases("b_precond"))
def test_agrees_with_the_reference(golden: str) -> None:
    case, tensors = load(golden)
    p = golden_preconditioning(case)
    sigma, x, output = tensors["sigma"], tensors["x"], tensors["F"][:, : tensors["x"].shape[1]]
    close = {"rtol": 2e-6, "atol": 0.0}
    for name in ("c_skip", "c_out", "c_in", "c_noise"):
        # VP's time is a float32 logarithm: that of another processor moves it by 6e-6 at the low end.
        tolerance = {"rtol": 2e-5, "atol": 0.0} if (name, type(p)) == ("c_noise", VP) else close
        torch.testing.assert_close(getattr(p, name)(sigma), tensors[name], **tolerance)
    spread = sigma.reshape(-1, 1, 1, 1)
    torch.testing.assert_close(p.c_in(spread) * x, tensors["model_in"], **close)
    denoised = p.c_skip(spread) * x + p.c_out(spread) * output
    torch.testing.assert_close(denoised, tensors["D"], rtol=2e-6, atol=2e-6)
    assert p.sigma_min == pytest.approx(float(tensors["sigma_min"]), rel=1e-5)
    assert p.sigma_max == pytest.approx(float(tensors["sigma_max"]), rel=1e-6)


@pytest.mark.parametrize("golden", cases("b_precond"))
def test_rounds_as_the_reference(golden: str) -> None:
    case, tensors = load(golden)
    p = golden_preconditioning(case)
    # The table's float32 sine differs between processors by a rounding, which grows to 1e-5 of the lowest levels.
    close = {"rtol": 5e-5 if isinstance(p, IDDPM) else 0.0, "atol": 0.0}
    torch.testing.assert_close(p.round_sigma(tensors["sigma"]), tensors["round_sigma_f32"], **close)
    torch.testing.assert_close(p.round_sigma(tensors["round_sigma_in_f64"]), tensors["round_sigma_f64"], **close)


@pytest.mark.parametrize("golden", cases("b_precond", "iDDPM*"))
def test_iddpm_table_is_that_of_the_reference(golden: str) -> None:
    case, tensors = load(golden)
    p = golden_preconditioning(case)
    table = iddpm_levels(p.m, p.c1, p.c2, dtype=torch.float32)
    torch.testing.assert_close(table, tensors["u"], rtol=5e-5, atol=0)
    assert torch.equal(p.nearest(tensors["sigma"]), tensors["round_index_f32"])


@given(st.integers(0, 999), st.integers(1, 4))
def test_iddpm_knows_its_own_levels(j: int, dimensions: int) -> None:
    sigma = iddpm_levels(dtype=torch.float32)[j].reshape([1] * dimensions)
    p = IDDPM()
    assert torch.equal(p.round_sigma(sigma), sigma)
    assert torch.equal(p.round_sigma(sigma.double()), sigma.double())
    assert torch.equal(p.c_noise(sigma), torch.full_like(sigma, 999 - j))


def test_iddpm_table_outlives_inference_mode() -> None:
    """The table is kept between calls, and sampling may be the first to ask for it."""
    with torch.inference_mode():
        IDDPM(m=37).round_sigma(1.0)
    table = iddpm_levels(37, dtype=torch.float32)
    scale = torch.ones((), requires_grad=True)
    (table * scale).sum().backward()  # fails for a tensor made in inference mode
    assert float(scale.grad) == pytest.approx(float(table.sum()))


def test_iddpm_picks_a_neighbour() -> None:
    """The matrix product rounds, but never past the next entry."""
    sigma = torch.logspace(-2.2, 4.2, 3000, dtype=torch.float64)
    chosen = IDDPM().nearest(sigma)
    exact = (sigma[:, None] - iddpm_levels(dtype=torch.float32)[None].double()).abs().argmin(1)
    assert int((chosen - exact).abs().max()) <= 1
    assert float((chosen != exact).double().mean()) < 0.005


SIGMAS = st.floats(1e-3, 1e3)


@given(SIGMAS, st.floats(0.05, 5.0))
def test_edm_network_input_and_target_have_unit_variance(sigma: float, sigma_data: float) -> None:
    """Karras et al. 2022, App. B.6, for data of variance sd^2: the derivation's two conditions, in closed form."""
    p = EDM(sigma_data)
    c_skip, c_out, c_in = float(p.c_skip(sigma)), float(p.c_out(sigma)), float(p.c_in(sigma))
    assert c_in**2 * (sigma_data**2 + sigma**2) == pytest.approx(1, rel=1e-12)
    # The target (y - c_skip (y + n)) / c_out.
    variance = (1 - c_skip) ** 2 * sigma_data**2 + c_skip**2 * sigma**2
    assert variance / c_out**2 == pytest.approx(1, rel=1e-9)


@given(SIGMAS, st.floats(0.05, 5.0), st.floats(-0.5, 0.5))
def test_edm_amplifies_the_networks_error_least(sigma: float, sigma_data: float, change: float) -> None:
    """Any other c_skip needs a larger c_out for unit variance of the target."""
    p = EDM(sigma_data)
    c_skip = float(p.c_skip(sigma)) + change
    needed = math.hypot((1 - c_skip) * sigma_data, c_skip * sigma)
    assert needed >= float(p.c_out(sigma)) * (1 - 1e-12)


@pytest.mark.parametrize("p", DEFAULTS, ids=repr)
def test_types_and_shapes_are_kept(p: Preconditioning) -> None:
    for name in ("c_skip", "c_out", "c_in", "c_noise", "round_sigma"):
        function = getattr(p, name)
        assert function(0.5).shape == ()
        for dtype in (torch.float32, torch.float64):
            value = function(torch.full((2, 1, 3), 0.5, dtype=dtype))
            assert value.dtype == dtype
            assert value.shape == (2, 1, 3)
            torch.testing.assert_close(value[0, 0, 0].double(), function(0.5), rtol=1e-4, atol=0)


@pytest.mark.parametrize("p", [*DEFAULTS, EDM(0.7, 0.01, 70.0), VP(15.0, 0.2, 500, 1e-4), IDDPM(400, 0.002, 0.02)])
def test_configuration_round_trip(p: Preconditioning) -> None:
    text = json.dumps(parts.to_plain(p), allow_nan=False)
    assert parts.from_plain("preconditioning", json.loads(text)) == p


def test_configuration_is_readable() -> None:
    assert parts.to_plain(EDM()) == {"type": "edm", "sigma_data": 0.5, "sigma_min": 0.0, "sigma_max": "inf"}
    assert parts.from_plain("preconditioning", {"type": "ve"}) == VE()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "x"}, "there is no preconditioning 'x'; known: edm, vp, ve, iddpm"),
        ({}, "{} does not describe a preconditioning: it has no type"),
        ({"type": ["edm"]}, "does not describe a preconditioning"),
        ("edm?", "does not describe a preconditioning"),
        ([], "does not describe a preconditioning"),
        (
            {"type": "edm", "sd": 1},
            "preconditioning edm has no setting 'sd'; known: sigma_data, sigma_min, sigma_max",
        ),
        ({"type": "edm", "sigma_data": "x"}, "sigma_data of preconditioning edm is 'x', but must be a number"),
        ({"type": "iddpm", "m": 10.5}, "m of preconditioning iddpm is 10.5, but must be a whole number"),
        ({"type": "edm", "sigma_data": -1}, "sigma_data is -1.0: it must be positive and finite"),
    ],
)
def test_bad_configuration(settings: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parts.from_plain("preconditioning", settings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EDM(0.0), "sigma_data is 0.0: it must be positive and finite"),
        (lambda: EDM(0.5, 2.0, 1.0), "sigma_min 2.0 and sigma_max 1.0 are no range"),
        (lambda: EDM(0.5, math.nan), "sigma_min nan and sigma_max inf are no range"),
        (lambda: VP(-1.0, 0.1), "does not grow from t = 0 to 1"),
        (lambda: VP(m=1), "m is 1: VP preconditioning needs at least 2 time steps"),
        (lambda: VP(epsilon_t=0.0), "epsilon_t is 0.0: it must lie between 0 and 1"),
        (lambda: VE(1.0, 0.5), "sigma_min 1.0 is not below sigma_max 0.5"),
        (lambda: IDDPM(c1=-1.0), "c1 is -1.0: it must lie between 0 and 1"),
    ],
)
def test_bad_settings(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
