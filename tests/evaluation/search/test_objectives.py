"""Figures of a sampler, on data whose denoiser and whose samples are known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.data.scaling import AsStored
from elucidiff.evaluation.quality import OfModel
from elucidiff.evaluation.search import (
    OfSamples,
    Outcome,
    Search,
    Space,
    TruncationError,
    best_samplers,
    parse_options,
    work,
)
from elucidiff.evaluation.search.storage import open_storage
from elucidiff.sampling import Sampler
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.optimise import solve_exactly
from elucidiff.sampling.seeds import SeededNoise, SeedRanges
from tests.evaluation.search.studies import journal
from tests.evaluation.search.studies import rho as rho_of

SPREAD = 0.7  # standard deviation of the data
SHAPE = (2, 3)


class Gaussian:
    """D of data from N(0, SPREAD^2 I), and how many samples it was asked for."""

    sample_shape = SHAPE

    def __init__(self) -> None:
        self.samples = 0
        self._exact = ed.ideal.GaussianMixture(torch.zeros(1, *SHAPE), SPREAD**2 * torch.eye(6)[None], torch.ones(1))

    def __call__(self, x: Tensor, sigma: Any, labels: Tensor | None = None) -> Tensor:
        self.samples += len(x)
        return self._exact(x, sigma)


def gain(sampler: Sampler) -> float:
    """What Euler's method multiplies unit latents by: its steps are linear in x here."""
    sigmas = sampler.sigmas(None).tolist()
    factor = sigmas[0]
    for now, then in pairwise(sigmas):
        factor *= 1 + (then - now) * now / (SPREAD**2 + now**2)
    return factor


def root_mean_square(features: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(np.square(features))))


def of_samples(denoiser: Gaussian, **changes: Any) -> OfSamples:
    images = OfModel(denoiser, Sampler(), [], batch_size=4, scaling=AsStored(), **changes)
    return OfSamples(images, lambda x: x.flatten(1).numpy(), root_mean_square)


SEEDS = SeedRanges([range(20, 30)])


def test_the_figure_is_that_of_the_samples() -> None:
    sampler = Sampler(steps="karras:n=8,rho=5.0", solver="euler")
    figure = of_samples(Gaussian())(sampler, SEEDS)
    latents = SeededNoise(SEEDS).latents(SHAPE).double().numpy()
    assert figure.value == pytest.approx(gain(sampler) * root_mean_square(latents), rel=1e-6)
    assert figure.nfe == 8


def test_more_seeds_cost_what_is_new() -> None:
    denoiser, fresh = Gaussian(), Gaussian()
    objective, sampler = (
        of_samples(denoiser),
        Sampler(steps="karras:n=3", solver="euler", churn=Churn(amount=1.0)),
    )
    objective(sampler, SEEDS[:8])
    assert denoiser.samples == 8 * 3
    grown = objective(sampler, SEEDS)
    assert denoiser.samples == (8 + 4) * 3  # 2 more, padded to a batch
    assert grown == of_samples(fresh)(sampler, SEEDS)
    assert objective(sampler, SEEDS[2:]) == of_samples(Gaussian())(sampler, SEEDS[2:])
    assert objective(Sampler(steps="karras:n=3", solver="euler"), SEEDS[2:]) != objective(sampler, SEEDS[2:])


def test_labels_belong_to_seeds_in_turn() -> None:
    seen: list[list[int]] = []

    class Labelled(Gaussian):
        label_dim = 3

        def __call__(self, x: Tensor, sigma: Any, labels: Tensor | None = None) -> Tensor:
            assert labels is not None
            seen.append(labels.argmax(1).tolist())
            return super().__call__(x, sigma)

    objective = of_samples(Labelled(), labels=torch.tensor([2, 0, 1]))
    objective(Sampler(steps="karras:n=2", solver="euler"), SEEDS[:3])
    objective(Sampler(steps="karras:n=2", solver="euler"), SEEDS[:7])
    assert seen[::2] == [[2, 0, 1, 1], [2, 0, 1, 2]]


