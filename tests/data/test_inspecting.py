"""Measurements and recommendations, on data whose statistics are known."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
import scipy.integrate
import scipy.stats
import torch
from PIL import Image

from elucidiff import data
from elucidiff.data import AsStored, Dataset, Report
from elucidiff.data import inspection as duplicates
from elucidiff.data.inspection import exact_groups, near_pairs
from elucidiff.data.recommending import recommend_resolution, recommend_sigma_max, recommend_training_noise
from elucidiff.data.spectrum import error_curve, linear_error_curve
from tests.data.pictures import encoded, noise, write

Floats = npt.NDArray[np.float64]


def gaussian_images(count: int, variances: Floats, seed: int = 0) -> Floats:
    """Gaussian images with these variances of their cosine coefficients, and independent channels."""
    coefficients = np.random.default_rng(seed).normal(size=(count, *variances.shape)) * np.sqrt(variances)
    return np.asarray(scipy.fft.idctn(coefficients, axes=range(2, coefficients.ndim), norm="ortho"))


def natural_variances() -> Floats:
    """Power falls with the square of the frequency (Field 1987); most of the variance is in the brightness."""
    frequency = np.arange(32)
    squared = frequency[:, None] ** 2.0 + frequency[None] ** 2.0
    squared[0, 0] = 1
    variances = np.array([0.93, 0.055, 0.015])[:, None, None] / squared
    return np.asarray(variances * 0.25 / variances.mean())


def cifar10_variances() -> Floats:
    """Those of CIFAR-10 (JPEG), averaged over directions, of 6,000 images, for the three principal colours."""
    frequency = (0, 1, 2, 4, 8, 12, 16, 24, 32, 44)
    measured = (
        (1.9e2, 44, 25, 5.6, 1.0, 0.38, 0.17, 0.036, 7.5e-3, 1.1e-3),
        (30, 2.3, 1.4, 0.27, 0.017, 2.1e-3, 4.7e-4, 9.9e-5, 4.1e-5, 2.5e-5),
        (5.6, 0.45, 0.34, 0.068, 8.3e-3, 1.1e-3, 1.7e-4, 4.0e-5, 2.3e-5, 1.5e-5),
    )
    radius = np.hypot(*np.mgrid[:32, :32])
    return np.exp(np.stack([np.interp(radius, frequency, np.log(colour)) for colour in measured]))


def opened(tmp_path: Path, array: Any, labels: Any = None, name: str = "x") -> data.Dataset:
    np.savez(tmp_path / f"{name}.npz", **({"images": array} | ({} if labels is None else {"labels": labels})))
    return data.open(tmp_path / f"{name}.npz")


def as_stored(dataset: Dataset) -> Report:
    """The report of data that are in the units of noise levels already."""
    return data.inspect(dataset, normalise=AsStored())


def test_moments_and_counts(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (700, 3, 6, 5), np.uint8)
    images[:, 1] //= 3
    labels = np.random.default_rng(1).integers(0, 4, 700)
    report = data.inspect(opened(tmp_path, images, labels))
    unit = images / 127.5 - 1
    assert report.mean == pytest.approx(unit.mean(), abs=1e-7)
    assert report.sigma_data == pytest.approx(np.sqrt(unit.var((0, 2, 3)).mean()), abs=1e-7)
    assert report.channel_means == pytest.approx(unit.mean((0, 2, 3)), abs=1e-7)
    assert report.channel_sigmas == pytest.approx(unit.std((0, 2, 3)), abs=1e-7)
    centred = unit - unit.mean((0, 2, 3), keepdims=True)
    assert report.norm == pytest.approx(np.sqrt((centred**2).sum((1, 2, 3)).mean()), rel=1e-6)
    assert (report.lowest, report.highest) == (-1, 1)
    assert report.class_counts == tuple(np.bincount(labels))
    assert (report.count, report.shape, report.dtype, report.sizes) == (700, (3, 6, 5), "uint8", {(3, 6, 5): 700})
    flat = unit.reshape(700, -1)
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    assert report.largest_distance == pytest.approx(distances.max(), rel=1e-4)
    np.fill_diagonal(distances, np.inf)
    assert report.nearest_distance == pytest.approx(np.median(distances.min(1)), rel=1e-3)


def test_channels_that_differ_are_pointed_out(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(300, 3, 4, 4)).astype(np.float32)
    for scales, says in (((1, 1, 1.5), None), ((1, 1, 5), "1 to 5, and one value"), ((1, 1, 0), "the same value")):
        report = as_stored(opened(tmp_path, images * np.reshape(scales, (3, 1, 1)).astype(np.float32)))
        reason = report.recommendations[0].reason
        assert (says in reason) if says else ("the channels have" not in reason)


def test_two_clusters_are_told_apart_between_their_width_and_their_distance(tmp_path: Path) -> None:
    """Of points +-a with a little spread e: the gain is 1 between e and about |a|, so its middle is known."""
    p_means = []
    for spread, distance in ((0.01, 4.0), (0.01, 40.0), (0.1, 4.0)):
        random = np.random.default_rng(0)
        signs = random.choice([-1.0, 1.0], (1500, 1, 16))
        images = signs[..., :1] * distance / 4 + spread * random.normal(size=(1500, 1, 16))
        report = as_stored(opened(tmp_path, images.astype(np.float32)))
        sigma, gain = report.curve.sigma, report.curve.gain
        inside = sigma[gain > 0.5]
        # The scalar denoiser's error is sigma^2 there, the best one's spread^2: half of it at sigma = spread.
        assert inside.min() == pytest.approx(spread, rel=0.5)
        assert distance / 3 < inside.max() < distance
        p_means.append(report.recommended("p_mean"))
    # The middle of the range moves by half of what one of its ends does.
    assert p_means[1] - p_means[0] == pytest.approx(math.log(10) / 2, abs=0.15)
    assert p_means[2] - p_means[0] == pytest.approx(math.log(10) / 2, abs=0.15)


def test_images_with_the_spectrum_of_cifar10_get_the_settings_of_the_paper(tmp_path: Path) -> None:
    """Karras et al. 2022, Table 1, found by search: sigma_data 0.5, sigma 0.002 to 80, P_mean -1.2, P_std 1.2."""
    report = as_stored(opened(tmp_path, gaussian_images(1500, cifar10_variances()).astype(np.float32)))
    assert report.recommended("sigma_data") == pytest.approx(0.5, abs=0.02)
    assert report.recommended("sigma_min") == pytest.approx(0.002, abs=1e-4)
    assert report.recommended("sigma_max") == pytest.approx(80, abs=3)
    assert report.recommended("p_mean") == pytest.approx(-1.2, abs=0.1)
    assert report.recommended("p_std") == pytest.approx(1.2, abs=0.1)


def test_without_correlations_the_settings_are_the_paper_s_in_units_of_the_data(tmp_path: Path) -> None:
    """And on the way there they come close step by step: where little is to be gained, the paper's prevail."""
    variances = np.full((1, 12, 12), 0.25)
    p_mean = []
    for share in (0.6, 0.2, 0.05):
        variances[0, :2, :2] = 0.25 * (1 + 35 * share)
        variances[0, 2:], variances[0, :2, 2:] = 0.25 * (1 - share), 0.25 * (1 - share)
        curve = linear_error_curve(variances)
        found = [each.value for each in recommend_training_noise(curve, 0.5)]
        centre, width = curve.gain_moments() or (math.nan, math.nan)
        known = curve.gain.max() / 0.83
        assert found == pytest.approx(
            [known * centre + (1 - known) * -1.2, max(0.8, 1.2 * (known * width / 2.19 + 1 - known))], rel=0.05
        )
        p_mean.append(found[0])
    assert p_mean[0] > p_mean[1] > p_mean[2] > -1.2


