"""Schedules: the reference's numbers, the SDEs of Song et al. 2021, derivatives and inverses."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elucidiff import parts
from elucidiff.design import schedules
from elucidiff.design.schedules import EDM, VE, VP, Exponential, Flow, Schedule
from tests.golden_files import cases, load

ALL = [
    cls(scaling=scaling)
    for cls, own in ((EDM, "none"), (VP, "vp"), (VE, "none"), (Flow, "flow"), (Exponential, "none"))
    for scaling in dict.fromkeys(("none", "vp", own))
]
TIMES = torch.tensor([1e-3, 0.01, 0.1, 0.3, 0.7, 0.99], dtype=torch.float64)


def golden_schedule(name: str, used: dict[str, float], scaling: str) -> Schedule:
    """The schedule that the golden data calls ``name``."""
    if name == "vp":
        return VP(used["vp_beta_d"], used["vp_beta_min"], scaling=scaling)
    return EDM(scaling=scaling) if name == "linear" else VE(scaling=scaling)


@pytest.mark.parametrize("name", ["linear", "vp", "ve"])
@pytest.mark.parametrize("golden", cases("a_steps", "schedules_*"))
def test_agrees_with_the_reference(golden: str, name: str) -> None:
    case, tensors = load(golden)
    schedule = golden_schedule(name, case["used"], "none")
    t = tensors[f"{name}/t"]
    close = {"rtol": 1e-10, "atol": 0.0}
    torch.testing.assert_close(schedule.sigma(t), tensors[f"{name}/sigma"], **close)
    torch.testing.assert_close(schedule.sigma_dot(t), tensors[f"{name}/sigma_deriv"], **close)
    torch.testing.assert_close(schedule.time(tensors[f"{name}/sigma_grid"]), tensors[f"{name}/sigma_inv"], **close)
    for scaling in ("none", "vp"):
        schedule = golden_schedule(name, case["used"], scaling)
        torch.testing.assert_close(schedule.scale(t), tensors[f"{name}/s_{scaling}"], **close)
        torch.testing.assert_close(schedule.scale_dot(t), tensors[f"{name}/s_deriv_{scaling}"], **close)


@pytest.mark.parametrize("golden", cases("a_steps", "*_0?"))
def test_fit_finds_the_constants_of_the_reference(golden: str) -> None:
    case, _ = load(golden)
    used, epsilon_s = case["used"], case["settings"].get("epsilon_s", 1e-3)
    fitted = VP.fit(used["sigma_min"], used["sigma_max"], epsilon_s)
    assert fitted.beta_d == pytest.approx(used["vp_beta_d"], rel=1e-10)
    assert fitted.beta_min == pytest.approx(used["vp_beta_min"], rel=1e-10)


@pytest.mark.parametrize("golden", cases("b_precond", "VPPrecond_*"))
def test_vp_agrees_with_the_reference_in_both_precisions(golden: str) -> None:
    case, tensors = load(golden)
    schedule = VP(case["kwargs"].get("beta_d", 19.9), case["kwargs"].get("beta_min", 0.1))
    t = tensors["t"]
    # In float32 another processor's exp and log, a rounding away, move the lowest levels by up to 6e-6.
    torch.testing.assert_close(schedule.sigma(t), tensors["sigma_of_t_f32"], rtol=2e-5, atol=0)
    torch.testing.assert_close(schedule.sigma(t.double()), tensors["sigma_of_t_f64"], rtol=1e-10, atol=0)
    torch.testing.assert_close(schedule.time(tensors["sigma"]), tensors["sigma_inv_f32"], rtol=2e-5, atol=0)
    times = schedule.time(tensors["round_sigma_in_f64"])
    torch.testing.assert_close(times, tensors["sigma_inv_f64"], rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("sigma_min", "sigma_max", "epsilon_s"),
    [(0.5, 80.0, 1e-3), (0.5, 2.0, 0.05), (0.1, 2.0, 1e-3), (0.99, 1.0, 1e-3), (0.5, 1e200, 1e-3)],
)
def test_narrow_ranges_lie_on_the_rising_part(sigma_min: float, sigma_max: float, epsilon_s: float) -> None:
    fitted = VP.fit(sigma_min, sigma_max, epsilon_s)
    top = 1.0 if fitted.beta_d >= 0 else min(1.0, -fitted.beta_min / fitted.beta_d)
    if sigma_max < 1e100:
        assert float(fitted.sigma(1.0)) == pytest.approx(sigma_max, rel=1e-11)
        assert top < 1  # it falls before t = 1
    levels = torch.logspace(math.log10(sigma_min), math.log10(min(sigma_max, 1e100)), 100, dtype=torch.float64)
    times = fitted.time(levels)
    assert float(times[0]) == pytest.approx(epsilon_s, rel=1e-10)
    assert bool((times.diff() > 0).all() and times[-1] <= top)
    torch.testing.assert_close(fitted.sigma(times), levels, rtol=1e-10, atol=0)
    highest = fitted.sigma(top)
    if sigma_max < 1e100:
        assert float(fitted.time(highest)) == pytest.approx(top, rel=1e-6)  # the root of rounding there
        assert bool(fitted.time(highest * 1.001).isnan())


@pytest.mark.parametrize("schedule", [VP(), VP.fit(0.002, 80.0), VP(0.0, 3.0), VP(-2.0, 3.0)], ids=repr)
def test_vp_is_right_at_tiny_noise_levels(schedule: VP) -> None:
    """sigma^2 = beta_min t + beta_d t^2 / 2 to first order, far below the rounding of 1 + sigma^2."""
    sigma = torch.tensor([1e-12, 1e-9, 1e-6, 1e-5], dtype=torch.float64)
    t = schedule.time(sigma)
    if schedule.beta_min > 0:
        torch.testing.assert_close(t, sigma.square() / schedule.beta_min, rtol=1e-7, atol=0)
        torch.testing.assert_close(schedule.sigma(t), sigma, rtol=1e-12, atol=0)
    else:
        assert bool((t.diff() >= 0).all() and (t > 0).all())  # beyond the root of sigma(t), at -2 beta_min / beta_d
        torch.testing.assert_close(schedule.sigma(t)[2:], sigma[2:], rtol=1e-5, atol=0)


def test_fit_allows_wide_ranges_that_need_a_falling_beta() -> None:
    fitted = VP.fit(0.1, 80.0, 1e-3)
    assert fitted.beta_d < 0
    assert float(fitted.sigma(1.0)) == pytest.approx(80.0, rel=1e-12)
    assert float(fitted.time(0.1)) == pytest.approx(1e-3, rel=1e-10)
    assert float(fitted.time(80.0)) == pytest.approx(1.0, rel=1e-12)


def test_vp_is_the_sde_of_song() -> None:
    """f = -beta / 2 and g = sqrt(beta) with beta(t) = beta_min + beta_d t, also at t = 0."""
    t = torch.cat([torch.zeros(1, dtype=torch.float64), TIMES])
    beta = 0.1 + 19.9 * t
    torch.testing.assert_close(VP().f(t), -beta / 2, rtol=1e-12, atol=0)
    torch.testing.assert_close(VP().g(t), beta.sqrt(), rtol=1e-12, atol=0)


def test_ve_is_the_sde_of_song() -> None:
    """f = 0 and g = 1: sigma = sqrt(t) is plain Brownian motion, also at t = 0."""
    t = torch.cat([torch.zeros(1, dtype=torch.float64), TIMES])
    assert torch.equal(VE().f(t), torch.zeros_like(t))
    assert torch.equal(VE().g(t), torch.ones_like(t))


def test_edm_diffusion() -> None:
    """g = sqrt(2 t) for sigma = t."""
    torch.testing.assert_close(EDM().g(TIMES), (2 * TIMES).sqrt(), rtol=1e-14, atol=0)
    assert torch.equal(EDM().f(TIMES), torch.zeros_like(TIMES))


def test_flow_sde() -> None:
    """x = (1 - t) x0 + t n has f = -1 / (1 - t) and g^2 = 2 t / (1 - t)."""
    torch.testing.assert_close(Flow().f(TIMES), -1 / (1 - TIMES), rtol=1e-12, atol=0)
    torch.testing.assert_close(Flow().g(TIMES), (2 * TIMES / (1 - TIMES)).sqrt(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_derivatives_agree_with_autograd(schedule: Schedule) -> None:
    t = TIMES.clone().requires_grad_()
    for function, derivative in (
        (schedule.sigma, schedule.sigma_dot),
        (lambda t: schedule.sigma(t).square(), schedule.variance_dot),
        (schedule.scale, schedule.scale_dot),
    ):
        value = function(t)
        slope = torch.autograd.grad(value.sum(), t)[0] if value.requires_grad else torch.zeros_like(t)
        torch.testing.assert_close(derivative(TIMES), slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "schedule", [EDM(), VP(), VE(), Flow(), Exponential(), VP.fit(0.002, 80.0), VP(0.0, 3.0)], ids=repr
)
@given(st.floats(2e-3, 0.999))
def test_time_inverts_sigma(schedule: Schedule, t: float) -> None:
    assert float(schedule.time(schedule.sigma(t))) == pytest.approx(t, rel=1e-9)


@pytest.mark.parametrize("schedule", [*ALL, VP.fit(0.002, 80.0)], ids=repr)
def test_no_noise_is_time_zero_exactly(schedule: Schedule) -> None:
    for dtype in (torch.float32, torch.float64):
        zero = torch.zeros((), dtype=dtype)
        assert schedule.time(zero) == 0
        assert schedule.sigma(zero) == 0
        assert schedule.scale(zero) == 1


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_marginal(schedule: Schedule) -> None:
    """N(s x0, s^2 sigma^2 I), one time a sample and one for all."""
    x0 = torch.randn(6, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean, std = schedule.marginal(x0, TIMES)
    for k, t in enumerate(TIMES):
        s, sigma = float(schedule.scale(t)), float(schedule.sigma(t))
        torch.testing.assert_close(mean[k], s * x0[k], rtol=1e-12, atol=0)
        assert float(std[k]) == pytest.approx(s * sigma, rel=1e-12)
        alone_mean, alone_std = schedule.marginal(x0[k : k + 1], float(t))
        assert torch.equal(alone_mean[0], mean[k])
        assert float(alone_std) == float(std[k])


def test_vp_marginal_keeps_unit_variance() -> None:
    mean, std = VP().marginal(torch.ones(6, 1), TIMES)
    torch.testing.assert_close(mean.square() + std.square(), torch.ones(6, 1, dtype=torch.float64))


def test_exponential_is_log_sigma_above_c_and_linear_below() -> None:
    schedule = Exponential(0.02)
    assert float(schedule.time(80.0) - schedule.time(8.0)) == pytest.approx(math.log(10), rel=3e-3)
    assert float(schedule.time(2e-5)) == pytest.approx(1e-3, rel=1e-3)
    for c in (0.0, math.inf):
        with pytest.raises(ValueError, match=f"c is {c}"):
            Exponential(c)


def test_flow_ends_in_pure_noise() -> None:
    mean, std = Flow().marginal(torch.full((1, 2), 7.0), 1.0)
    assert torch.equal(mean, torch.zeros(1, 2))
    assert std == 1
    assert Flow().time(math.inf) == 1


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_types_are_kept(schedule: Schedule) -> None:
    functions = ("sigma", "sigma_dot", "variance_dot", "time", "scale", "scale_dot", "f", "g")
    for function in (getattr(schedule, name) for name in functions):
        assert function(0.5).dtype == torch.float64
        assert function(torch.tensor([0.5])).dtype == torch.float32
        assert function(torch.tensor([0.5], dtype=torch.float64)).dtype == torch.float64


def test_names() -> None:
    made = {name: parts.parse("schedule", name) for name in ("edm", "vp", "vp_fitted", "ve", "flow", "exponential")}
    assert [type(schedule) for schedule in made.values()] == [EDM, VP, schedules.FittedVP, VE, Flow, Exponential]
    assert [schedule.scaling for schedule in made.values()] == ["none", "vp", "vp", "none", "flow", "none"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EDM(scaling="flow"), "scaling 'flow' is unknown: choose one of none, vp"),
        (lambda: Flow(scaling="x"), "scaling 'x' is unknown: choose one of flow, none, vp"),
        (lambda: VP(scaling="x"), "scaling 'x' is unknown"),
        (lambda: VP(-1.0, -0.5), "beta_d -1.0 and beta_min -0.5 give no noise schedule"),
        (lambda: VP(2.0, -1.0), "beta_d 2.0 and beta_min -1.0 give no noise schedule"),
        (lambda: VP(math.nan), "beta_d nan"),
        (lambda: VP.fit(2.0, 1.0), "sigma_min 2.0 is not below sigma_max 1.0"),
        (lambda: VP.fit(0.0, 1.0), "sigma_min is 0.0: it must be positive and finite"),
        (lambda: VP.fit(0.1, math.inf), "sigma_max is inf: it must be positive and finite"),
        (lambda: VP.fit(0.1, 1.0, 1.0), "epsilon_s is 1.0: it must lie between 0 and 1"),
        (lambda: VP.fit(1.0, 2.0, 1e-320), "sigma_min = 1 at t = 9.* choose a larger epsilon_s"),
        (lambda: VP(-1.0, 0.5).check_rising(), "does not grow from t = 0 to 1"),
        (lambda: VP(1.0, -0.1).check_rising(), "beta_min must not be negative"),
    ],
)
def test_bad_settings(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
