"""Power-function averages and their reconstruction after the training, against averages tracked directly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from elucidiff.training.ema import WeightAverage
from elucidiff.training.posthoc_ema import (
    PowerFunction,
    Profile,
    combination,
    fit_error,
    gamma_of_width,
)
from tests.golden_files import load

SETS, TABLES = load("h_ema/posthoc")
WALKS, WALK_TABLES = load("h_ema/posthoc_walks")


def table(tables: dict[str, torch.Tensor], prefix: str) -> dict[str, np.ndarray]:
    """The tensors of one case, as NumPy arrays under their last names."""
    return {name.removeprefix(prefix): value.numpy() for name, value in tables.items() if name.startswith(prefix)}


def stored(case: dict[str, np.ndarray]) -> list[Profile]:
    pairs = zip(case["stored_widths"].tolist(), case["stored_images"].tolist(), strict=True)
    return [Profile(width, images) for width, images in pairs]


@given(st.floats(0.005, 0.28))
def test_gamma_gives_the_width(sigma_rel: float) -> None:
    gamma = gamma_of_width(sigma_rel)
    assert gamma > -1
    assert (gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)) == pytest.approx(sigma_rel**2, rel=1e-9)


@pytest.mark.parametrize(("sigma_rel", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_gamma_of_the_usual_widths(sigma_rel: float, gamma: float) -> None:
    assert gamma_of_width(sigma_rel) == pytest.approx(gamma, abs=0.005)


def test_exponents_of_the_reference() -> None:
    for sigma_rel, gamma in zip(
        TABLES["width_to_exponent/sigma_rel"].tolist(), TABLES["width_to_exponent/exponent"].tolist(), strict=True
    ):
        assert gamma_of_width(sigma_rel) == pytest.approx(gamma, rel=1e-8, abs=1e-8)
    assert gamma_of_width(12**-0.5) == pytest.approx(0, abs=1e-8)  # uniform: as wide as an average can be


def test_updates_of_the_reference() -> None:
    columns = (TABLES[f"beta/{name}"].tolist() for name in ("sigma_rel", "batch", "nimg_after", "beta"))
    for sigma_rel, batch, after, beta in zip(*columns, strict=True):
        assert PowerFunction(sigma_rel).beta(after - batch, batch) == pytest.approx(beta, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("index", range(len(SETS["sets"])))
def test_coefficients_of_the_reference(index: int) -> None:
    case = table(TABLES, f"set_{index}/")
    snapshots = stored(case)
    for width, images, expected in zip(
        case["wanted_width"].tolist(), case["wanted_images"].tolist(), case["coefficients"], strict=True
    ):
        coefficients = combination(snapshots, Profile(width, images))
        np.testing.assert_allclose(coefficients, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
        assert coefficients.sum() == pytest.approx(1, abs=1e-12)
    later = table(TABLES, f"set_{index}/with_later/")
    for width, expected in zip(later.get("wanted_width", ()), later.get("coefficients", ()), strict=True):
        wanted = Profile(float(width), int(later["wanted_images"]))
        coefficients = combination(snapshots, wanted, with_later=True)
        np.testing.assert_allclose(coefficients, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("index", range(len(WALKS["walks"])))
def test_walks_of_the_reference(index: int) -> None:
    case = table(WALK_TABLES, f"walk_{index}/")
    snapshots = stored(case)
    for row, width in enumerate(case["wanted_width"].tolist()):
        coefficients = combination(snapshots, Profile(width, int(case["stored_images"].max())))
        np.testing.assert_allclose(coefficients, case["coefficients"][row], rtol=0, atol=1e-9)
        reconstruction, direct = coefficients @ case["stored"], case["direct"][row]
        np.testing.assert_allclose(reconstruction, case["reconstruction"][row], rtol=0, atol=1e-9)
        error = np.linalg.norm(reconstruction - direct) / np.linalg.norm(direct)
        assert error <= case["rel_error"][row] + 1e-12


@pytest.mark.parametrize("width", [0.0, -0.1, 0.29, 1e-200, float("nan")])
def test_impossible_widths_are_refused(width: float) -> None:
    with pytest.raises(ValueError, match="width"):
        gamma_of_width(width)


def test_updates_give_the_integral() -> None:
    """A weight that is 1 in the second half alone has the share 1 - (1/2)^(gamma + 1) of the profile."""
    network = nn.Linear(1, 1, bias=False).double()
    average = WeightAverage(network, PowerFunction(0.1))
    for step in range(100):
        nn.init.constant_(network.weight, float(step >= 50))
        average.update(64 * step, 64)
    expected = 1 - 0.5 ** (gamma_of_width(0.1) + 1)
    assert average.network.weight.item() == pytest.approx(expected, rel=1e-12)


def test_a_snapshot_is_its_own_combination() -> None:
    snapshots = [Profile(width, images) for width in (0.05, 0.10) for images in (1000, 2000, 3000)]
    for index, wanted in enumerate(snapshots):
        np.testing.assert_allclose(combination(snapshots, wanted), np.eye(6)[index], atol=1e-6)


@pytest.mark.parametrize("width", [0.05, 0.07, 0.10, 0.15])
def test_reconstruction_is_the_directly_tracked_average(width: float) -> None:
    torch.manual_seed(0)
    network = nn.Linear(20, 20).double()
    profiles = [PowerFunction(0.05), PowerFunction(0.10), PowerFunction(width)]
    averages = [WeightAverage(network, profile) for profile in profiles]
    kept: list[tuple[Profile, torch.Tensor]] = []
    for step in range(2000):
        with torch.no_grad():
            network.weight += 0.1 * torch.randn(20, 20, dtype=torch.float64)  # a random walk, as training weights do
        for average in averages:
            average.update(64 * step, 64)
        if (step + 1) % 125 == 0:
            for profile, average in zip(profiles[:2], averages[:2], strict=True):
                kept.append((Profile(profile.sigma_rel, 64 * (step + 1)), average.network.weight.detach().clone()))
    weights = combination([profile for profile, _ in kept], Profile(width, 64 * 2000))
    rebuilt = sum(weight * value for weight, (_, value) in zip(weights, kept, strict=True))
    tracked = averages[2].network.weight.detach()
    spread = (tracked - network.weight.detach()).norm()
    assert (rebuilt - tracked).norm() < 0.02 * spread


def density(profile: Profile, times: np.ndarray) -> np.ndarray:
    gamma = gamma_of_width(profile.sigma_rel)
    end = profile.images_seen
    return np.where(times <= end, (gamma + 1) * (times / end) ** gamma / end, 0.0)


@pytest.mark.parametrize("width", [0.03, 0.075, 0.15, 0.25])
def test_fit_error_is_the_distance_of_the_profiles(width: float) -> None:
    snapshots = [Profile(stored, images) for stored in (0.05, 0.10) for images in (400, 1000)]
    wanted = Profile(width, 1000)
    coefficients = combination(snapshots, wanted)
    times = np.arange(200_000) * (1000 / 200_000) + 1000 / 400_000  # midpoints
    fitted = sum(c * density(one, times) for c, one in zip(coefficients, snapshots, strict=True))
    difference, whole = fitted - density(wanted, times), density(wanted, times)
    expected = np.sqrt((difference**2).mean() / (whole**2).mean())
    assert fit_error(snapshots, coefficients, wanted) == pytest.approx(expected, rel=1e-4)


def test_fit_error_falls_with_more_snapshots_and_is_none_for_a_stored_width() -> None:
    errors = []
    for count in (2, 4, 8, 16):
        snapshots = [Profile(width, 1000 * (k + 1) // count) for width in (0.05, 0.10) for k in range(count)]
        wanted = Profile(0.15, 1000)
        errors.append(fit_error(snapshots, combination(snapshots, wanted), wanted))
        exact = Profile(0.10, 1000)
        assert fit_error(snapshots, combination(snapshots, exact), exact) < 1e-6
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.2 > 0.01 > errors[-1]
    with pytest.raises(ValueError, match="32 snapshots"):
        fit_error(snapshots, [1.0], exact)


def test_times_without_snapshots_are_refused() -> None:
    with pytest.raises(ValueError, match="as late as 2000 images"):
        combination([Profile(0.05, 1000)], Profile(0.05, 2000))
    with pytest.raises(ValueError, match="first snapshot was taken at 1000 images, and 999 are wanted"):
        combination([Profile(0.05, 1000)], Profile(0.05, 999))
    with pytest.raises(ValueError, match="and 0 are wanted"):
        combination([Profile(0.05, 1000)], Profile(0.05, 0), with_later=True)
    with pytest.raises(ValueError, match=r"say nothing about an average of width 0\.01 at 1000000 images"):
        combination([Profile(0.05, 10), Profile(0.05, 10_000_000)], Profile(0.01, 1_000_000))
