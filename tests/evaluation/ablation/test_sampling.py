"""Rows about sampling: what each is, what it costs, and that images are those of the methods it names."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design import schedules, steps
from elucidiff.evaluation.ablation.measure import draw_images
from elucidiff.evaluation.ablation.sampling import (
    SamplingConfiguration,
    alpha_configurations,
    churn_configurations,
    sampling_configurations,
)
from elucidiff.sampling import Churn, Sampler, SeededNoise, sample_predictor_corrector, sample_sde
from elucidiff.solvers import RK2, Euler, Heun

CHURN = Churn(30, 0.05, 1, 1.007)
ALL = (*sampling_configurations(), *churn_configurations(CHURN), *alpha_configurations([0.5, 0.7, 1.0]))


class Counting(GaussianMixture):
    """Two blobs in the plane, which count how often they are asked."""

    calls = 0

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        self.calls += 1
        return super().forward(x, sigma, labels)


@pytest.fixture
def blobs() -> Counting:
    means = torch.tensor([[[-0.5, 0.2]], [[0.6, 0.1]]], dtype=torch.float64)
    return Counting(means, 0.01 * torch.eye(2, dtype=torch.float64).expand(2, 2, 2), torch.tensor([0.3, 0.7]))


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
@pytest.mark.parametrize("budget", [10, 11])
def test_a_row_costs_the_budget_or_one_less(row: SamplingConfiguration, budget: int, blobs: Counting) -> None:
    (drawn,) = draw_images(row.within(budget, blobs), blobs, [0, 1], batch_size=2)
    assert drawn.nfe == blobs.calls
    costs_two = row.method == "predictor-corrector" or (row.method == "sampler" and row.sampler.solver != Euler())
    assert drawn.nfe == (budget - (budget % 2 == 0) if costs_two else budget)


def test_all_deterministic_rows_converge_to_one_solution(blobs: Counting) -> None:
    """Solvers, schedules and steps differ in their truncation error alone."""
    exact = Sampler(steps="karras:n=300").run(blobs, range(8)).x
    errors = {}
    for row in sampling_configurations():
        drawn = torch.cat([each.x for each in draw_images(row.within(199, blobs), blobs, range(8), 8)])
        errors[row.name] = float((drawn - exact).square().mean().sqrt())
    # The originals begin and end at other noise levels, so their solutions are not quite the same.
    assert max(errors.values()) < 0.05
    assert max(errors[name] for name in ("edm", "vp-heun", "ve-heun")) < 5e-3


def test_the_strides_from_the_originals_to_ours() -> None:
    vp, vp_heun, _, ve_heun, ddim, euler, edm = (row.sampler for row in sampling_configurations(0.004, 70.0))
    assert vp == Sampler(steps.VP(), schedules.FittedVP(), Euler())
    assert vp_heun == Sampler(steps.Karras(sigma_min=0.004, sigma_max=70.0), schedules.FittedVP(), Heun())
    assert (ve_heun.schedule, ve_heun.steps) == (schedules.VE(), edm.steps)
    assert ddim == Sampler(steps.IDDPM(), schedules.EDM(), Euler())
    assert euler == Sampler(steps="karras:sigma_min=0.004,sigma_max=70.0", solver="euler")
    assert edm == Sampler(steps="karras:sigma_min=0.004,sigma_max=70.0")


def test_each_setting_of_the_churn() -> None:
    off, alone, span, noise, every, *originals = churn_configurations(CHURN)
    settings = [
        (c.amount, c.sigma_min, c.sigma_max, c.noise_scale)
        for c in (row.sampler.churn or Churn() for row in (off, alone, span, noise, every))
    ]
    assert settings == [
        (0, 0, math.inf, 1),
        (30, 0, math.inf, 1),
        (30, 0.05, 1, 1),
        (30, 0, math.inf, 1.007),
        (30, 0.05, 1, 1.007),
    ]
    assert [row.deterministic for row in (off, alone, *originals)] == [True, False, False, False]
    for churn, what in ((Churn(0, 0.1, 1, 1.01), "S_churn"), (Churn(9, 0.1, 1), "S_noise"), (Churn(9), "S_noise")):
        with pytest.raises(ValueError, match=what):
            churn_configurations(churn)
    with pytest.raises(ValueError, match="S_tmin is 0"):
        churn_configurations(Churn(9, noise_scale=1.01))


def test_baselines_are_the_sde_and_the_predictor_corrector(blobs: Counting) -> None:
    rows = {row.name: row for row in ALL}
    for name, expected in (
        ("vp-sde", lambda z, e: sample_sde(blobs, z, steps.vp(9), schedule=schedules.VP(), noise=e)),
        ("ve-pc", lambda z, e: sample_predictor_corrector(blobs, z, steps.ve(9), noise=e)),
    ):
        (drawn,) = draw_images(rows[name].within(9 if name == "vp-sde" else 17, blobs), blobs, [5, 6], 2)
        noise = SeededNoise([5, 6])
        torch.testing.assert_close(drawn.x, expected(noise.latents((1, 2)), noise), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["edm", "all", "vp-sde", "ve-pc"])
def test_an_image_depends_on_its_seed_alone(name: str, blobs: Counting) -> None:
    row = next(row for row in ALL if row.name == name).within(9, blobs)
    together = torch.cat([each.x for each in draw_images(row, blobs, [3, 4, 5], 3)])
    apart = torch.cat([each.x for each in draw_images(row, blobs, [5, 4, 3], 3)])
    assert torch.equal(together, apart.flip(0))


def test_alphas() -> None:
    rows = alpha_configurations([0.5, 2 / 3, 1.0])
    assert [row.name for row in rows] == ["alpha-0.5", "alpha-0.666667", "alpha-1"]
    assert [row.sampler.solver for row in rows] == [RK2(0.5), RK2(2 / 3), RK2(1.0)]
    with pytest.raises(ValueError, match="each once"):
        alpha_configurations([0.5, 0.5])
    with pytest.raises(ValueError, match="alpha is -1"):
        alpha_configurations([-1.0])


def test_budgets_that_are_too_small(blobs: Counting) -> None:
    for row in ALL:
        with pytest.raises(ValueError, match="too small"):
            row.within(1, blobs)
