"""Closed forms against direct evaluation of their formulas, at both ends of sigma, with labels; memory."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from elucidiff.denoisers.ideal import DataPosterior, GaussianMixture
from elucidiff.denoisers.labels import KnownLabels


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def direct(points: Tensor, x: Tensor, sigma: Tensor, weights: Tensor | None = None) -> Tensor:
    """The posterior mean as its formula stands, all differences at once."""
    distances = (x[:, None] - points).flatten(2).square().sum(2)
    logits = -distances / (2 * sigma.reshape(-1, 1).square())
    if weights is not None:
        logits = logits + weights.log()
    return torch.einsum("bp,p...->b...", logits.softmax(1), points)


class TestDataPosterior:
    @pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0, 10.0, 1e3, 1e6])
    @pytest.mark.parametrize(("count", "batch"), [(1, 1), (7, 3), (2500, 5), (40, 300)])
    def test_is_the_posterior_mean(self, count: int, batch: int, sigma: float) -> None:
        points = normal(count, 2, 3, 2)
        x = points[torch.arange(batch) % count] + sigma * normal(batch, 2, 3, 2, seed=1)
        expected = direct(points, x, torch.tensor(sigma))
        posterior = DataPosterior(points)
        torch.testing.assert_close(posterior(x, sigma), expected, rtol=0, atol=1e-9)
        levels = sigma * torch.linspace(1, 2, batch, dtype=torch.float64)
        torch.testing.assert_close(posterior(x, levels), direct(points, x, levels), rtol=0, atol=1e-9)

    def test_at_both_ends_of_sigma(self) -> None:
        points = normal(9, 1, 4)
        x = points.flip(0) + 0.01 * normal(9, 1, 4, seed=2)
        posterior = DataPosterior(points)
        for sigma in (0.0, 1e-300, 1e-12):
            assert torch.equal(posterior(x, sigma), points.flip(0))
        torch.testing.assert_close(posterior(x, 1e12), points.mean(0).expand(9, 1, 4), rtol=0, atol=1e-12)
        tie = DataPosterior(torch.tensor([[[-1.0, 0.0]], [[1.0, 0.0]]], dtype=torch.float64))
        assert tie(torch.zeros(1, 1, 2, dtype=torch.float64), 0.0).tolist() == [[[0.0, 0.0]]]

    def test_far_from_all_points(self) -> None:
        points = normal(1500, 3, 4)
        x = 1e4 * normal(4, 3, 4, seed=3)
        torch.testing.assert_close(
            DataPosterior(points)(x, 2.0), direct(points, x, torch.tensor(2.0)), rtol=0, atol=1e-6
        )

    def test_labels(self) -> None:
        points, classes = normal(1500, 1, 3), torch.arange(1500) % 3
        x, sigma = normal(5, 1, 3, seed=1), torch.tensor(0.7, dtype=torch.float64)
        for labels in (classes, torch.eye(3)[classes]):
            posterior = DataPosterior(points, labels)
            assert posterior.label_dim == 3
            expected = torch.cat(
                [direct(points[classes == k], x[i : i + 1], sigma) for i, k in enumerate([2, 0, 1, 1, 2])]
            )
            for asked in (torch.tensor([2, 0, 1, 1, 2]), torch.eye(3)[[2, 0, 1, 1, 2]]):
                torch.testing.assert_close(posterior(x, sigma, asked), expected, rtol=0, atol=1e-10)
            everything = direct(points, x, sigma)
            for asked in (None, torch.zeros(5, 3), torch.zeros(1, 3), torch.ones(5, 3)):
                torch.testing.assert_close(posterior(x, sigma, asked), everything, rtol=0, atol=1e-10)
            soft = torch.tensor([[0.2, 0.0, 0.8]], dtype=torch.float64)
            weighed = direct(points, x, sigma, weights=soft[0, classes])
            torch.testing.assert_close(posterior(x, sigma, soft), weighed, rtol=0, atol=1e-10)
            assert bool(
                (posterior(x, 0.0, torch.tensor([0] * 5))[:, None] == points[classes == 0])
                .flatten(2)
                .all(2)
                .any(1)
                .all()
            )

    def test_classes_without_points(self) -> None:
        posterior = DataPosterior(normal(4, 1, 2), torch.tensor([0, 3, 3, 0]))
        x = normal(2, 1, 2, seed=1)
        assert bool(posterior(x, 1.0, torch.tensor([0, 3])).isfinite().all())
        with pytest.raises(ValueError, match="no point belongs to class 1"):
            posterior(x, 1.0, torch.tensor([0, 1]))

    def test_types(self) -> None:
        points, x = normal(20, 1, 3).float(), normal(2, 1, 3, seed=1)
        posterior = DataPosterior(points)
        assert posterior.points.dtype == torch.float32  # kept: 50,000 images need their memory once
        assert posterior(x.float(), 0.5).dtype == torch.float32
        torch.testing.assert_close(
            posterior(x, 0.5), direct(points.double(), x, torch.tensor(0.5)), rtol=0, atol=1e-12
        )

    @pytest.mark.parametrize(
        ("points", "labels", "message"),
        [
            (torch.zeros(0, 1, 2), None, "points must be floating point"),
            (torch.zeros(3), None, "points must be floating point"),
            (torch.zeros(3, 1, 2, dtype=torch.uint8), None, "points must be floating point"),
            (torch.full((3, 1, 2), math.nan), None, "not finite"),
            (torch.full((3, 1, 2), -math.inf), None, "not finite"),
            (torch.zeros(3, 1, 2), torch.tensor([0, 1]), "2 labels for 3 points"),
            (torch.zeros(3, 1, 2), torch.full((3, 2), 0.5), "class indices or one-hot"),
            (torch.zeros(3, 1, 2), torch.tensor([0, -1, 1]), "class index -1"),
        ],
    )
    def test_bad_data(self, points: Tensor, labels: Tensor | None, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            DataPosterior(points, labels)

    def test_bad_calls(self) -> None:
        posterior = DataPosterior(torch.zeros(3, 1, 2))
        with pytest.raises(ValueError, match=r"samples have shape \(2, 1\), but this denoiser knows \(1, 2\)"):
            posterior(torch.zeros(1, 2, 1), 1.0)
        with pytest.raises(ValueError, match="denoiser without classes"):
            posterior(torch.zeros(1, 1, 2), 1.0, torch.tensor([0]))
        with pytest.raises(ValueError, match="2 values for 3 samples"):
            posterior(torch.zeros(3, 1, 2), torch.ones(2))

    @pytest.mark.slow
    def test_fifty_thousand_colour_images_fit_in_two_gibibytes(self) -> None:
        program = (
            "import torch\n"
            "from elucidiff.denoisers.ideal import DataPosterior\n"
            "from tests.peak_memory import peak_memory\n"
            "torch.manual_seed(0)\n"
            "posterior = DataPosterior(torch.randn(50_000, 3, 32, 32), torch.arange(50_000) % 10)\n"
            "x = posterior.points[:64].double() + 0.3 * torch.randn(64, 3, 32, 32, dtype=torch.float64)\n"
            "error = float((posterior(x, 0.3, torch.arange(64) % 10) - posterior.points[:64]).abs().max())\n"
            "assert error < 1e-6, error\n"
            "print(peak_memory())\n"
        )
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert 2**28 < int(result.stdout) < 2 * 2**30


def tilted(seed: int = 0, count: int = 3, size: int = 4) -> GaussianMixture:
    factors = normal(count, size, size, seed=seed) / 2
    means = normal(count, 1, 2, size // 2, seed=seed + 1)
    return GaussianMixture(means, factors @ factors.mT, torch.tensor([0.5, 0.2, 0.3]))


class TestGaussianMixture:
    @pytest.mark.parametrize("sigma", [1e-3, 0.1, 1.0, 30.0])
    def test_is_the_formula(self, sigma: float) -> None:
        target, x = tilted(), normal(6, 1, 2, 2, seed=9) * (1 + sigma)
        flat, identity = x.flatten(1), torch.eye(4, dtype=torch.float64)
        logs, posts = [], []
        for weight, mean, covariance in zip(target.weights, target.means, target.covariances, strict=True):
            noisy = covariance + sigma**2 * identity
            logs.append(weight.log() + torch.distributions.MultivariateNormal(mean, noisy).log_prob(flat))
            posts.append(mean + (flat - mean) @ torch.linalg.solve(noisy, covariance))
        expected = torch.einsum("kb,kbi->bi", torch.stack(logs).softmax(0), torch.stack(posts)).reshape(x.shape)
        torch.testing.assert_close(target(x, sigma), expected, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(target.log_prob(x, sigma), torch.stack(logs).logsumexp(0), rtol=1e-8, atol=1e-8)

    @pytest.mark.parametrize("sigma", [0.05, 0.5, 20.0])
    def test_score_is_the_gradient_of_the_density(self, sigma: float) -> None:
        """grad log p(x; sigma) = (D(x; sigma) - x) / sigma^2, Karras et al. 2022, Eq. 3."""
        target, x = tilted(), normal(5, 1, 2, 2, seed=3).requires_grad_()
        for labels in (None, torch.tensor([[0.1, 0.0, 0.9]])):
            target.known_labels, target.classes = KnownLabels(3), torch.arange(3)
            (score,) = torch.autograd.grad(target.log_prob(x, sigma, labels).sum(), x)
            torch.testing.assert_close(target(x, sigma, labels), x + sigma**2 * score, rtol=1e-9, atol=1e-9)

    def test_without_spread_it_is_the_posterior_over_the_means(self) -> None:
        points = normal(5, 1, 3)
        mixture = GaussianMixture(points, torch.zeros(5, 3, 3), torch.ones(5))
        posterior, x = DataPosterior(points), points + 0.1 * normal(5, 1, 3, seed=1)
        for sigma in (0.0, 1e-6, 0.2, 3.0, 1e6):
            torch.testing.assert_close(mixture(x, sigma), posterior(x, sigma), rtol=0, atol=1e-10)

    def test_at_both_ends_of_sigma(self) -> None:
        target, x = tilted(), normal(4, 1, 2, 2, seed=5)
        torch.testing.assert_close(target(x, 0.0), x, rtol=0, atol=1e-12)
        torch.testing.assert_close(target(x, 1e9), target.mean.expand_as(x), rtol=0, atol=1e-6)
        levels = torch.tensor([0.0, 0.1, 1.0, 1e9], dtype=torch.float64)
        each = torch.cat([target(x[i : i + 1], level) for i, level in enumerate(levels.tolist())])
        torch.testing.assert_close(target(x, levels), each, rtol=1e-12, atol=1e-12)

    def test_density_integrates_to_one(self) -> None:
        target = GaussianMixture(normal(2, 1, 1), torch.tensor([[[0.2]], [[0.6]]]), torch.tensor([1.0, 3.0]))
        grid = torch.linspace(-12, 12, 4801, dtype=torch.float64).reshape(-1, 1, 1)
        for sigma in (0.0, 1.0):
            total = torch.trapezoid(target.log_prob(grid, sigma).exp(), grid.flatten())
            assert float(total) == pytest.approx(1, abs=1e-9)

    def test_samples_have_the_mean_and_covariance(self) -> None:
        target = tilted()
        flat = target.sample(20_000, torch.Generator().manual_seed(1)).flatten(1)
        apart = flat - target.mean.flatten()
        assert bool((apart.mean(0).abs() < 4 * flat.std(0) / math.sqrt(20_000)).all())
        products = apart[:, :, None] * apart[:, None, :]
        error = (products.mean(0) - target.covariance).abs()
        assert bool((error < 4 * products.std(0) / math.sqrt(20_000)).all())
        again = target.sample(20_000, torch.Generator().manual_seed(1)).flatten(1)
        assert torch.equal(again, flat)

    def test_classes_are_sets_of_components(self) -> None:
        means, x = normal(3, 1, 2), normal(4, 1, 2, seed=1)
        covariances, weights = torch.eye(2).expand(3, 2, 2) * 0.2, torch.tensor([0.5, 0.2, 0.3])
        mixture = GaussianMixture(means, covariances, weights, labels=torch.tensor([0, 1, 0]))
        part = GaussianMixture(means[[0, 2]], covariances[:2], weights[[0, 2]])
        zeros = torch.zeros(4, dtype=torch.int64)
        torch.testing.assert_close(mixture(x, 0.5, zeros), part(x, 0.5), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(mixture.log_prob(x, 0.5, zeros), part.log_prob(x, 0.5), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(mixture(x, 0.5, torch.zeros(4, 2)), mixture(x, 0.5), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize(
        ("means", "covariances", "weights", "message"),
        [
            (torch.zeros(2, 1, 2), torch.eye(2)[None], torch.ones(2), r"need \(2, 2, 2\)"),
            (torch.zeros(1, 1, 2), torch.eye(2)[None], torch.ones(2), r"weights have shape \(2,\) for 1 means"),
            (torch.zeros(1, 1, 2), torch.eye(2)[None], torch.zeros(1), "weights must be positive"),
            (torch.zeros(1, 1, 2), -torch.eye(2)[None], torch.ones(1), "negative eigenvalue -1"),
            (torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.5], [0.0, 1.0]]]), torch.ones(1), "must be symmetric"),
            (torch.full((1, 1, 2), math.nan), torch.eye(2)[None], torch.ones(1), "not finite"),
        ],
    )
    def test_bad_mixtures(self, means: Tensor, covariances: Tensor, weights: Tensor, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            GaussianMixture(means, covariances, weights)