def test_a_mean_changes_no_setting(tmp_path: Path) -> None:
    images = gaussian_images(400, natural_variances()[:, :8, :8])
    offset = np.array([30.0, -7.0, 0.5]).reshape(3, 1, 1)
    plain, moved = (
        as_stored(opened(tmp_path, (images + by).astype(np.float64), name=f"x{index}"))
        for index, by in enumerate((0 * offset, offset))
    )
    assert moved.mean == pytest.approx(23.5 / 3, abs=0.1)
    assert moved.norm == pytest.approx(plain.norm, rel=1e-5)
    for setting in ("sigma_data", "sigma_min", "sigma_max", "p_mean", "p_std"):
        assert moved.recommended(setting) == pytest.approx(plain.recommended(setting), rel=0.01)
    assert "the mean, 7.8, is far from 0" in moved.recommendations[0].reason


def test_settings_move_with_the_unit_of_the_data(tmp_path: Path) -> None:
    variances = natural_variances()[:, :8, :8]
    images = gaussian_images(400, variances).astype(np.float32)
    one, three = (as_stored(opened(tmp_path, scale * images, name=f"x{scale}")) for scale in (1, 3))
    for setting in ("sigma_data", "sigma_min", "sigma_max"):
        assert three.recommended(setting) == pytest.approx(3 * one.recommended(setting), rel=0.05)
    assert three.recommended("p_mean") - one.recommended("p_mean") == pytest.approx(math.log(3), abs=0.006)
    assert three.recommended("p_std") == one.recommended("p_std")


