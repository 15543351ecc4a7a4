"""Adapters: an ideal denoiser, disguised as each kind of predictor, comes back as itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from elucidiff.denoisers.adapters import (
    AdaptedDenoiser,
    Clamp,
    ContinuousTime,
    DiscreteTime,
    DynamicThreshold,
    InUnits,
    Time,
    TrigTime,
)
from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.design import schedules, steps
from elucidiff.sampling import sample

PREDICTIONS = ["x0", "epsilon", "v", "flow", "score"]
TABLE = torch.cos(torch.linspace(0.01, 1.55, 1000, dtype=torch.float64)) ** 2
LEVELS = ((1 - TABLE) / TABLE).sqrt()
TIMES: dict[str, Time] = {
    "discrete": DiscreteTime(TABLE),
    "vp": ContinuousTime(schedules.VP(), factor=999.0),
    "vp, no scaling": ContinuousTime(schedules.VP(scaling="none")),
    "ve": ContinuousTime(schedules.VE()),
    "flow": ContinuousTime(schedules.Flow(), factor=1000.0),
    "edm": ContinuousTime(schedules.EDM()),
}


def posterior() -> DataPosterior:
    points = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return DataPosterior(points, torch.arange(6) % 3)


def disguise(predicts: str, name: str):
    """The ideal predictor in the textbook's terms: from x_t = s (x0 + sigma eps), at the t that it is told."""
    ideal = posterior()

    def network(x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        assert t.shape == (len(x_t),)
        if name == "discrete":
            assert t.dtype == torch.int64
            sigma, s = LEVELS[t], TABLE[t].sqrt()
        else:
            schedule = TIMES[name].schedule
            sigma, s = schedule.sigma(t / TIMES[name].factor), schedule.scale(t / TIMES[name].factor)
        sigma, s = sigma.reshape(-1, 1, 1), s.reshape(-1, 1, 1)
        x0 = ideal(x_t / s, sigma, labels)
        epsilon = (x_t / s - x0) / sigma
        alpha = 1 / (1 + sigma**2).sqrt()  # v is defined for a variance-preserving process: alpha^2 (1 + sigma^2) = 1
        return {
            "x0": x0,
            "epsilon": epsilon,
            "v": s / alpha * (alpha * epsilon - alpha * sigma * x0),
            "flow": epsilon - x0,
            "score": -epsilon / (s * sigma),
        }[predicts]

    return network


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("predicts", PREDICTIONS)
def test_comes_back_as_itself(predicts: str, name: str) -> None:
    ideal, network = posterior(), disguise(predicts, name)
    adapted = AdaptedDenoiser(network, predicts, TIMES[name], label_dim=3, dtype=torch.float64)
    x = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for wanted in (0.02, 0.3, 1.0, 7.0, 30.0):
        sigma = adapted.round_sigma(torch.tensor(wanted, dtype=torch.float64))
        noisy = x * (1 + sigma)
        torch.testing.assert_close(adapted(noisy, sigma), ideal(noisy, sigma), rtol=1e-7, atol=1e-9)
        labels = torch.tensor([0, 2, 1, 1, 0])
        for given in (labels, torch.eye(3)[labels]):
            torch.testing.assert_close(
                adapted(noisy, sigma, given), ideal(noisy, sigma, labels), rtol=1e-7, atol=1e-9
            )
    several = adapted.round_sigma(torch.tensor([0.1, 0.5, 1.0, 5.0, 20.0], dtype=torch.float64))
    torch.testing.assert_close(adapted(x, several), ideal(x, several), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("predicts", PREDICTIONS)
def test_sampling_gives_what_the_ideal_denoiser_gives(predicts: str) -> None:
    network = disguise(predicts, "discrete")
    adapted = AdaptedDenoiser(network, predicts, DiscreteTime(TABLE), dtype=torch.float64)
    latents = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(4))
    sigmas = steps.karras(12, adapted.sigma_min, adapted.sigma_max)
    rounded = torch.cat([adapted.round_sigma(sigmas[:-1]), torch.zeros(1, dtype=torch.float64)])
    expected = sample(posterior(), latents, rounded)
    torch.testing.assert_close(sample(adapted, latents, sigmas), expected, rtol=1e-7, atol=1e-8)


def test_discrete_time() -> None:
    time = DiscreteTime(torch.tensor([0.9, 0.5, 0.1]))
    levels = torch.tensor([1 / 3, 1.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(time.sigmas, levels, rtol=1e-6, atol=0)
    assert (time.sigma_min, time.sigma_max) == pytest.approx((1 / 3, 3.0), rel=1e-6)
    asked = torch.tensor([[0.0, 0.6], [0.7, 100.0]], dtype=torch.float64)
    assert torch.equal(time.round_sigma(asked), time.sigmas[torch.tensor([[0, 0], [1, 2]])])
    assert time.round_sigma(0.9).dtype == torch.float64
    assert time.round_sigma(asked.float()).dtype == torch.float32
    index, scale = time.at(time.sigmas)
    assert index.tolist() == [0, 1, 2]
    torch.testing.assert_close(scale.square(), torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64), rtol=1e-6, atol=0)


def test_continuous_time_states_its_range() -> None:
    adapted = AdaptedDenoiser(lambda x, t: x, "x0", ContinuousTime(schedules.VP(), sigma_min=0.01, sigma_max=150.0))
    assert (adapted.sigma_min, adapted.sigma_max) == (0.01, 150.0)
    assert float(adapted.round_sigma(0.123)) == 0.123
    free = ContinuousTime(schedules.Flow())
    assert (free.sigma_min, free.sigma_max) == (0.0, math.inf)


def test_network_sees_its_own_type_and_its_first_channels_count() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(0.5, dtype=torch.float32))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            assert (x.dtype, t.dtype) == (torch.float32, torch.float32)
            return torch.cat([self.scale * x, 1e6 * torch.ones_like(x)], dim=1)

    x = torch.ones(2, 3, 4, dtype=torch.float64)
    adapted = AdaptedDenoiser(Half(), "x0", ContinuousTime(schedules.EDM()))
    assert torch.equal(adapted(x, 1.0), 0.5 * x)
    assert [name for name, _ in adapted.named_parameters()] == ["network.scale"]


def test_a_network_inside_a_lambda() -> None:
    """It has no parameters to be asked for their type, so it sees float32 unless told otherwise."""
    net = nn.Linear(4, 4, bias=False)
    time = ContinuousTime(schedules.Flow())
    adapted = AdaptedDenoiser(lambda x, t: net(x), "x0", time)
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(adapted(x, 1.0), net((x / 2).float()).double())
        assert sample(adapted, x.float(), [2.0, 1.0, 0.0]).dtype == torch.float64
        net.double()
        wide = AdaptedDenoiser(lambda x, t: net(x), "x0", time, dtype=torch.float64)
        assert torch.equal(wide(x, 1.0), net(x / 2))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "must be a table"),
        ([[0.9, 0.5]], "must be a table"),
        ([0.5, 0.9], "must decrease"),
        ([0.9, 0.9], "must decrease"),
        ([1.0, 0.5], "strictly between 0 and 1"),
        ([0.5, 0.0, 0.0], "must decrease"),
        ([0.5, -0.1], "strictly between 0 and 1"),
        ([0.0], "needs a noise level that is finite"),
        ([math.nan, 0.5], "strictly between 0 and 1"),
    ],
)
def test_bad_tables(table: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiscreteTime(torch.tensor(table))


def test_bad_input() -> None:
    time = ContinuousTime(schedules.EDM())
    with pytest.raises(ValueError, match="predicts is 'noise', but must be one of x0, epsilon, v, flow, score"):
        AdaptedDenoiser(lambda x, t: x, "noise", time)
    with pytest.raises(ValueError, match="trigflow counts time by TrigTime, not ContinuousTime"):
        AdaptedDenoiser(lambda x, t: x, "trigflow", time)
    with pytest.raises(ValueError, match="between is 'linear', but must be one of nearest"):
        DiscreteTime(TABLE, between="linear")
    adapted = AdaptedDenoiser(lambda x, t, labels: x, "x0", time, label_dim=2)
    with pytest.raises(ValueError, match="class index 2 is out of range"):
        adapted(torch.ones(1, 1, 2), 1.0, torch.tensor([2]))
    with pytest.raises(ValueError, match="without classes"):
        AdaptedDenoiser(lambda x, t: x, "x0", time)(torch.ones(1, 1, 2), 1.0, torch.tensor([0]))


def test_trigflow_comes_back_as_itself() -> None:
    """x_t = cos(t) x0 + sin(t) c eps, the network sees x_t / c and predicts dx_t/dt / c (Lu and Song 2024, Eq. 5)."""
    ideal, c = posterior(), 0.4

    def network(seen: Tensor, t: Tensor) -> Tensor:
        t = t.reshape(-1, 1, 1)
        sigma = c * t.tan()
        x0 = ideal(c * seen / t.cos(), sigma)
        epsilon = (c * seen / t.cos() - x0) / sigma
        return t.cos() * epsilon - t.sin() * x0 / c

    adapted = AdaptedDenoiser(network, "trigflow", TrigTime(c), dtype=torch.float64)
    x = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sigma = torch.tensor([0.02, 0.3, 1.0, 7.0, 30.0], dtype=torch.float64)
    noisy = x * (1 + sigma.reshape(-1, 1, 1))
    torch.testing.assert_close(adapted(noisy, sigma), ideal(noisy, sigma), rtol=1e-7, atol=1e-9)
    # From pure noise, t = pi / 2, D is the data's mean, and the network predicts -mean / c.
    ends = AdaptedDenoiser(lambda seen, t: -ideal(seen, 1e9) / c, "trigflow", TrigTime(c), dtype=torch.float64)
    torch.testing.assert_close(ends(x, math.inf), ideal(x, 1e9), rtol=1e-7, atol=1e-9)


def test_time_that_runs_from_noise_to_data() -> None:
    told = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        told.append(t)
        return x

    time = ContinuousTime(schedules.Flow(), factor=-1.0, offset=1.0)
    AdaptedDenoiser(velocity, "flow", time)(torch.ones(3, 1, 2), torch.tensor([1.0, 3.0, math.inf]))
    torch.testing.assert_close(told[0], torch.tensor([0.5, 0.25, 0.0]))
    whole = ContinuousTime(schedules.Flow(), factor=1000.0, whole=True)
    index, _ = whole.at(torch.tensor([1.0, 0.0999, math.inf], dtype=torch.float64))
    assert index.tolist() == [500, 90, 1000]


def test_times_between_the_levels_of_a_table() -> None:
    # Levels 0.1, 1, 10: the logarithm of 10^-0.3 lies at 0.7 of the first interval.
    table = 1 / (1 + torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64) ** 2)
    asked = torch.tensor([0.01, 10**-0.3, 1.0, 10**0.45, 10.0, 99.0], dtype=torch.float64)
    exact, scale = DiscreteTime(table, "interpolated").at(asked)
    torch.testing.assert_close(exact, torch.tensor([0, 0.7, 1, 1.45, 2, 2], dtype=torch.float64))
    torch.testing.assert_close(scale, (1 + asked**2).rsqrt())
    rounded = DiscreteTime(table, "rounded")
    assert rounded.at(asked)[0].tolist() == [0, 1, 1, 1, 2, 2]
    assert torch.equal(rounded.round_sigma(asked), asked)
    # By the levels themselves 10^-0.3 = 0.501 is nearer to 0.1; DDPM counts in multiples of 1000 / M.
    nearest = DiscreteTime(table, factor=1000 / 3)
    torch.testing.assert_close(nearest.at(asked[:3])[0], torch.tensor([0.0, 0.0, 1000 / 3]))
    ends = DiscreteTime(torch.cat([table, torch.zeros(1)]), "interpolated")
    assert ends.at(torch.tensor([10.0, 50.0, math.inf], dtype=torch.float64))[0].tolist() == [2, 2, 3]


