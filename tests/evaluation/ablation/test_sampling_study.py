"""Filling a table about sampling: figures of the right seeds, exact solutions of the right range, nothing twice."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elucidiff.denoisers.ideal import GaussianMixture
from elucidiff.design.steps import Levels
from elucidiff.evaluation.ablation.cells import TRUNCATION, Cell, fill, missing_cells
from elucidiff.evaluation.ablation.sampling import (
    SamplingConfiguration,
    churn_configurations,
    sampling_configurations,
)
from elucidiff.evaluation.ablation.studies import SamplingAblation
from elucidiff.sampling import Churn, Sampler
from elucidiff.sampling.churn import Restart
from tests.evaluation.ablation.ledgers import MeanEvaluator, MemoryLedger
from tests.sampling.optimise.mixtures import mixture


def rows(*names: str) -> list[object]:
    every = (*sampling_configurations(), *churn_configurations(Churn(30, 0.05, 1, 1.007)))
    return [row for row in every if row.name in names]


def study(
    *names: str, denoiser: GaussianMixture | None = None, evaluated: bool = True, **settings: int
) -> SamplingAblation:
    numbers = {"blocks": 2, "images": 6, "exact_images": 2, "first_seed": 100, "batch_size": 4, **settings}
    return SamplingAblation(
        denoiser or mixture(), rows(*names), [5, 9], evaluator=MeanEvaluator() if evaluated else None, **numbers
    )


def test_figures_are_of_the_seeds_of_the_block() -> None:
    ledger = MemoryLedger()
    fill(study("edm", "all"), ledger)
    assert len(ledger.found) == 2 * 2 * 2 * 2 + 2 * 2
    for budget, n in ((5, 3), (9, 5)):
        x = Sampler(steps=f"karras:n={n}").run(mixture(), range(106, 112), batch_size=4).x
        assert ledger.found[Cell("edm", budget, 1), "mean"] == pytest.approx(float(x.mean()), rel=1e-12)
        assert ledger.found[Cell("edm", budget, 1), "count"] == 6
        exact = Sampler(steps="karras:n=512").run(mixture(), range(106, 108)).x
        error = float((x[:2] - exact).square().mean().sqrt())
        assert ledger.found[Cell("edm", budget, 1), TRUNCATION] == pytest.approx(error, rel=1e-3)
    assert (Cell("all", 9, 0), TRUNCATION) not in ledger.found


def test_each_range_has_its_own_exact_solution() -> None:
    ledger = MemoryLedger()
    fill(study("vp", "ve", "ddim", "edm", evaluated=False, blocks=1), ledger)
    for name, sampler in (("vp", Sampler.from_table("vp", 9)), ("ve", Sampler.from_table("ve", 9))):
        sigmas = sampler.sigmas(mixture())
        exact = (
            Sampler(steps=f"karras:n=512,sigma_min={float(sigmas[-2])},sigma_max={float(sigmas[0])}")
            .run(mixture(), [100, 101])
            .x
        )
        x = sampler.run(mixture(), [100, 101]).x
        error = float((x - exact).square().mean().sqrt())
        assert ledger.found[Cell(name, 9, 0), TRUNCATION] == pytest.approx(error, rel=1e-3)


class Dying(Exception):
    """Stands for a kill."""


def test_killed_at_any_moment_it_ends_with_the_same_table() -> None:
    whole = MemoryLedger()
    fill(study("edm", "all"), whole)
    broken, deaths = MemoryLedger(), 0
    for moment in range(100):
        left = moment % 7

        def tick(cell: Cell, share: float) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Dying

        try:
            fill(study("edm", "all"), broken, tick=tick)
        except Dying:
            deaths += 1
            continue
        break
    assert deaths > 3
    assert broken.found == whole.found


def test_only_what_is_missing_is_measured() -> None:
    ledger = MemoryLedger()
    fill(study("edm", evaluated=False), ledger)
    before = dict(ledger.found)
    assert {TRUNCATION} == {name for _, name in before}
    done: list[Cell] = []
    fill(study("edm", "all", blocks=3), ledger, done=lambda cell, measured: done.append(cell))
    assert all(ledger.found[key] == value for key, value in before.items())
    assert len(done) == 12
    assert not missing_cells(study("edm", "all", blocks=3), ledger)


def test_work_is_the_evaluations_that_are_made() -> None:
    class Counting(GaussianMixture):
        evaluated = 0

        def forward(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
            self.evaluated += len(x)
            return super().forward(x, sigma, labels)

    means, covariances = torch.tensor([[[0.5, 0.1]], [[-0.5, 0.2]]]), 0.1 * torch.eye(2).expand(2, 2, 2)
    counting = Counting(means, covariances, torch.ones(2))
    ablation = study("vp", "edm", "vp-heun", "all", denoiser=counting, images=8, exact_images=4, batch_size=4)
    fill(ablation, MemoryLedger())
    work = sum(map(ablation.work, ablation.cells()))
    # Beside them, half as many steps check each exact solution.
    checks = 2 * 2 * 4 * 64
    assert counting.evaluated - checks == pytest.approx(work, rel=1e-12)


def test_samples_that_are_not_finite_are_no_figure() -> None:
    class Broken(GaussianMixture):
        def forward(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
            return torch.full_like(x, math.nan)

    broken = Broken(torch.zeros(1, 1, 2), torch.eye(2)[None], torch.ones(1))
    ledger = MemoryLedger()
    fill(study("edm", denoiser=broken, exact_images=0), ledger)
    assert all(math.isnan(value) for value in ledger.found.values())
    with pytest.raises(ValueError, match=r"seed 100 .*gave values that are not finite"):
        fill(study("edm", denoiser=broken), MemoryLedger())


def of(*samplers: Sampler, settled: bool = False, **settings: Any) -> SamplingAblation:
    """A study of these samplers, by their numbers."""
    chosen = [
        SamplingConfiguration(str(number), "", sampler, settled=settled) for number, sampler in enumerate(samplers)
    ]
    numbers: dict[str, Any] = {"blocks": 1, "images": 4, "exact_images": 2, "batch_size": 4, **settings}
    return SamplingAblation(mixture(), chosen, [5, 9], **numbers)


def test_a_budget_is_never_exceeded() -> None:
    restarting = Sampler(restarts=Restart(repeats=1, steps=2, sigma_min=0.05, sigma_max=1.0))
    ablation = of(
        Sampler(), restarting, Sampler(solver="dpmpp_2m"), exact_images=0, evaluator=MeanEvaluator(), strict=False
    )
    assert set(ablation.left_out) == {("1", 5)}
    found = {
        (cell.configuration, cell.nfe): ablation.measure(cell, ["mean"], lambda _: None).nfe
        for cell in ablation.cells()
    }
    assert found[("0", 5)] == 5
    assert found[("0", 9)] == 9
    assert found[("2", 9)] == 9
    assert all(nfe <= budget for (_, budget), nfe in found.items())
    with pytest.raises(ValueError, match="too small"):
        of(restarting)


def test_a_settled_sampler_has_its_own_cost() -> None:
    ablation = of(Sampler(steps="karras:n=4"), Sampler(steps=Levels((80.0, 2.0, 0.1, 0.0))), settled=True)
    assert [(cell.configuration, cell.nfe) for cell in ablation.cells()] == [("0", 7), ("1", 5)]
    for cell in ablation.cells():
        assert ablation.measure(cell, [TRUNCATION], lambda _: None).nfe == cell.nfe


def test_samplers_that_draw_noise_have_no_exact_solution() -> None:
    ablation = of(Sampler(solver="er_sde"), Sampler(solver="dpmpp_2m"), exact_images=2, evaluator=MeanEvaluator())
    exact = {cell.configuration for cell in ablation.cells() if TRUNCATION in ablation.metrics(cell)}
    assert exact == {"1"}


def test_guidance_has_its_own_exact_solution() -> None:
    """The error is the distance to the guided ODE's solution, here by brute force."""
    denoiser, guide = mixture(), GaussianMixture(torch.zeros(1, 1, 2), torch.eye(2)[None], torch.ones(1))
    led = SamplingConfiguration("led", "", Sampler(guidance=1.5), guide=guide)
    plain = SamplingConfiguration("plain", "", Sampler())
    ablation = SamplingAblation(denoiser, [plain, led], [10, 20], blocks=1, images=2, exact_images=2)
    for cell in ablation.cells():
        measured = ablation.measure(cell, [TRUNCATION], lambda _: None)
        sampler, its_guide = (led.sampler, guide) if cell.configuration == "led" else (plain.sampler, None)
        n = {("plain", 10): 5, ("plain", 20): 10, ("led", 10): 3, ("led", 20): 5}[cell.configuration, cell.nfe]
        assert measured.nfe == (2 * n - 1) * (2 if its_guide else 1)
        x, exact = (
            sampler.with_settings({"steps.n": steps}).run(denoiser, [0, 1], guide=its_guide).x for steps in (n, 1024)
        )
        assert measured.values[TRUNCATION] == pytest.approx(float((x - exact).square().mean().sqrt()), rel=1e-3)


