"""Where training noise is wasted, on data whose best denoisers are known in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.integrate
import scipy.optimize
import scipy.stats
import torch
from torch import Tensor

from elucidiff.data.spectrum import Wiener
from elucidiff.denoisers.ideal import DataPosterior, GaussianMixture
from elucidiff.design.objectives import EDM, VE, Objective
from elucidiff.evaluation.loss_per_sigma import (
    DROWNED,
    IDEAL,
    LINEAR,
    PAYS,
    fisher_distance,
    noise_use,
    training_objective,
)


def gaussian_images(count: int, variances: np.ndarray[Any, Any], seed: int = 0) -> Tensor:
    """Gaussian images with these variances of their cosine coefficients."""
    coefficients = np.random.default_rng(seed).normal(size=(count, *variances.shape)) * np.sqrt(variances)
    return torch.from_numpy(scipy.fft.idctn(coefficients, axes=(2, 3), norm="ortho")).float()


SPECTRUM = (0.25 * 64 / np.array([(1 + i * i + j * j) for i in range(8) for j in range(8)])).reshape(1, 8, 8)


class TestGaussian:
    """All that can be known of Gaussian data is their spectrum, and the Wiener filter knows it."""

    def test_the_filter_reaches_the_error_of_the_closed_form(self) -> None:
        filter_ = Wiener(torch.zeros(1, 1, 8, 8), np.eye(1), SPECTRUM)
        images = gaussian_images(4000, SPECTRUM)
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
        for sigma in (0.1, 1.0, 10.0):
            error = (filter_(images + sigma * noise, sigma) - images).square().mean().item()
            expected = (SPECTRUM * sigma**2 / (SPECTRUM + sigma**2)).mean()
            assert error == pytest.approx(expected, rel=0.03)

    def test_the_filter_is_the_posterior_mean(self) -> None:
        variances = SPECTRUM[:, :3, :4]
        basis = scipy.fft.idctn(np.eye(12).reshape(12, 1, 3, 4), axes=(2, 3), norm="ortho").reshape(12, 12)
        covariance = torch.from_numpy(basis.T @ np.diag(variances.ravel()) @ basis)
        ideal = GaussianMixture(torch.full((1, 1, 3, 4), 0.3), covariance[None], torch.ones(1))
        x = torch.randn(5, 1, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        ours = Wiener(torch.full((1, 1, 3, 4), 0.3).double(), np.eye(1), variances)(x, 0.7)
        torch.testing.assert_close(ours, ideal(x, 0.7), rtol=1e-12, atol=1e-12)

    def test_fitting_finds_the_spectrum_and_the_class_means(self) -> None:
        images = gaussian_images(6000, SPECTRUM)
        classes = torch.arange(6000) % 2
        shifted = images + 3 * classes.reshape(-1, 1, 1, 1)
        fitted = Wiener.fit(shifted, classes, label_dim=2)
        np.testing.assert_allclose(fitted.variances, SPECTRUM, rtol=0.1)
        np.testing.assert_allclose(fitted.means.mean((1, 2, 3)), [0, 3], atol=0.03)
        rows = torch.tensor([[0.0, 1.0]])
        np.testing.assert_allclose(fitted(torch.full((1, 1, 8, 8), 3.0), 1e4, rows).mean(), 3, atol=0.03)

    def test_a_model_that_knows_the_spectrum_gained_nothing(self) -> None:
        images = gaussian_images(1500, SPECTRUM)
        truth = Wiener(torch.zeros(1, 1, 8, 8), np.eye(1), SPECTRUM)
        use = noise_use(truth, images[:200], EDM(), points=images)
        np.testing.assert_allclose(use.model, use.linear, rtol=0.02)
        assert set(use.purpose) == {LINEAR, DROWNED}
        assert (use.useful_share, use.p_mean, use.p_std) == (0.0, None, None)
        assert use.verdict.startswith("Nowhere does this model do better than a linear filter")

    def test_losses_are_those_of_the_closed_form(self) -> None:
        images = gaussian_images(1500, SPECTRUM)
        use = noise_use(lambda x, sigma: torch.zeros_like(x), images[:200], EDM(), points=images)
        weight = EDM().weight(torch.from_numpy(use.sigma)).numpy()
        noise = use.sigma[:, None] ** 2
        linear = (SPECTRUM.ravel() * noise / (SPECTRUM.ravel() + noise)).mean(1)
        np.testing.assert_allclose(use.linear, weight * linear, rtol=0.1)
        np.testing.assert_allclose(use.model, weight * SPECTRUM.mean(), rtol=0.1)


def two_points(distance: float, count: int = 200) -> Tensor:
    """Images of which all values are +a or all are -a, with |y| = ``distance``; as many of each."""
    signs = torch.tensor([1.0, -1.0]).repeat(count // 2)
    return signs.reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4) * distance / 4


def posterior_error(snr: float) -> float:
    """Smallest mean squared error, over |y|^2, of a sign in Gaussian noise: 1 - E tanh(snr + sqrt(snr) z)."""
    return scipy.integrate.quad(
        lambda z: (1 - math.tanh(snr + math.sqrt(snr) * z)) * scipy.stats.norm.pdf(z), -9, 9, limit=200
    )[0]


def transition() -> float:
    """sigma / |y| at which the ideal denoiser is 5% better than the linear one."""
    return float(scipy.optimize.brentq(lambda snr: posterior_error(snr) * (1 + snr) - 0.95, 0.01, 3) ** -0.5)


class TestTwoPoints:
    """The ideal error and the linear one, 1 / (1 + snr) with snr = |y|^2 / sigma^2, part at a known noise level."""

    @pytest.mark.parametrize("distance", [0.5, 8.0])
    def test_noise_drowns_the_points_above_the_transition(self, distance: float) -> None:
        images = two_points(distance, 1000)
        use = noise_use(DataPosterior(images[:2]), images, EDM(), points=images[:2], level_count=121, batch_size=1000)
        drowned = use.sigma[np.array(use.purpose) == DROWNED]
        step = use.sigma[1] / use.sigma[0]
        assert drowned.min() == pytest.approx(transition() * distance, rel=1.2 * (step - 1))
        assert drowned.max() == use.sigma[-1]

    def test_the_ideal_denoiser_leaves_nothing_to_learn(self) -> None:
        images = two_points(2.0)
        use = noise_use(DataPosterior(images[:2]), images, EDM())
        assert set(use.purpose) == {IDEAL, DROWNED}
        assert use.shares[PAYS] == 0
        assert "the model has reached the ideal, so more training there is in vain" in use.verdict

    def test_a_filter_with_the_data_s_variance_is_linear(self) -> None:
        images = two_points(2.0)
        use = noise_use(Wiener.fit(images), images, EDM())
        assert set(use.purpose) == {LINEAR, DROWNED}


@pytest.fixture(scope="module")
def clusters() -> tuple[Tensor, GaussianMixture]:
    """Two tight Gaussians, 0.1 wide and 8 apart, and their ideal denoiser: knowledge helps between these scales."""
    means = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1).expand(2, 1, 4, 4).double()
    mixture = GaussianMixture(means, 0.01 * torch.eye(16).expand(2, 16, 16).double(), torch.ones(2))
    return mixture.sample(1000, torch.Generator().manual_seed(0)).float(), mixture


class TestSuggestion:
    def test_the_gain_lies_between_the_two_scales(self, clusters: tuple[Tensor, GaussianMixture]) -> None:
        images, ideal = clusters
        use = noise_use(ideal, images[:200], EDM(p_mean=0.0), points=images)
        gained = use.sigma[np.isin(use.purpose, (PAYS, IDEAL))]
        # Of 16 directions the linear denoiser lacks but the sign: per value and over sigma^2 its error is
        # 1/16 + 15/16 r with r = 0.01 / (0.01 + sigma^2), the ideal one r; 5% less is at r = 0.543.
        lowest, step = 0.1 * (1 / 0.543 - 1) ** 0.5, use.sigma[1] / use.sigma[0]
        assert lowest / step < gained.min() < lowest * step**1.5
        assert transition() * 4 / step**1.5 < gained.max() < transition() * 4 * step

    @pytest.mark.parametrize(("p_mean", "p_std"), [(4.0, 1.0), (-5.0, 1.2), (0.0, 3.0)])
    def test_the_nearest_distribution_that_wastes_little(
        self, clusters: tuple[Tensor, GaussianMixture], p_mean: float, p_std: float
    ) -> None:
        images, ideal = clusters
        use = noise_use(ideal, images[:200], EDM(p_mean=p_mean, p_std=p_std), points=images)
        gained = np.isin(use.purpose, (PAYS, IDEAL))
        assert np.diff(gained.astype(int)).tolist().count(1) == 1  # one interval
        logs = np.log(use.sigma)
        half = (logs[1] - logs[0]) / 2
        low, high = logs[gained][0] - half, logs[gained][-1] + half
        assert use.p_mean is not None
        assert use.p_std is not None

        def share(mean: float, width: float) -> float:
            normal = scipy.stats.norm(mean, width)
            return float(normal.cdf(high) - normal.cdf(low))

        def cost(x: Any) -> float:
            return float(((x[0] - p_mean) / p_std) ** 2 + 2 * math.log(x[1] / p_std) ** 2)

        assert use.suggested_share == pytest.approx(share(use.p_mean, use.p_std), abs=1e-6)
        assert use.suggested_share >= 0.95
        best = scipy.optimize.minimize(
            cost,
            [0.0, 1.0],
            bounds=[(-6, 6), (0.8, 1.8)],
            constraints={"type": "ineq", "fun": lambda x: share(*x) - 0.95},
        )
        assert cost((use.p_mean, use.p_std)) == pytest.approx(best.fun, rel=0.1, abs=0.05)
        assert f"P_mean {use.p_mean:.2f}, P_std {use.p_std:.2f}" in use.verdict

    def test_a_distribution_that_wastes_nothing_stays(self, clusters: tuple[Tensor, GaussianMixture]) -> None:
        images, ideal = clusters
        use = noise_use(ideal, images[:200], EDM(p_mean=-0.4, p_std=0.8), points=images)
        assert use.useful_share > 0.95
        assert (use.p_mean, use.p_std) == (pytest.approx(-0.4, abs=0.02), pytest.approx(0.8, abs=0.02))
        assert use.verdict.endswith("P_mean and P_std waste hardly any training.")

    def test_shares_are_those_of_p_train(self, clusters: tuple[Tensor, GaussianMixture]) -> None:
        images, ideal = clusters
        use = noise_use(ideal, images[:200], VE(sigma_min=0.02, sigma_max=100), points=images, level_count=60)
        assert sum(use.shares.values()) == pytest.approx(1)
        edge = use.sigma[np.array(use.purpose) == DROWNED].min()
        assert use.shares[DROWNED] == pytest.approx(math.log(100 / edge) / math.log(5000), abs=0.02)


@pytest.mark.parametrize(("shift", "factor"), [(0.01, 1.0), (0.0, 1.01), (0.006, 0.992), (-0.004, 1.01)])
def test_nearness_of_p_train_is_twice_the_divergence_of_neighbours(shift: float, factor: float) -> None:
    """KL(N(m, s^2) || N(m', s'^2)) by quadrature of its definition, to second order half of Fisher's distance."""
    one, other = scipy.stats.norm(-1.2, 0.9), scipy.stats.norm(-1.2 + shift, 0.9 * factor)
    divergence = scipy.integrate.quad(
        lambda x: one.pdf(x) * (one.logpdf(x) - other.logpdf(x)), -11, 9, epsabs=1e-13, limit=200
    )[0]
    found = fisher_distance(-1.2, 0.9, np.array([-1.2 + shift]), np.array([0.9 * factor]))
    assert found[0] == pytest.approx(2 * divergence, rel=0.03)