def test_smoother_images_are_trained_at_higher_noise(tmp_path: Path) -> None:
    frequency = np.sqrt(np.arange(16)[:, None] ** 2.0 + np.arange(16) ** 2.0 + 1)
    p_mean = []
    for power in (1.0, 2.0, 3.0):
        variances = (frequency**-power)[None]
        # No pixel noise: what is lost from fine detail is gained by coarse structure, the variance is the same.
        images = gaussian_images(600, variances * 0.25 / variances.mean()).astype(np.float32)
        p_mean.append(as_stored(opened(tmp_path, images, name=f"x{power}")))
    coarse = [report.curve.gain[np.searchsorted(report.curve.sigma, 1.0)] for report in p_mean]
    assert coarse[0] < coarse[1] < coarse[2]


def test_independent_values_leave_nothing_to_learn(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(scale=2.0, size=(800, 1, 12, 12)).astype(np.float32)
    report = as_stored(opened(tmp_path, images))
    assert report.recommended("p_mean") == pytest.approx(-1.2 + math.log(4), abs=0.01)
    assert report.recommended("p_std") == 1.2
    reason = next(found.reason for found in report.recommendations if found.setting == "p_mean")
    assert reason.startswith("the values are as good as independent")


def test_the_linear_error_is_that_of_the_wiener_filter() -> None:
    variances = np.array([4.0, 0.01]).reshape(1, 2)
    curve = linear_error_curve(variances)
    s2 = curve.sigma**2
    assert np.allclose(curve.linear, (4 * s2 / (4 + s2) + 0.01 * s2 / (0.01 + s2)) / 2, rtol=1e-12)
    assert np.allclose(curve.scalar, 2.005 * s2 / (2.005 + s2), rtol=1e-12)


@pytest.mark.parametrize(
    ("variances", "within"),
    [
        # The noise levels must reach below the weakest of directions whose stds differ by a factor of 300,
        ([1.0] * 7 + [300.0**-2] * 25, 0.015),
        # and above a single one that has most of the variance of a picture of 32 x 32.
        ([1024.0] + [1e-3] * 1023, 0.02),
    ],
)
def test_where_the_gain_lies_is_what_an_integral_over_all_noise_levels_gives(
    variances: list[float], within: float
) -> None:
    found, counts = np.unique(variances, return_counts=True)
    mean = np.average(found, weights=counts)

    def gain(log: float) -> float:
        noise = math.exp(2 * log)
        return float(1 - np.average(found / (found + noise), weights=counts) * (mean + noise) / mean)

    zeroth, first, second = (
        scipy.integrate.quad(lambda x, n=n: x**n * gain(x), -30, 30, limit=500, points=[-12, -8, -4, 0, 4])[0]
        for n in range(3)
    )
    centre = first / zeroth
    curve = linear_error_curve(np.array(variances).reshape(1, -1))
    assert curve.gain_moments() == pytest.approx((centre, math.sqrt(second / zeroth - centre**2)), abs=within)
    # Three levels and more to each factor of e.
    assert np.diff(np.log(curve.sigma)).max() < 1 / 3


def test_chance_is_three_standard_errors_of_a_mean_square() -> None:
    """Of n independent values it is that of chi square with n degrees of freedom, over n; a quarter are held out."""
    for count, held_out in ((40, 10), (2000, 256)):
        images = torch.randn(count, 1, 3, generator=torch.Generator().manual_seed(0))
        curve = error_curve(images, torch.Generator().manual_seed(0))
        values = 3 * held_out
        assert curve.chance == pytest.approx(3 * scipy.stats.chi2(values).std() / values, rel=1e-6)
    many = torch.randn(1200, 1, 800, generator=torch.Generator().manual_seed(0))
    assert error_curve(many, torch.Generator().manual_seed(0)).chance == 0.01  # a percent, where values abound


def test_the_measured_curve_agrees_with_the_true_one() -> None:
    variances = natural_variances()[:, :12, :12]
    images = torch.from_numpy(gaussian_images(2000, variances)).float()
    generator = torch.Generator().manual_seed(0)
    measured, true = error_curve(images, generator), linear_error_curve(variances)
    expected = np.interp(np.log(measured.sigma), np.log(true.sigma), true.linear)
    assert np.allclose(measured.linear, expected, rtol=0.03)
    assert measured.gain_moments() == pytest.approx(true.gain_moments(), abs=0.03)


def test_fewer_samples_than_show_how_samples_vary() -> None:
    """Of equal pictures, or two, what is known is the spectrum of their values about the channels' means."""
    variances = natural_variances()[:, :8, :8]
    one = torch.from_numpy(gaussian_images(1, variances)).float()
    for samples in (one, one.expand(5, -1, -1, -1), torch.cat([one, 2 * one])):
        curve = error_curve(samples, torch.Generator().manual_seed(0))
        distinct = torch.unique(samples, dim=0)
        spread = float((distinct - distinct.mean((0, 2, 3), keepdim=True)).square().mean())
        assert curve.scalar[-1] == pytest.approx(1 / (1 / spread + 1 / curve.sigma[-1] ** 2), rel=1e-3)
        assert np.all(curve.linear <= curve.scalar * (1 + 1e-9))
        assert curve.gain_moments() is not None
    with pytest.raises(ValueError, match="one value everywhere"):
        error_curve(torch.ones(4, 3, 8, 8), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("different", [1, 2])
def test_equal_pictures_and_two_are_inspected(tmp_path: Path, different: int) -> None:
    images = np.concatenate([noise(0, 16, 16).transpose(2, 0, 1)[None]] * 4)
    images[: different - 1] //= 2
    report = as_stored(opened(tmp_path, images))
    assert report.duplicates == ((different - 1, *range(different, 4)),)
    assert all(math.isfinite(each.value) for each in report.recommendations)
    assert report.recommended("sigma_data") == pytest.approx(report.sigma_data, rel=0.03)


def test_the_posterior_error_goes_from_the_nearest_neighbour_to_the_mean() -> None:
    images = torch.randn(400, 2, 3, generator=torch.Generator().manual_seed(1))
    curve = error_curve(images, torch.Generator().manual_seed(2))
    shuffled = images.unique(dim=0)[torch.randperm(400, generator=torch.Generator().manual_seed(2))]
    held_out, known = shuffled[:100].flatten(1), shuffled[100:].flatten(1)
    nearest = torch.cdist(held_out, known).amin(1).square().mean() / 6
    assert curve.posterior[0] == pytest.approx(nearest.item(), rel=1e-3)
    assert curve.posterior[-1] == pytest.approx((held_out - known.mean(0)).square().mean().item(), rel=0.01)


def test_classes_of_points_are_found_by_the_posterior(tmp_path: Path) -> None:
    """Tight clusters 28 apart: linear denoising cannot tell them apart, the posterior can, at sigma 2."""
    centres = 20 * np.eye(8)
    points = (
        centres[np.random.default_rng(0).integers(0, 8, 1000)] + np.random.default_rng(1).normal(size=(1000, 8)) / 10
    )
    curve = as_stored(opened(tmp_path, points.astype(np.float32))).curve
    at_two = np.searchsorted(curve.sigma, 2.0)
    assert curve.posterior[at_two] == pytest.approx(
        0.01, rel=0.05
    )  # the spread within a cluster is all it cannot know
    assert curve.linear[at_two] > 3


def test_sigma_max_hides_the_farthest_samples() -> None:
    assert recommend_sigma_max(0.5 * math.sqrt(3072), 50).value == 80
    assert recommend_sigma_max(1.0, 7.0).value == 7
    assert "largest distance" in recommend_sigma_max(1.0, 7.0).reason


def test_duplicates(tmp_path: Path) -> None:
    variances = natural_variances()
    images = np.clip(gaussian_images(300, variances) * 100 + 128, 0, 255).round().astype(np.uint8)
    images[7] = images[2]
    images[9] = images[2]
    images[100] = images[50]
    jpeg = Image.open(io.BytesIO(encoded(images[20].transpose(1, 2, 0), "jpeg", quality=80)))
    images[200] = np.asarray(jpeg).transpose(2, 0, 1)
    small = Image.fromarray(images[30].transpose(1, 2, 0)).resize((24, 24), Image.Resampling.BICUBIC)
    images[210] = np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    report = data.inspect(opened(tmp_path, images))
    assert report.duplicates == ((2, 7, 9), (50, 100))
    assert report.near_duplicates == ((20, 200), (30, 210))


def test_colours_that_nobody_sees(tmp_path: Path) -> None:
    """Under transparent pixels they are reported, and pictures that differ by them alone are nearly equal."""
    random = np.random.default_rng(0)
    images = np.clip(gaussian_images(80, natural_variances()) * 100 + 128, 0, 255).round().astype(np.uint8)
    images = np.concatenate([images, np.full((80, 1, 32, 32), 255, np.uint8)], 1)
    images[:6, 3, :16], images[:6, :3, :16] = 0, 0
    assert data.inspect(opened(tmp_path, images)).hidden == 0
    images[2, :3, :16] = random.integers(0, 256, (3, 16, 32))
    images[9], images[9, :3, :16] = images[2], 77
    images[9, 0, 0, 0] = 78
    report = data.inspect(opened(tmp_path, images))
    assert report.hidden == 2
    assert report.near_duplicates == ((2, 9),)


def test_near_duplicates_of_more_images_than_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    small = np.random.default_rng(0).normal(scale=40, size=(500, 64)).astype(np.float32)
    small[401], small[480], small[7] = small[3] + 1, small[3] - 1, small[6] + 2.5
    whole = near_pairs(small)
    assert whole == [(3, 401), (3, 480)]
    monkeypatch.setattr(duplicates, "_AT_ONCE", 90)
    assert near_pairs(small) == whole


def test_equal_images_of_any_number_are_grouped() -> None:
    digests = np.random.default_rng(0).integers(0, 256, (300, 16), np.uint8)
    assert exact_groups(digests) == []
    digests[[7, 150, 299]], digests[[4, 5]] = digests[7], digests[5]
    assert exact_groups(digests) == [[4, 5], [7, 150, 299]]
    assert exact_groups(digests[:0]) == exact_groups(digests[:1]) == []


def test_signals_and_volumes(tmp_path: Path) -> None:
    for shape in ((2, 40), (1, 4, 5, 6), (5,)):
        array = np.random.default_rng(0).normal(scale=0.5, size=(60, *shape)).astype(np.float32)
        array[3] = array[1]
        report = data.inspect(opened(tmp_path, array))
        assert report.duplicates == ((1, 3),)
        assert report.near_duplicates == ()
        own = array.std(tuple(axis for axis in range(array.ndim) if axis != 1))
        assert report.sigma_data == pytest.approx(np.sqrt(np.mean(own**2)), rel=1e-5)
        assert [found.setting for found in report.recommendations] == [
            "sigma_data", "sigma_min", "sigma_max", "p_mean", "p_std",
        ]  # fmt: skip


def test_broken_images_and_mixed_sizes(tmp_path: Path) -> None:
    for index in range(40):
        write(tmp_path / ("cat" if index < 15 else "dog") / f"{index:02d}.png", noise(index, 20 + index % 5, 30))
    (tmp_path / "cat" / "03.png").write_bytes(b"")
    (tmp_path / "dog" / "39.png").write_bytes(encoded(noise(39, 40, 40))[:2000])
    report = data.inspect(tmp_path)
    assert [text.split(":")[0] for text in report.broken] == [
        f"cannot read image {tmp_path}/cat/03.png",
        f"cannot read image {tmp_path}/dog/39.png",
    ]
    assert (report.count, report.class_counts, report.class_names) == (38, (14, 24), ("cat", "dog"))
    assert report.sizes == {
        (3, 20, 30): 8,
        (3, 21, 30): 8,
        (3, 22, 30): 8,
        (3, 23, 30): 7,
        (3, 24, 30): 7,
        (3, 40, 40): 1,
    }
    assert report.shape == (3, 20, 20)
    assert report.recommended("resolution") == 20


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({(3, 28, 28): 9}, 28),
        ({(1, 8, 8): 9}, 8),
        ({(3, 6, 6): 9}, 8),
        ({(3, 30, 30): 9}, 28),
        ({(3, 500, 400): 9}, 64),
        ({(3, 50, 50): 1, (3, 60, 70): 99}, 60),
        ({(3, 50, 50): 10, (3, 60, 70): 90}, 48),
        ({(3, 8, 8): 1, (3, 60, 70): 9}, 60),
        ({(3, 8, 8): 1, (3, 64, 64): 2}, 64),
        ({(3, 16, 16): 2, (3, 64, 64): 8}, 16),
        ({(3, 8, 8): 1, (3, 64, 64): 1}, 8),
        ({(2, 40): 3}, None),
    ],
)
def test_resolution(sizes: dict[tuple[int, ...], int], expected: int | None) -> None:
    found = recommend_resolution(sizes, None)
    assert (found and found.value) == expected