def test_samples_that_are_not_finite_have_no_figure() -> None:
    class Broken(Gaussian):
        def __call__(self, x: Tensor, sigma: Any, labels: Tensor | None = None) -> Tensor:
            return super().__call__(x, sigma) / 0

    with pytest.raises(ValueError, match=r"seed 20 .*gave values that are not finite"):
        of_samples(Broken())(Sampler(steps="karras:n=2"), SEEDS)


def test_adaptive_solvers_count_the_mean_of_their_evaluations() -> None:
    objective, sampler = of_samples(Gaussian()), Sampler(solver="rk45:rtol=0.001,atol=0.001")
    counts = sampler.run(Gaussian(), SEEDS).nfe
    assert objective(sampler, SEEDS).nfe == pytest.approx(float(torch.as_tensor(counts).double().mean()))


def test_between_can_end_the_work() -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        of_samples(Gaussian(), between=stop)(Sampler(steps="karras:n=2"), SEEDS)


@pytest.fixture(scope="module")
def truncation() -> TruncationError:
    return TruncationError(solve_exactly(Gaussian(), SEEDS, 0.002, 80.0, shape=SHAPE))


def test_truncation_error_is_the_distance_to_the_exact_solution(truncation: TruncationError) -> None:
    for rho in (3.0, 7.0):
        sampler = Sampler(steps=f"karras:n=8,rho={rho}", solver="euler")
        latents = SeededNoise(SEEDS[:6]).latents(SHAPE).double().numpy()
        # dx/dsigma = sigma x / (SPREAD^2 + sigma^2) has the solution x ~ sqrt(SPREAD^2 + sigma^2).
        exact = 80.0 * SPREAD / np.hypot(SPREAD, 80.0)
        figure = truncation(sampler, SEEDS[:6])
        assert figure.value == pytest.approx(abs(gain(sampler) - exact) * root_mean_square(latents), rel=1e-2)
        assert figure.nfe == 8


def test_truncation_error_needs_what_it_compares_with(truncation: TruncationError) -> None:
    with pytest.raises(ValueError, match="churn adds noise"):
        truncation(Sampler(churn=Churn(amount=1.0)), SEEDS)
    with pytest.raises(ValueError, match="no exact solution for seed 7"):
        truncation(Sampler(), [20, 7])


def test_the_search_comes_close_to_the_best_rho(truncation: TruncationError, tmp_path: Any) -> None:
    base = Sampler(steps="karras:n=8", solver="euler")
    space = Space(base, parse_options(["rho=1:15"], base, grid=False))
    search = Search(space, SEEDS, (10,), 25)
    done = work(search, open_storage(journal(tmp_path)), "s", truncation)
    (trial, sampler), *others = best_samplers(done.study, search, 25)
    assert not others
    errors = {
        rho: truncation(Sampler(steps=f"karras:n=8,rho={rho}", solver="euler"), SEEDS).value
        for rho in np.linspace(1, 15, 281)
    }
    best = min(errors, key=errors.__getitem__)
    assert abs(rho_of(sampler) - best) < 0.4
    assert trial.value is not None
    assert trial.value < 1.002 * errors[best] < truncation(base, SEEDS).value


def test_few_evaluations_against_the_figure(tmp_path: Any) -> None:
    def objective(sampler: Sampler, seeds: Sequence[int]) -> Outcome:
        return Outcome(1 / sampler.n + (rho_of(sampler) - 5) ** 2, 2 * sampler.n - 1)

    base = Sampler(steps="karras:rho=5.0")
    space = Space(base, parse_options(["n=2,4,8", "rho=4,5"], base, grid=True))
    search = Search(space, SEEDS, (10,), 99, method="grid", with_nfe=True)
    done = work(search, open_storage(journal(tmp_path)), "s", objective)
    front = best_samplers(done.study, search, done.trials)
    assert [(sampler.n, rho_of(sampler)) for _, sampler in front] == [(2, 5), (4, 5), (8, 5)]
    assert sorted(trial.number for trial in done.study.best_trials) == sorted(trial.number for trial, _ in front)
    with pytest.raises(ValueError, match="several objectives cannot be ended early"):
        Search(space, SEEDS, (5, 10), 99, with_nfe=True)