def test_clipping() -> None:
    adapted = AdaptedDenoiser(lambda x, t: x, "x0", ContinuousTime(schedules.EDM()), clip=Clamp(0.5))
    x = torch.tensor([[[0.2, -3.0]]])
    torch.testing.assert_close(adapted(x, 1.0), torch.tensor([[[0.2, -0.5]]]))
    assert torch.equal(adapted(x, 0.0), x)
    assert torch.equal(adapted.predict(x, 1.0)[0], x)
    # The median of |-4 ... 4| is 2; images whose quantile is below 1 are clamped to 1.
    wide = torch.arange(-4.0, 5.0).reshape(1, 1, 9)
    both = DynamicThreshold(0.5)(torch.cat([wide, 0.3 * wide]))
    torch.testing.assert_close(both[:1], (wide / 2).clamp(-1, 1))
    torch.testing.assert_close(both[1:], (0.3 * wide).clamp(-1, 1))
    torch.testing.assert_close(DynamicThreshold(0.5, 1.5)(wide), wide.clamp(-1.5, 1.5) / 1.5)


def test_learned_variance_is_kept_apart() -> None:
    adapted = AdaptedDenoiser(lambda x, t: torch.cat([x, 3 * x], 1), "epsilon", DiscreteTime(TABLE))
    x = torch.ones(2, 1, 3, dtype=torch.float64)
    sigma = adapted.round_sigma(1.0)
    denoised, variance = adapted.predict(x, sigma)
    s = float(1 / (1 + sigma**2).sqrt())
    torch.testing.assert_close(variance, 3 * s * x, rtol=1e-6, atol=0)
    torch.testing.assert_close(denoised, x - sigma * s * x, rtol=1e-6, atol=0)