def test_images_that_were_enlarged_need_no_such_resolution(tmp_path: Path) -> None:
    variances = natural_variances().copy()
    sharp = np.clip(gaussian_images(200, variances) * 100 + 128, 0, 255).round().astype(np.uint8)
    variances[:, 16:] = variances[:, :, 16:] = 0
    soft = np.clip(gaussian_images(200, variances) * 60 + 128, 0, 255).round().astype(np.uint8)
    assert data.inspect(opened(tmp_path, sharp)).recommended("resolution") == 32
    assert data.inspect(opened(tmp_path, soft)).recommended("resolution") == 16


def test_a_few_independent_values_are_no_pattern(tmp_path: Path) -> None:
    """From 50 points of 3 values, chance alone makes a gain of some percent."""
    for seed in range(5):
        images = np.random.default_rng(seed).normal(size=(50, 3)).astype(np.float32)
        reason = next(
            found.reason
            for found in data.inspect(opened(tmp_path, images)).recommendations
            if found.setting == "p_mean"
        )
        assert reason.startswith("the values are as good as independent")


def test_values_that_are_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"every value in x is -0\.5: there is nothing to learn"):
        data.inspect(opened(tmp_path, np.full((5, 1, 4), -0.5, np.float32)))


def test_the_same_seed_gives_the_same_report() -> None:
    dataset = data.open("digits")
    first, again, other = data.inspect(dataset), data.inspect(dataset), data.inspect(dataset, seed=1)
    assert first.recommendations == again.recommendations
    assert np.array_equal(first.curve.posterior, again.curve.posterior)
    assert not np.array_equal(first.curve.posterior, other.curve.posterior)
    assert first.recommended("p_mean") == pytest.approx(other.recommended("p_mean"), abs=0.15)


def test_too_few_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x holds 1 images that can be read; at least 2 are needed"):
        data.inspect(opened(tmp_path, np.zeros((1, 1, 4), np.uint8)))
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match="f holds no image that is not broken"):
        data.inspect(tmp_path / "f")


def test_progress(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    data.inspect("digits", progress=lambda *arguments: calls.append(arguments))
    assert calls[-1] == ("measuring", 1797, 1797)
    assert [done for _, done, _ in calls] == sorted({done for _, done, _ in calls})
