"""Log-densities against closed forms, on every schedule, by every solver; each a function of its own seed alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design import schedules, steps
from elucidiff.design.schedules import Schedule
from elucidiff.sampling import SeededNoise, log_likelihood
from elucidiff.solvers import RK45, Heun
from elucidiff.solvers.ipndm import IPNDM

SCHEDULES: dict[str, Schedule] = {
    "edm": schedules.EDM(),
    "edm, vp scaling": schedules.EDM(scaling="vp"),
    "vp": schedules.VP(),
    "ve": schedules.VE(),
    "flow": schedules.Flow(),
}
RANGE = (80.0, 0.002, 0.0)


def gaussian(size: int = 3) -> GaussianMixture:
    generator = torch.Generator().manual_seed(1)
    factor = torch.randn(1, size, size, generator=generator, dtype=torch.float64) / 2
    mean = torch.randn(1, 1, size, generator=generator, dtype=torch.float64)
    return GaussianMixture(mean, factor @ factor.mT, torch.ones(1))


def mixture() -> GaussianMixture:
    generator = torch.Generator().manual_seed(3)
    factors = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64) / 4
    means = torch.randn(3, 1, 2, 2, generator=generator, dtype=torch.float64)
    return GaussianMixture(means, factors @ factors.mT, torch.tensor([0.5, 0.3, 0.2]))


def drawn_by_the_model(target: GaussianMixture, x: Tensor, sigma_max: float, sigma_min: float) -> Tensor:
    """log p of what a Gaussian's ODE makes of N(0, sigma_max^2 I): the ODE is linear, so this is a Gaussian too."""
    axes, spectrum = target.axes[0], target.spectra[0]
    ratio = ((spectrum + sigma_min**2) / (spectrum + sigma_max**2)).sqrt()
    along = axes @ torch.diag(ratio) @ axes.T
    mean = target.means[0] - along @ target.means[0]
    pushed = torch.distributions.MultivariateNormal(mean, sigma_max**2 * along @ along.T)
    return pushed.log_prob(x.flatten(1))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_is_the_density_of_what_the_model_draws(schedule: str) -> None:
    """To 1e-5 with sigma_max = 3 too, where a prior with the data's variance added would be off by 0.1."""
    target = gaussian()
    x = target.sample(4, torch.Generator().manual_seed(0))
    found = log_likelihood(target, x, [3.0, 0.1, 0.0], solver=RK45(1e-7, 1e-7), schedule=SCHEDULES[schedule])
    torch.testing.assert_close(found.log_prob, drawn_by_the_model(target, x, 3.0, 0.1), rtol=0, atol=1e-5)