def test_columns_of_a_figure() -> None:
    ablation = study("edm", "all", "vp-sde")
    cell = Cell("edm", 9, 1)
    exact, mean, count = (ablation.columns(cell, name) for name in (TRUNCATION, "mean", "count"))
    assert (exact["seeds"], exact["images"], exact["lower_is_better"]) == ("106-107", 2, True)
    assert (mean["seeds"], mean["images"], mean["lower_is_better"]) == ("106-111", 6, True)
    assert count["lower_is_better"] is False
    assert (mean["solver"], mean["sigma_max"], mean["churn"]) == ("heun", 80.0, 0.0)
    churned = ablation.columns(Cell("all", 9, 0), "mean")
    assert [churned[name] for name in ("churn", "churn_sigma_min", "churn_sigma_max", "noise_scale")] == [
        30.0, 0.05, 1.0, 1.007,
    ]  # fmt: skip
    assert ablation.columns(Cell("vp-sde", 9, 0), "mean")["solver"] == "sde"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": 0}, "0 blocks"),
        ({"images": 1, "exact_images": 0}, "1 images"),
        ({"exact_images": 7}, "7 of them"),
        ({"exact_images": 0, "evaluated": False}, "neither an evaluator"),
    ],
)
def test_nothing_to_measure(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study("edm", **settings)
