from __future__ import annotations

import math

import pytest
import torch

from elucidiff.evaluation.pairs.scores import scored


def _draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _gaussian_crps(z: float) -> float:
    """Of N(0, 1) at z, Gneiting and Raftery 2007, Eq. 21."""
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return z * math.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi)


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("z", [0.0, 0.7, -2.0])
def test_the_mean_of_fair_crps_is_that_of_the_distribution(count: int, z: float) -> None:
    """Whatever the number of samples; the other estimator would be off by 1 / (M sqrt(pi)), 0.28 for two."""
    found = scored("crps", _draws(4000, count, 1, 5), torch.full((4000, 1, 5), z, dtype=torch.float64))
    assert abs(found.value - _gaussian_crps(z)) < 4 * found.error
    assert found.error < 0.01


def test_the_sum_over_pairs_is_that_of_all_pairs() -> None:
    members, truth = _draws(3, 5, 2, 4), _draws(3, 2, 4, seed=1)
    apart = (members[:, :, None] - members[:, None]).abs().sum((1, 2)) / (2 * 5 * 4)
    expected = ((members - truth[:, None]).abs().mean(1) - apart).mean()
    assert scored("crps", members, truth).value == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("count", [2, 5, 20])
def test_exchangeable_draws_have_as_much_spread_as_skill(count: int) -> None:
    draws = _draws(3000, count + 1, 1, 4) * 3 + 7
    found = scored("spread_skill", draws[:, 1:], draws[:, 0])
    assert abs(found.value - 1) < 4 * found.error
    narrow = scored("spread_skill", 7 + (draws[:, 1:] - 7) / 2, draws[:, 0])
    # Var: M + 1 over 4 M; error of the mean: 1 + 1 / (4 M)
    assert narrow.value == pytest.approx(math.sqrt((count + 1) / (4 * count) / (1 + 1 / (4 * count))), rel=0.05)


def test_errors_of_means_and_of_single_samples() -> None:
    """Of right samples, E (mean - y)^2 = s^2 (1 + 1 / M), and E (x - y)^2 = 2 s^2."""
    draws = 2 * _draws(5000, 5, 1, 4)
    mean, single = (scored(name, draws[:, 1:], draws[:, 0]) for name in ("rmse", "rmse_single"))
    assert abs(mean.value - 2 * math.sqrt(1.25)) < 4 * mean.error
    assert abs(single.value - 2 * math.sqrt(2)) < 4 * single.error
    assert scored("mae", torch.full((2, 3, 1, 1), 4.0), torch.ones(2, 1, 1)).value == 3.0


def test_the_jackknife_is_the_standard_error_of_a_mean() -> None:
    """Of a mean it is s / sqrt(n); of its root, by the delta method, half of that over the root."""
    truth, members = torch.zeros(200, 1, 1), _draws(200, 1, 1, 1)
    errors = members.flatten().square()
    of_mean = float(errors.std() / math.sqrt(200))
    found = scored("rmse", members, truth)
    assert found.error == pytest.approx(of_mean / (2 * found.value), rel=0.02)
    absolute = scored("mae", members, truth)
    assert absolute.error == pytest.approx(float(members.abs().std() / math.sqrt(200)), rel=1e-9)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match="at least 2 samples for each condition"):
        scored("crps", torch.zeros(3, 1, 1, 4), torch.zeros(3, 1, 4))
    with pytest.raises(ValueError, match="which is not"):
        scored("rmse", torch.zeros(3, 2, 1, 4), torch.zeros(3, 1, 5))
    assert math.isnan(scored("rmse", torch.zeros(1, 2, 1, 4), torch.zeros(1, 1, 4)).error)