def test_other_units() -> None:
    """A denoiser of images in [0, 1] answers for the same images in [-1, 1], where all noise is doubled."""
    points = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    here, there = DataPosterior(points), DataPosterior((points + 1) / 2)
    time = ContinuousTime(schedules.EDM(), sigma_min=0.01, sigma_max=50.0)
    adapted = InUnits(AdaptedDenoiser(lambda x, t: there(x, t), "x0", time, dtype=torch.float64), 2.0, -1.0)
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    sigma = torch.tensor([0.0, 0.1, 2.0, 60.0], dtype=torch.float64)
    noisy = x * (1 + sigma.reshape(-1, 1, 1))
    torch.testing.assert_close(adapted(noisy, sigma)[1:], here(noisy, sigma)[1:], rtol=1e-9, atol=1e-12)
    assert torch.equal(adapted(noisy, sigma)[0], noisy[0])
    assert (adapted.sigma_min, adapted.sigma_max) == (0.02, 100.0)


def test_labels_of_any_shape() -> None:
    seen = []
    adapted = AdaptedDenoiser(lambda x, t, y: (seen.append(y), x)[1], "x0", TIMES["edm"], any_labels=True)
    texts = torch.ones(2, 7, 16, dtype=torch.float64)
    adapted(torch.ones(2, 1, 2), 1.0, texts)
    adapted(torch.ones(2, 1, 2), 1.0, torch.tensor([3, 4]))
    assert (seen[0].shape, seen[0].dtype, seen[1].dtype) == ((2, 7, 16), torch.float32, torch.int64)
