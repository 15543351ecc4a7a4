"""Power-function averages and their reconstruction after the training, against averages tracked directly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from elucidiff.training.ema import WeightAverage
from elucidiff.training.posthoc_ema import PowerFunction, Profile, combination, gamma_of_width


@given(st.floats(0.005, 0.28))
def test_gamma_gives_the_width(sigma_rel: float) -> None:
    gamma = gamma_of_width(sigma_rel)
    assert gamma > -1
    assert (gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)) == pytest.approx(sigma_rel**2, rel=1e-9)


@pytest.mark.parametrize(("sigma_rel", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_gamma_of_the_usual_widths(sigma_rel: float, gamma: float) -> None:
    assert gamma_of_width(sigma_rel) == pytest.approx(gamma, abs=0.005)


@pytest.mark.parametrize("width", [0.0, -0.1, 0.29, float("nan")])
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


def test_a_time_after_the_snapshots_is_refused() -> None:
    with pytest.raises(ValueError, match="2000 images"):
        combination([Profile(0.05, 1000)], Profile(0.05, 2000))