def test_integrates_to_one() -> None:
    """In one dimension, for a sigma_max that is far too small for the data."""
    target = GaussianMixture(
        torch.tensor([[[-1.0]], [[1.5]]], dtype=torch.float64),
        torch.tensor([[[0.04]], [[0.25]]], dtype=torch.float64),
        torch.tensor([0.5, 0.5]),
    )
    x = torch.linspace(-6, 7, 300, dtype=torch.float64)[:, None, None]
    found = log_likelihood(target, x, [1.0, 0.05, 0.0], solver=RK45(1e-5, 1e-5), batch_size=None)
    assert np.trapezoid(found.log_prob.exp().numpy(), x.flatten().numpy()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("solver", [RK45(1e-5, 1e-5), Heun()], ids=["rk45", "heun"])
def test_bits_of_a_mixture_are_within_one_percent(solver: RK45 | Heun) -> None:
    """Against the closed form, by the exact divergence."""
    target = mixture()
    x = target.sample(100, torch.Generator().manual_seed(0))
    found = log_likelihood(target, x, steps.karras(160), solver=solver, batch_size=None)
    truth = float(target.log_prob(x).mean()) / (-4 * math.log(2))
    bits = float(found.log_prob.mean()) / (-4 * math.log(2))
    assert bits == pytest.approx(truth, rel=0.01)
    assert torch.equal(torch.as_tensor(found.products), 4 * torch.as_tensor(found.nfe))


@pytest.mark.parametrize("schedule", ["edm", "vp"])
def test_heun_is_of_second_order(schedule: str) -> None:
    target = gaussian()
    x = target.sample(4, torch.Generator().manual_seed(0))
    truth = drawn_by_the_model(target, x, 3.0, 0.1)
    errors = []
    for n in (20, 40):
        levels = steps.karras(n, 0.1, 3.0)
        found = log_likelihood(target, x, levels, solver=Heun(), schedule=SCHEDULES[schedule])
        assert found.nfe == 2 * (n - 1)
        errors.append(float((found.log_prob - truth).abs().max()))
    assert 3.4 < errors[0] / errors[1] < 5


@pytest.mark.parametrize(("probe", "probes"), [("rademacher", 1), ("gaussian", 2)])
def test_hutchinson_is_unbiased_within_its_standard_error(probe: str, probes: int) -> None:
    target = mixture()
    x = target.sample(1, torch.Generator().manual_seed(2))
    solver = RK45(1e-4, 1e-4)
    exact = log_likelihood(target, x, [5.0, 0.05, 0.0], solver=solver, divergence="exact")
    many = x.expand(400, -1, -1, -1)
    noise = SeededNoise(range(400))
    found = log_likelihood(
        target, many, [5.0, 0.05, 0.0],
        solver=solver, divergence="hutchinson", probe=probe, probes=probes, noise=noise, batch_size=None,
    )  # fmt: skip
    error = float(found.log_prob.std()) / 20
    assert 0 < error < 0.3
    assert abs(float(found.log_prob.mean() - exact.log_prob)) < 3 * error
    assert torch.equal(torch.as_tensor(found.products), probes * torch.as_tensor(found.nfe))


def test_rademacher_is_exact_where_the_jacobian_is_diagonal() -> None:
    """v_i^2 = 1, so that v^T J v is the trace, for every v. The density is of the order of n: none may be lost."""
    size = 50
    spread = torch.linspace(0.1, 2, size, dtype=torch.float64)
    target = GaussianMixture(torch.zeros(1, 1, size), torch.diag(spread.square())[None], torch.ones(1))
    x = target.sample(3, torch.Generator().manual_seed(0))
    found = log_likelihood(target, x, RANGE, solver=RK45(1e-7, 1e-7))  # auto: 50 values are too many to be exact
    assert torch.equal(torch.as_tensor(found.products), torch.as_tensor(found.nfe))
    torch.testing.assert_close(found.log_prob, drawn_by_the_model(target, x, 80, 0.002), rtol=0, atol=1e-3)


def test_the_log_density_is_under_error_control() -> None:
    """Samples that do not move (all at the only point there is) leave no other error to control."""
    target = GaussianMixture(torch.zeros(1, 1, 2), 0.01 * torch.eye(2)[None], torch.ones(1))
    x = torch.zeros(1, 1, 2, dtype=torch.float64)
    truth = drawn_by_the_model(target, x, 80, 0.002)
    errors = [
        abs(float(log_likelihood(target, x, RANGE, solver=RK45(tolerance, tolerance)).log_prob - truth))
        for tolerance in (1e-3, 1e-5, 1e-6)
    ]
    assert errors[0] < 1e-1
    assert errors[1] < 1e-3
    assert errors[2] < 1e-4


def test_depends_on_the_sample_and_its_seed_alone() -> None:
    target = mixture()
    x = target.sample(6, torch.Generator().manual_seed(4))

    def run(rows: list[int]) -> Tensor:
        noise = SeededNoise([10 + row for row in rows])
        return log_likelihood(
            target,
            x[rows],
            [5.0, 0.05, 0.0],
            solver=RK45(1e-3, 1e-3),
            divergence="hutchinson",
            noise=noise,
            batch_size=4,
        ).log_prob

    together = run([0, 1, 2, 3, 4, 5])
    for rows in ([3], [5, 0], [4, 2, 1]):
        assert torch.equal(run(rows), together[rows])


def test_labels_choose_the_density() -> None:
    target = GaussianMixture(
        torch.tensor([[[0.0]], [[3.0]]], dtype=torch.float64),
        torch.full((2, 1, 1), 0.04, dtype=torch.float64),
        torch.tensor([0.5, 0.5]),
        labels=torch.tensor([0, 1]),
    )
    x = torch.full((2, 1, 1), 3.1, dtype=torch.float64)
    found = log_likelihood(target, x, RANGE, labels=torch.tensor([0, 1]))
    torch.testing.assert_close(found.log_prob, target.log_prob(x, 0.002, torch.tensor([0, 1])), rtol=2e-3, atol=2e-2)


def test_works_in_inference_mode() -> None:
    target = gaussian()
    x = target.sample(2, torch.Generator().manual_seed(0))
    outside = log_likelihood(target, x, [3.0, 0.1, 0.0]).log_prob
    with torch.inference_mode():
        assert torch.equal(log_likelihood(target, x.clone(), [3.0, 0.1, 0.0]).log_prob, outside)


def test_bad_input() -> None:
    target = gaussian()
    x = target.sample(3, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="sample 1 of the batch holds values that are not finite"):
        log_likelihood(target, torch.where(torch.arange(3)[:, None, None] == 1, math.nan, x), RANGE)
    with pytest.raises(ValueError, match=r"samples have shape \(1, 2\), but the denoiser takes \(1, 3\)"):
        log_likelihood(target, x[..., :2], RANGE)
    with pytest.raises(ValueError, match="divergence is 'hutch', but must be one of"):
        log_likelihood(target, x, RANGE, divergence="hutch")
    with pytest.raises(ValueError, match="a seed for each of the 3 samples"):
        log_likelihood(target, x, RANGE, divergence="hutchinson", noise=SeededNoise([1]))
    with pytest.raises(ValueError, match="IPNDM cannot follow the ODE both ways"):
        log_likelihood(target, x, RANGE, solver=IPNDM())
    with pytest.raises(ValueError, match="at least two positive noise levels"):
        log_likelihood(target, x, [1.0, 0.0])
    with pytest.raises(ValueError, match="no gradient with respect to its input"):
        log_likelihood(lambda x, sigma: target(x, sigma).detach(), x, RANGE)

    def broken(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.where(torch.arange(3)[:, None, None] == 2, math.nan, target(x, sigma))

    with pytest.raises(ValueError, match="log-likelihood of sample 2 of the batch gave values that are not finite"):
        log_likelihood(broken, x, RANGE, solver=Heun())
    with pytest.raises(ValueError, match=r"RK45 found no step size .* for sample 0 of the batch"):
        log_likelihood(lambda x, sigma: x * math.nan, x, RANGE)