def test_classes_are_known_to_all_denoisers() -> None:
    """Points that only their class tells: with labels even the linear denoiser makes no error worth learning."""
    images = two_points(2.0, 40)
    classes = (images[:, 0, 0, 0] < 0).long()
    rows = torch.nn.functional.one_hot(classes, 2).float()
    images = images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    wiener = Wiener.fit(images, classes, 2)
    use = noise_use(wiener, images, EDM(), labels=rows, point_classes=classes)
    high = use.sigma > 2
    weight = EDM().weight(torch.from_numpy(use.sigma)).numpy()
    np.testing.assert_allclose(use.linear[high] / weight[high], 0.01, rtol=0.15)
    np.testing.assert_allclose(use.memory[high] / weight[high], 0.01, rtol=0.3)
    with pytest.raises(ValueError, match="give both or none"):
        noise_use(wiener, images, EDM(), labels=rows)


def test_the_range_of_the_model_is_kept() -> None:
    class Limited(torch.nn.Module):
        sigma_min, sigma_max = 0.1, 2.0

        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            assert 0.1 <= float(sigma) <= 2.0
            return x

    images = two_points(2.0, 40)
    assert noise_use(Limited(), images, EDM()).sigma[[0, -1]].tolist() == pytest.approx([0.1, 2.0], rel=0.5)
    Limited.sigma_min, Limited.sigma_max = 1e5, 1e6
    with pytest.raises(ValueError, match=r"takes noise levels 100000 to 1e\+06, but those of these data"):
        noise_use(Limited(), images, EDM())


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (
            {"objective": {"type": "edm", "p_mean": -0.5, "p_std": 1.0, "sigma_data": 0.7}, "lr": 1},
            EDM(-0.5, 1.0, 0.7),
        ),
        ({"objective": {"type": "ve"}}, VE()),
        ({"objective": {"type": "unheard_of"}}, None),
        ({"objective": {"type": "edm", "p_mean": "x"}}, None),
        ({"objective": "edm"}, None),
        ({}, None),
    ],
)
def test_what_a_model_tells_of_its_training(training: dict[str, Any], expected: Objective | None) -> None:
    assert training_objective({"provenance": {"training": training}}) == expected
