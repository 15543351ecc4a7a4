"""Guidance while sampling: closed forms of the guided ODE, evaluations that are counted, plain values, equal bits."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.denoisers.guided import Autoguided, ClassifierFree, Guidance
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.sampling import Sampler
from elucidiff.solvers import RK45
from tests.denoisers.guided_by import Watched, classes, gaussian, numbers
from tests.denoisers.test_guided import model
from tests.sampling.test_fixed_batch import denoiser as network

SIGMA_MAX, SIGMA_MIN = 40.0, 1e-4


def solved(denoiser: Any, latents: Tensor, tolerance: float = 1e-7, **options: Any) -> Tensor:
    """Where the ODE leads from noise level 40 to 0."""
    levels = [SIGMA_MAX, SIGMA_MIN, 0.0]
    return ed.sample(denoiser, latents, levels, solver=RK45(tolerance, tolerance), batch_size=None, **options)


class TestGaussians:
    """For Gaussians the guided denoiser is linear in x, and so is the solution of the ODE in where it starts."""

    def test_equal_spreads_move_the_mean_alone(self) -> None:
        """D_w is the denoiser of a Gaussian at mu_G + w (mu_D - mu_G), of the same spread."""
        spread, scale, latents = 0.5, 3.0, numbers(20, 2, 1)
        better, worse = gaussian([1.0, -1.0], spread), gaussian([0.5, 0.0], spread)
        moved = torch.tensor([0.5 + 3 * 0.5, 0.0 - 3 * 1.0], dtype=torch.float64)[:, None]
        shrunk = spread / math.hypot(spread, SIGMA_MAX)
        wanted = moved + shrunk * (SIGMA_MAX * latents - moved)
        result = solved(Autoguided(better, worse, scale), latents)
        torch.testing.assert_close(result, wanted, rtol=0, atol=2e-6)

    def test_other_spreads_multiply_as_powers(self) -> None:
        """dx/x = w sigma dsigma / (s_D^2 + sigma^2) + (1 - w) sigma dsigma / (s_G^2 + sigma^2) for means of 0."""
        scale, latents = 2.5, numbers(20, 1, 1)
        result = solved(Autoguided(gaussian([0.0], 0.5), gaussian([0.0], 0.8), scale), latents)
        wanted = _factor(0.5) ** scale * _factor(0.8) ** (1 - scale) * SIGMA_MAX * latents
        torch.testing.assert_close(result, wanted, rtol=1e-5, atol=1e-7)
        # Narrower than the better of the two: what guidance does to variety.
        assert result.abs().max() < 0.8 * (_factor(0.5) * SIGMA_MAX * latents).abs().max()

    @pytest.mark.parametrize("interval", [(0.3, 2.0), (0.0, 2.0), (0.3, math.inf)])
    def test_an_interval_acts_in_its_part_of_the_way_alone(self, interval: tuple[float, float]) -> None:
        scale, latents, (low, high) = 2.5, numbers(3, 1, 1), interval
        result = solved(Autoguided(gaussian([0.0], 0.5), gaussian([0.0], 0.8), scale, interval), latents, 1e-9)
        inside = [_factor(spread, max(low, SIGMA_MIN), min(high, SIGMA_MAX)) for spread in (0.5, 0.8)]
        wanted = _factor(0.5) * (inside[0] / inside[1]) ** (scale - 1) * SIGMA_MAX * latents
        # Each sample finds the ends of the interval to within its own tolerance.
        torch.testing.assert_close(result, wanted, rtol=1e-5, atol=1e-7)

    def test_mean_and_variance_of_guided_classes(self) -> None:
        """Two classes of equal spread s at +-m: at low noise, guidance from the mixture pushes a class outwards."""
        better = ed.ideal.GaussianMixture(
            torch.tensor([[[-1.0]], [[1.0]]]), 0.25 * torch.ones(2, 1, 1), torch.ones(2), torch.tensor([0, 1])
        )
        scale, latents = 2.0, numbers(100, 1, 1)
        guided = ClassifierFree(better, scale)
        result = solved(guided, latents, labels=torch.ones(100, dtype=torch.long))
        # The posterior mean of the mixture is a tanh away: integrate its ODE by itself, in small steps.
        levels = torch.logspace(math.log10(SIGMA_MAX), math.log10(SIGMA_MIN), 1001, dtype=torch.float64)
        x = SIGMA_MAX * latents
        for sigma, following in itertools.pairwise(levels):
            slope = _slope(x, sigma, scale)
            ahead = x + (following - sigma) * slope
            x = x + (following - sigma) * (slope + _slope(ahead, following, scale)) / 2
        torch.testing.assert_close(result.mean(), x.mean(), rtol=0, atol=1e-4)
        torch.testing.assert_close(result.var(), x.var(), rtol=1e-3, atol=0)
        plain = solved(better, latents, labels=torch.ones(100, dtype=torch.long))
        assert result.mean() > plain.mean() + 0.05
        assert result.var() < plain.var()


def _factor(spread: float, low: float = SIGMA_MIN, high: float = SIGMA_MAX) -> float:
    """By how much a Gaussian of this spread shrinks between two noise levels."""
    return math.sqrt((spread**2 + (low if low > SIGMA_MIN else 0) ** 2) / (spread**2 + high**2))


def _slope(x: Tensor, sigma: Tensor, scale: float) -> Tensor:
    """dx/dsigma of class 1 of N(-1, 0.25) and N(1, 0.25), guided by both."""
    variance = 0.25 + sigma**2
    conditional = 1 + 0.25 / variance * (x - 1)
    expected = (x / variance).tanh()  # of the component's mean
    unconditional = expected + 0.25 / variance * (x - expected)
    return (x - unconditional - scale * (conditional - unconditional)) / sigma


class TestEvaluations:
    INTERVAL = (0.5, 9.0)

    @pytest.mark.parametrize(
        ("sampler", "nfe"),
        [
            # Of the 18 levels 8.4, 5.3, 3.3, 1.9, 1.1 and 0.59 lie inside; Heun comes to each from both sides.
            (Sampler(guidance=Guidance(weight=2, sigma_min=0.5, sigma_max=9)), 35 + 12),
            (Sampler(solver="euler", guidance=Guidance(weight=2, sigma_min=0.5, sigma_max=9)), 18 + 6),
            (Sampler(guidance=2), 70),
            (Sampler(guidance=0), 35),
            (Sampler(guidance=Guidance(weight=0, sigma_min=0.5, sigma_max=9)), 35),
            (Sampler(guidance=Guidance(weight=2, sigma_max=79.9)), 70 - 1),
            (Sampler(guidance=Guidance(weight=2, sigma_max=80)), 70),  # the upper end is inside
            (Sampler(guidance=Guidance(weight=2, sigma_min=80)), 35),  # the lower one is not
            (Sampler(), 35),
        ],
    )
    def test_are_counted_where_they_happen(self, sampler: Sampler, nfe: int) -> None:
        watched = Watched(classes())
        result = sampler.run(watched, [0, 1, 2], [0, 1, 2], batch_size=3)
        assert result.nfe == nfe
        assert sum(size for size, _, _ in watched.calls) == 3 * nfe
        if sampler.guidance == 2:
            low, high = sampler.guidance_sigma_min, sampler.guidance_sigma_max
            doubled = [low < levels[0] <= high for _, levels, _ in watched.calls]
            assert [size == 6 for size, _, _ in watched.calls] == doubled

    def test_of_both_networks(self) -> None:
        better, worse = Watched(classes()), Watched(classes())
        sampler = Sampler(guidance=Guidance(weight=2, sigma_min=0.5, sigma_max=9))
        result = sampler.run(better, [5], [1], guide=worse, batch_size=1)
        assert (len(better.calls), len(worse.calls), result.nfe) == (35, 12, 47)

    def test_of_each_sample_with_an_adaptive_solver(self) -> None:
        """Ten samples at ten noise levels at a time: some inside the interval, some not."""
        watched = Watched(classes())
        guided = ClassifierFree(watched, 2.0, self.INTERVAL)
        together = RK45(1e-3, 1e-3)
        latents, labels, nfe = numbers(10, 2, 1), torch.arange(10) % 3, []
        options = {"solver": together, "callback": lambda step: nfe.append(step.nfe)}
        ed.sample(guided, latents, [40.0, 0.01, 0.0], labels=labels, batch_size=None, **options)
        counted = nfe[-1]
        for row in range(10):
            watched.calls = []
            each = slice(row, row + 1)
            ed.sample(guided, latents[each], [40.0, 0.01, 0.0], labels=labels[each], batch_size=None, **options)
            assert sum(size for size, _, _ in watched.calls) == counted[row] == nfe[-1].sum()
        assert len(set(counted.tolist())) > 1

    def test_of_stochastic_baselines(self) -> None:
        guided, labels, nfe = ClassifierFree(classes(), 2.0, self.INTERVAL), torch.tensor([1]), []
        levels = ed.steps.karras(18)
        options = {"labels": labels, "callback": lambda step: nfe.append(step.nfe), "batch_size": None}
        ed.sampling.sample_sde(guided, numbers(1, 2, 1), levels, **options)
        ed.sampling.sample_predictor_corrector(guided, numbers(1, 2, 1), levels, **options)
        assert nfe[17::18] == [18 + 6, 35 + 12]


class TestSampler:
    def test_a_weight_of_one_changes_no_bit(self) -> None:
        plain = Sampler(steps="karras:n=3").run(model(), range(3))
        assert torch.equal(Sampler(steps="karras:n=3", guidance=1).run(model(), range(3)).x, plain.x)
        far = Sampler(steps="karras:n=3", guidance=Guidance(weight=4, sigma_min=90)).run(model(), range(3))
        assert torch.equal(far.x, plain.x)
        assert far.nfe == plain.nfe == 5

    def test_is_the_wrapper_of_the_same_values(self) -> None:
        denoiser, guide = model(), model(base_channels=4)
        sampler = Sampler(steps="karras:n=3", guidance=Guidance(weight=2.5, sigma_min=0.1, sigma_max=5))
        plain = Sampler(steps="karras:n=3")
        for worse, wrapped in (
            (None, ClassifierFree(denoiser, 2.5, (0.1, 5.0))),
            (guide, Autoguided(denoiser, guide, 2.5, (0.1, 5.0))),
        ):
            one, other = sampler.run(denoiser, [3, 4], [0, 1], guide=worse), plain.run(wrapped, [3, 4], [0, 1])
            assert torch.equal(one.x, other.x)
            assert one.nfe == other.nfe
            assert (one.x - plain.run(denoiser, [3, 4], [0, 1]).x).abs().max() > 1e-3

    def test_without_labels_each_seed_draws_the_class_it_always_drew(self) -> None:
        drawn = Sampler(steps="karras:n=2").run(model(), range(8)).labels
        guided = Sampler(steps="karras:n=2", guidance=2).run(model(), range(8)).labels
        assert drawn is not None
        assert torch.equal(drawn, guided)

    def test_plain_values_there_and_back(self) -> None:
        sampler = Sampler(guidance=Guidance(weight=1.5, sigma_min=0.2))
        values = sampler.to_plain()
        assert values["guidance"] == {"type": "guidance", "weight": 1.5, "sigma_min": 0.2, "sigma_max": "inf"}
        assert Sampler.from_plain(values) == sampler

    def test_an_interval_without_guidance_is_of_no_use(self) -> None:
        names = ["guidance.sigma_min", "guidance.sigma_max"]
        assert Sampler().without_effect(["guidance.weight", *names]) == names
        assert Sampler(guidance=0).without_effect(names) == []

    def test_the_range_is_that_of_both_networks(self) -> None:
        guide = ed.Denoiser(model().network, ed.preconditioning.VE(sigma_min=0.1, sigma_max=30.0))
        denoiser = model()
        levels = Sampler(steps="karras:n=3", guidance=2).run(denoiser, [0], [0], guide=guide).sigmas
        torch.testing.assert_close(levels[[0, -2]], torch.tensor([30, 0.1]).double(), rtol=1e-7, atol=0)

    @pytest.mark.parametrize(
        ("values", "says"),
        [
            ({"guidance": -1}, "guidance is -1, but must be a finite number >= 0"),
            ({"guidance": "2,sigma_min=3,sigma_max=1"}, "begins at 3 and ends at 1"),
            ({"guidance": "2,sigma_min=-0.1"}, "begins at -0.1, but noise levels are not negative"),
        ],
    )
    def test_refuses_before_it_meets_a_model(self, values: dict[str, Any], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            Sampler(**values)

    def test_refuses_before_it_evaluates_anything(self) -> None:
        watched = Watched(gaussian([0.0], 1.0))
        with pytest.raises(ValueError, match="this one is unconditional"):
            Sampler(guidance=2).run(watched, [0])
        with pytest.raises(ValueError, match="the guide is the model itself"):
            Sampler(guidance=2).run(watched, [0], guide=watched)
        with pytest.raises(ValueError, match="the guide would do nothing with guidance 1"):
            Sampler().run(watched, [0], guide=Watched(gaussian([0.0], 2.0)))
        assert not watched.calls


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    """A network in float32 that says that it knows the empty label."""
    made = copy.deepcopy(network("unet"))
    made.network.label_dropout = 0.1
    return made


class TestBits:
    """In batches of 3 and 6 this network's last bits differ."""

    @pytest.mark.parametrize(
        ("sampler", "count"),
        [
            (Sampler(steps="karras:n=2", guidance=2), 10),
            pytest.param(
                Sampler(
                    steps="karras:sigma_min=2",
                    solver="rk45:rtol=0.1,atol=0.1",
                    guidance=Guidance(weight=2, sigma_max=9),
                ),
                4,
                marks=pytest.mark.slow,
            ),
        ],
    )
    def test_a_sample_depends_on_its_seed_alone(self, denoiser: Denoiser, sampler: Sampler, count: int) -> None:
        together = sampler.run(denoiser, range(count), batch_size=3).x
        assert together.std() > 0.05
        for seeds in ([0], [count - 1], [3, 1, 2]):
            assert torch.equal(sampler.run(denoiser, seeds, batch_size=3).x, together[seeds])

    @torch.no_grad()
    def test_nor_on_who_is_inside_the_interval(self, denoiser: Denoiser) -> None:
        guided = ClassifierFree(denoiser, 2.0, (1.0, 9.0))
        x, labels = 5 * numbers(3, 1, 8, 8).float(), torch.arange(3)
        levels = torch.tensor([[5.0, 0.5, 12.0], [5.0, 2.0, 8.0], [20.0, 0.5, 12.0]])
        mixed, inside, outside = (guided(x, sigma, labels) for sigma in levels)
        assert torch.equal(mixed[0], inside[0])
        assert torch.equal(mixed[1:], outside[1:])
        assert torch.equal(outside, denoiser(x, levels[2], labels))
